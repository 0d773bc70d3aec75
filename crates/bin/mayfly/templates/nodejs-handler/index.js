// An HTTP request arrives as an API Gateway event (payload format 2.0); `mayfly invoke` passes its data as it is.
// An object without `statusCode` is answered as JSON.
exports.handler = async (event) => {
  const name = event.queryStringParameters?.name ?? event.name ?? 'world';
  console.log(`hello, ${name}`);
  return { message: `hello, ${name}` };
};
