//! Bodies with a size limit, counted as they stream.

use bytes::Bytes;
use http_body::{Body as _, Frame, SizeHint};
use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};
use types::{Code, Fault, unit};
use wire::{Body, BodyError};

/// The body, refused at once where its length is known and over the limit, cut where it turns out so.
///
/// # Errors
/// `request_too_large`.
pub(crate) fn request(body: Body, max: Option<unit::Bytes>) -> Result<Body, Fault> {
    let Some(max) = max else { return Ok(body) };
    let hint = body.size_hint();
    if hint.lower() > max.0 {
        return Err(too_large(hint.lower(), max));
    }
    if hint.upper().is_some_and(|upper| upper <= max.0) {
        return Ok(body);
    }
    Ok(Body::stream(Counted { body, left: max.0, fault: too_large(max.0 + 1, max) }))
}

/// The whole body of a request to a contract that takes it in one piece.
///
/// # Errors
/// `request_too_large`, `bad_request` where it broke off.
pub(crate) async fn collect(body: Body, max: Option<unit::Bytes>) -> Result<Bytes, Fault> {
    let limit = max.unwrap_or(unit::Bytes(u64::MAX));
    body.collect(limit.0).await.map_err(|error| match error {
        None => too_large(limit.0 + 1, limit),
        Some(error) => Fault::new(Code::BadRequest, format!("the body broke off: {error}")),
    })
}

fn too_large(size: u64, max: unit::Bytes) -> Fault {
    Fault::new(Code::RequestTooLarge, format!("the body has {size} bytes or more, {max} are allowed"))
}

/// # Errors
/// `response_too_large`.
pub(crate) fn check_response(size: u64, max: Option<unit::Bytes>) -> Result<(), Fault> {
    match max {
        Some(max) if size > max.0 => {
            Err(Fault::new(Code::ResponseTooLarge, format!("the answer has {size} bytes or more, {max} are allowed")))
        }
        _ => Ok(()),
    }
}

struct Counted {
    body: Body,
    left: u64,
    fault: Fault,
}

impl http_body::Body for Counted {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        if let Some(Ok(frame)) = &frame
            && let Some(data) = frame.data_ref()
        {
            match self.left.checked_sub(data.len() as u64) {
                Some(left) => self.left = left,
                None => return Poll::Ready(Some(Err(self.fault.clone().into()))),
            }
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
