// An HTTP request comes as an API Gateway event, format 2.0; `mayfly invoke` passes its data as it is.
exports.handler = async (event) => {
  if (typeof event?.n === 'number') return { n: event.n + 1 };
  return {
    statusCode: 200,
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({
      message: 'hello from node',
      path: event?.rawPath,
      query: event?.queryStringParameters ?? {},
    }),
  };
};
