//! A component of the world wasi:http/proxy: each request gets a fresh instance.

use wasip2::{
    exports::http::incoming_handler::Guest,
    http::types::{Fields, IncomingRequest, OutgoingBody, OutgoingResponse, ResponseOutparam},
};

struct Hello;
wasip2::http::proxy::export!(Hello);

impl Guest for Hello {
    fn handle(_request: IncomingRequest, out: ResponseOutparam) {
        let headers = Fields::new();
        headers.append("content-type", b"application/json").expect("a valid header");
        let response = OutgoingResponse::new(headers);
        let body = response.body().expect("the body, asked for once");
        ResponseOutparam::set(out, Ok(response));

        let stream = body.write().expect("the stream, asked for once");
        let sent = stream.blocking_write_and_flush(b"{\"message\":\"hello, world\"}\n");
        drop(stream);
        // Where it was not sent, the client went away.
        if sent.is_ok() {
            OutgoingBody::finish(body, None).expect("a whole body");
        }
    }
}
