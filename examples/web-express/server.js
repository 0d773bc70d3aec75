const { setTimeout: sleep } = require('node:timers/promises');
const express = require('express');

const app = express();

app.get('/', (request, response) => {
  response.json({ message: 'hello from express', query: request.query });
});

// The body goes back as it arrives: nothing on the way holds it.
app.post('/echo', (request, response) => {
  response.type(request.get('content-type') ?? 'application/octet-stream');
  request.pipe(response);
});

app.get('/stream', async (request, response) => {
  response.set({ 'content-type': 'text/event-stream', 'cache-control': 'no-store' });
  for (let n = 1; n <= 5; n += 1) {
    response.write(`data: ${n}\n\n`);
    await sleep(100);
  }
  response.end();
});

const server = app.listen(process.env.MAYFLY_SOCKET || process.env.PORT || 3000, (error) => {
  if (error) throw error;
});
process.on('SIGTERM', () => server.close());
