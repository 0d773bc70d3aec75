// Any HTTP server will do: it listens on the UNIX socket $MAYFLY_SOCKET, or on the port $PORT.
const http = require('node:http');

const server = http.createServer((request, response) => {
  const url = new URL(request.url, 'http://localhost');
  const name = url.searchParams.get('name') ?? 'world';
  console.log(`${request.method} ${url.pathname}`);
  response.setHeader('content-type', 'application/json');
  response.end(JSON.stringify({ message: `hello, ${name}` }));
});

server.listen(process.env.MAYFLY_SOCKET || process.env.PORT || 3000);
process.on('SIGTERM', () => server.close());
