//! A message's body on its way through the platform: streamed, with the common cases unboxed.

use bytes::Bytes;
use http_body::{Frame, SizeHint};
use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};
use types::Fault;

/// Why a body broke off.
pub type BodyError = Box<dyn std::error::Error + Send + Sync>;

/// A request's or response's body. Frames are passed on as they come; nothing is buffered here.
#[derive(Default)]
pub enum Body {
    #[default]
    Empty,
    Full(Bytes),
    Incoming(hyper::body::Incoming),
    Stream(Pin<Box<dyn http_body::Body<Data = Bytes, Error = BodyError> + Send>>),
}

impl Body {
    /// Boxes any other body.
    pub fn stream<B>(body: B) -> Self
    where
        B: http_body::Body<Data = Bytes, Error = BodyError> + Send + 'static,
    {
        Self::Stream(Box::pin(body))
    }

    /// A request's body that came over HTTP/2: one whose stream was reset has not ended, but broken off.
    pub fn uploaded(incoming: hyper::body::Incoming) -> Self {
        Self::stream(Uploaded(incoming))
    }

    /// The body, refused at once where its length is known and over `max`, broken off where it turns out so.
    ///
    /// # Errors
    /// What `over` makes of the length, or of the least that it must be.
    pub fn bounded(self, max: u64, over: impl Fn(u64) -> Fault) -> Result<Self, Fault> {
        let hint = http_body::Body::size_hint(&self);
        if hint.lower() > max {
            return Err(over(hint.lower()));
        }
        if hint.upper().is_some_and(|upper| upper <= max) {
            return Ok(self);
        }
        Ok(Self::stream(Bounded { body: self, left: max, fault: over(max.saturating_add(1)) }))
    }

    /// The whole body in memory.
    ///
    /// # Errors
    /// `Err(None)` once it is longer than `max` bytes (what follows is left unread), `Err(Some(_))` where it broke off.
    pub async fn collect(mut self, max: u64) -> Result<Bytes, Option<BodyError>> {
        let over = |len: usize| len as u64 > max;
        if let Self::Full(bytes) = self {
            return if over(bytes.len()) { Err(None) } else { Ok(bytes) };
        }
        if http_body::Body::size_hint(&self).lower() > max {
            return Err(None);
        }
        let mut first = Bytes::new();
        let mut rest: Vec<u8> = Vec::new();
        while let Some(frame) = std::future::poll_fn(|cx| http_body::Body::poll_frame(Pin::new(&mut self), cx)).await {
            let Ok(data) = frame.map_err(Some)?.into_data() else { continue };
            if over(first.len() + rest.len() + data.len()) {
                return Err(None);
            }
            // One frame is the common case and is not copied.
            if first.is_empty() && rest.is_empty() {
                first = data;
            } else {
                if rest.is_empty() {
                    rest.extend_from_slice(&first);
                    first = Bytes::new();
                }
                rest.extend_from_slice(&data);
            }
        }
        Ok(if rest.is_empty() { first } else { rest.into() })
    }
}

impl From<Bytes> for Body {
    fn from(bytes: Bytes) -> Self {
        if bytes.is_empty() { Self::Empty } else { Self::Full(bytes) }
    }
}
impl From<Vec<u8>> for Body {
    fn from(bytes: Vec<u8>) -> Self {
        Bytes::from(bytes).into()
    }
}
impl From<String> for Body {
    fn from(text: String) -> Self {
        Bytes::from(text).into()
    }
}
impl From<&'static str> for Body {
    fn from(text: &'static str) -> Self {
        Bytes::from_static(text.as_bytes()).into()
    }
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = self.get_mut();
        match this {
            Self::Empty => Poll::Ready(None),
            Self::Full(bytes) => {
                let bytes = std::mem::take(bytes);
                *this = Self::Empty;
                Poll::Ready(Some(Ok(Frame::data(bytes))))
            }
            Self::Incoming(incoming) => Pin::new(incoming).poll_frame(cx).map_err(Into::into),
            Self::Stream(stream) => stream.as_mut().poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::Full(bytes) => bytes.is_empty(),
            Self::Incoming(incoming) => incoming.is_end_stream(),
            Self::Stream(stream) => stream.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Empty => SizeHint::with_exact(0),
            Self::Full(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Self::Incoming(incoming) => incoming.size_hint(),
            Self::Stream(stream) => stream.size_hint(),
        }
    }
}

/// hyper takes a stream that was reset with `NO_ERROR` for one that has ended, as RFC 9113 §8.1 wants it of answers. Of an
/// upload, the function would take half for a whole.
struct Uploaded(hyper::body::Incoming);

impl http_body::Body for Uploaded {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match ready!(Pin::new(&mut self.0).poll_frame(cx)) {
            None if !self.0.is_end_stream() => Poll::Ready(Some(Err("its stream was reset".into()))),
            frame => Poll::Ready(frame.map(|frame| frame.map_err(Into::into))),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.0.size_hint()
    }
}

/// A body of unknown length, counted as it streams.
struct Bounded {
    body: Body,
    left: u64,
    fault: Fault,
}

impl http_body::Body for Bounded {
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

impl std::fmt::Debug for Body {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let kind = match self {
            Self::Empty => "empty",
            Self::Full(_) => "full",
            Self::Incoming(_) => "incoming",
            Self::Stream(_) => "stream",
        };
        write!(f, "Body({kind})")
    }
}
