//! Bodies with a size limit, counted as they stream.

use bytes::Bytes;
use types::{Code, Fault, unit};
use wire::Body;

/// The body, refused at once where its length is known and over the limit, cut where it turns out so.
///
/// # Errors
/// `request_too_large`.
pub(crate) fn request(body: Body, max: Option<unit::Bytes>) -> Result<Body, Fault> {
    let Some(max) = max else { return Ok(body) };
    body.bounded(max.0, |size| too_large(size, max))
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
