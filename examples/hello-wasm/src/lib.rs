//! Answers each request with a line of JSON: a component of the world wasi:http/proxy.

use wasip2::{
    exports::http::incoming_handler::Guest,
    http::types::{Fields, IncomingRequest, OutgoingBody, OutgoingResponse, ResponseOutparam},
};

struct Hello;
wasip2::http::proxy::export!(Hello);

impl Guest for Hello {
    fn handle(request: IncomingRequest, out: ResponseOutparam) {
        let path = request.path_with_query().unwrap_or_else(|| "/".into());
        let json = format!("{{\"message\":\"hello from wasm\",\"path\":{}}}\n", quote(&path));

        let headers = Fields::new();
        headers.append("content-type", b"application/json").expect("a valid header");
        let response = OutgoingResponse::new(headers);
        let body = response.body().expect("the body, asked for once");
        ResponseOutparam::set(out, Ok(response));

        let stream = body.write().expect("the stream, asked for once");
        for chunk in json.as_bytes().chunks(4096) {
            if stream.blocking_write_and_flush(chunk).is_err() {
                return; // The client went away.
            }
        }
        drop(stream);
        OutgoingBody::finish(body, None).expect("a whole body");
    }
}

/// The text as a JSON string.
fn quote(text: &str) -> String {
    let mut quoted = String::from('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            c if c < ' ' => quoted += &format!("\\u{:04x}", c as u32),
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}
