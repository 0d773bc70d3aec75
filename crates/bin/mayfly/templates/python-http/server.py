"""Any HTTP server will do: it listens on the port $PORT, or on the UNIX socket $MAYFLY_SOCKET."""

import json
import os
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        # A body that is not read would be taken for the next request.
        self.rfile.read(int(self.headers.get("content-length", 0)))
        query = parse_qs(urlsplit(self.path).query)
        name = query.get("name", ["world"])[0]
        body = json.dumps({"message": f"hello, {name}"}).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_POST = do_GET


if __name__ == "__main__":
    ThreadingHTTPServer(("127.0.0.1", int(os.environ.get("PORT", "3000"))), Handler).serve_forever()
