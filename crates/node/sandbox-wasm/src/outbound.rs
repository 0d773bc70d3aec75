//! `wasi:http/outgoing-handler`: a guest's calls to others, by what its bindings allow.

use crate::log::{Lines, Output};
use bindings::{Outbound, Timeouts};
use http::HeaderName;
use http_body_util::BodyExt;
use parking_lot::Mutex;
use std::sync::{Arc, OnceLock};
use wasmtime_wasi_http::{
    DEFAULT_FORBIDDEN_HEADERS, Error, ForbiddenHeaderFilter, RequestOptions, WasiBody, WasiHttpHooks,
};
use wire::{Body, BodyError};

type Sent = Result<(http::Response<WasiBody>, Box<dyn Future<Output = Result<(), Error>> + Send>), Error>;

/// What `wasi:http` asks of its host.
pub(crate) struct Hooks {
    pub(crate) lines: Arc<Mutex<Lines>>,
    pub(crate) outbound: Option<Arc<Outbound>>,
    /// Outbound calls of this call.
    pub(crate) made: u32,
}

impl Hooks {
    /// Writes what the platform has to say beside what the guest printed.
    pub(crate) fn print(&mut self, text: &str) {
        let mut lines = self.lines.lock();
        lines.flush();
        lines.write(Output::Stderr, text.as_bytes());
        lines.flush();
    }

    fn refuse(&mut self, error: bindings::Error) -> Box<dyn Future<Output = Sent> + Send> {
        self.print(&format!("outbound: {error}"));
        Box::new(std::future::ready(Err(told(error))))
    }
}

impl WasiHttpHooks for Hooks {
    fn is_forbidden_header(&mut self, name: &HeaderName) -> bool {
        DEFAULT_FORBIDDEN_HEADERS.contains(name)
    }

    fn forbidden_header_filter(&mut self) -> ForbiddenHeaderFilter {
        static FILTER: OnceLock<ForbiddenHeaderFilter> = OnceLock::new();
        Arc::clone(FILTER.get_or_init(|| Arc::new(|name| DEFAULT_FORBIDDEN_HEADERS.contains(name))))
    }

    /// No binding, no access.
    fn send_request(
        &mut self,
        request: http::Request<WasiBody>,
        options: Option<RequestOptions>,
        _: Box<dyn Future<Output = Result<(), Error>> + Send>,
    ) -> Box<dyn Future<Output = Sent> + Send> {
        let Some(outbound) = &self.outbound else {
            let authority = request.uri().authority().map(ToString::to_string).unwrap_or_default();
            return self.refuse(bindings::Error::Denied(authority));
        };
        let ticket = match outbound.admit(request.method(), request.uri(), &mut self.made) {
            Ok(ticket) => ticket,
            Err(error) => return self.refuse(error),
        };
        let wish = options.map_or_else(Timeouts::default, |options| Timeouts {
            connect: options.connect_timeout,
            first_byte: options.first_byte_timeout,
            idle: options.between_bytes_timeout,
        });
        let request = request.map(|body| Body::stream(body.map_err(|error| error.to_string().into())));
        Box::new(async move {
            let response = ticket.send(request, wish).await.map_err(told)?;
            let done: Box<dyn Future<Output = Result<(), Error>> + Send> = Box::new(std::future::ready(Ok(())));
            Ok((response.map(|body| body.map_err(broken).boxed_unsync()), done))
        })
    }

    /// With the size below: 1 MiB waits for a slow reader at most, and a page written in pieces of 4 KiB is whole
    /// before anybody has to wait.
    fn p2_outgoing_body_buffer_chunks(&mut self) -> usize {
        15
    }

    fn p2_outgoing_body_chunk_size(&mut self) -> usize {
        64 << 10
    }
}

/// In the guest's words (RFC 9209 §2.3 has what they mean).
fn told(error: bindings::Error) -> Error {
    use bindings::Error as E;
    match error {
        E::Denied(_) => Error::HttpRequestDenied,
        E::Invalid(_) => Error::HttpRequestUriInvalid,
        E::Subrequests(_) => Error::InternalError(Some(error.to_string())),
        E::TooMany(_) => Error::ConnectionLimitReached,
        E::Open { .. } => Error::DestinationUnavailable,
        E::Name(_) => Error::DnsError { rcode: None, info_code: None },
        E::Address(_) => Error::DestinationIpProhibited,
        E::ConnectTimeout(_) => Error::ConnectionTimeout,
        E::Connect(_) => Error::ConnectionRefused,
        E::Tls(_) => Error::TlsProtocolError,
        E::FirstByteTimeout(_) => Error::HttpResponseTimeout,
        E::Broken(_) => Error::ConnectionTerminated,
        E::RequestTooLarge(max) => Error::HttpRequestBodySize(Some(max)),
        E::ResponseTooLarge(max) => Error::HttpResponseBodySize(Some(max)),
        E::Paused(_) => Error::ConnectionReadTimeout,
    }
}

fn broken(error: BodyError) -> Error {
    match error.downcast::<bindings::Error>() {
        Ok(error) => told(*error),
        Err(_) => Error::HttpResponseIncomplete,
    }
}
