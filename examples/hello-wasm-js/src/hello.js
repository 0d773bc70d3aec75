// Answers each request with a line of JSON.

addEventListener('fetch', (event) => event.respondWith(answer(event.request)));

async function answer(request) {
  const url = new URL(request.url);
  const body = { message: 'hello from JavaScript in wasm', path: url.pathname + url.search };
  if (request.method === 'POST') {
    body.received = await request.text();
  }
  return new Response(JSON.stringify(body) + '\n', { headers: { 'content-type': 'application/json' } });
}
