//! A body that is compressed as it streams. What the function has sent is on its way whenever there is no more of it yet:
//! nothing waits for a buffer to fill.

use super::Encoder;
use bytes::Bytes;
use http_body::{Body as _, Frame};
use std::{
    pin::Pin,
    task::{Context, Poll},
};
use wire::{Body, BodyError};

/// What is taken in one step: a lane has other answers too.
const STEP: usize = 32 << 10;
/// Steps of one poll before something is sent even where it is little.
const STEPS_MAX: usize = 8;
/// A frame is worth its cost from here on.
const OUT_MIN: usize = 8 << 10;

pub(super) struct Compressed {
    body: Body,
    /// `None` once the last of it was brought out.
    encoder: Option<Encoder>,
    /// Of a frame, what was not compressed yet.
    rest: Bytes,
    /// Written and not flushed.
    held: bool,
    trailers: Option<Frame<Bytes>>,
}

impl Compressed {
    pub(super) fn new(body: Body, encoder: Encoder) -> Self {
        Self { body, encoder: Some(encoder), rest: Bytes::new(), held: false, trailers: None }
    }

    fn flushed(&mut self) -> Result<Bytes, BodyError> {
        self.held = false;
        let Some(encoder) = &mut self.encoder else { return Ok(Bytes::new()) };
        encoder.flush()?;
        Ok(encoder.take())
    }

    fn finish(&mut self) -> Result<Bytes, BodyError> {
        Ok(self.encoder.take().map(Encoder::finish).transpose()?.unwrap_or_default())
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let data = |bytes| Poll::Ready(Some(Ok(Frame::data(bytes))));
        let mut steps = 0;
        loop {
            let Some(encoder) = &mut self.encoder else { return Poll::Ready(self.trailers.take().map(Ok)) };
            if !self.rest.is_empty() {
                let step = self.rest.split_to(self.rest.len().min(STEP));
                encoder.write(&step)?;
                self.held = true;
                steps += 1;
                if encoder.ready() >= OUT_MIN {
                    return data(encoder.take());
                }
                if steps >= STEPS_MAX {
                    return data(self.flushed()?);
                }
                continue;
            }
            match Pin::new(&mut self.body).poll_frame(cx) {
                Poll::Ready(Some(Ok(frame))) => match frame.into_data() {
                    Ok(bytes) => self.rest = bytes,
                    Err(trailers) => {
                        self.trailers = Some(trailers);
                        return data(self.finish()?);
                    }
                },
                Poll::Ready(Some(Err(error))) => return Poll::Ready(Some(Err(error))),
                Poll::Ready(None) => return data(self.finish()?),
                Poll::Pending if self.held => return data(self.flushed()?),
                Poll::Pending => return Poll::Pending,
            }
        }
    }
}

impl http_body::Body for Compressed {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        self.poll(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.encoder.is_none() && self.trailers.is_none()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::{super::Coding, *};
    use http::HeaderMap;
    use std::{collections::VecDeque, io::Read, task::Waker};

    /// What a function sends; `None` is a pause.
    struct Frames(VecDeque<Option<Frame<Bytes>>>);

    impl http_body::Body for Frames {
        type Data = Bytes;
        type Error = BodyError;
        fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
            match self.0.pop_front() {
                Some(Some(frame)) => Poll::Ready(Some(Ok(frame))),
                Some(None) => Poll::Pending,
                None => Poll::Ready(None),
            }
        }
    }

    fn decode(coding: Coding, bytes: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        // A stream that is not at its end gives what it has, and then an error.
        let _ = match coding {
            Coding::Zstd => zstd::stream::read::Decoder::new(bytes).unwrap().read_to_end(&mut out),
            Coding::Brotli => brotli::Decompressor::new(bytes, 4096).read_to_end(&mut out),
            Coding::Gzip => flate2::read::GzDecoder::new(bytes).read_to_end(&mut out),
        };
        out
    }

    #[test]
    fn what_was_sent_can_be_read_before_the_next_comes() {
        for coding in Coding::ALL {
            let words = ["one ", "two ", "three"].map(|word| Some(Frame::data(Bytes::from(word))));
            let [one, two, three] = words;
            let trailers = Frame::trailers(HeaderMap::from_iter([("x-sum".parse().unwrap(), "9".parse().unwrap())]));
            let frames = Frames([one, None, two, None, three, Some(trailers)].into());
            let mut body = Compressed::new(Body::stream(frames), Encoder::new(coding).unwrap());
            let mut cx = Context::from_waker(Waker::noop());
            let (mut sent, mut seen, mut pauses, mut trailers) = (Vec::new(), Vec::new(), 0, None);
            while !http_body::Body::is_end_stream(&body) {
                match body.poll(&mut cx) {
                    Poll::Ready(Some(frame)) => match frame.unwrap().into_data() {
                        Ok(bytes) => sent.extend_from_slice(&bytes),
                        Err(frame) => trailers = frame.into_trailers().ok(),
                    },
                    Poll::Ready(None) => break,
                    // The next poll finds the next word.
                    Poll::Pending => pauses += 1,
                }
                seen.push(String::from_utf8(decode(coding, &sent)).unwrap());
            }
            assert_eq!(seen.first().map(String::as_str), Some("one "), "{coding:?}");
            assert!(seen.contains(&"one two ".to_owned()), "{coding:?}: {seen:?}");
            assert_eq!(decode(coding, &sent), b"one two three", "{coding:?}");
            assert_eq!((trailers.unwrap()["x-sum"].as_bytes(), pauses), (&b"9"[..], 0), "a pause is used to send");
        }
    }

    #[test]
    fn a_large_body_comes_out_in_pieces_and_whole() {
        // Half of it shrinks to nothing, half of it not at all.
        let mut text = vec![b'a'; 2 << 20];
        text.extend(std::iter::repeat_with(|| fastrand::u8(..)).take(1 << 20));
        for coding in Coding::ALL {
            let frames = Frames([Some(Frame::data(Bytes::from(text.clone())))].into());
            let mut body = Compressed::new(Body::stream(frames), Encoder::new(coding).unwrap());
            let mut cx = Context::from_waker(Waker::noop());
            let (mut sent, mut pieces) = (Vec::new(), 0);
            while let Poll::Ready(Some(frame)) = body.poll(&mut cx) {
                sent.extend_from_slice(&frame.unwrap().into_data().unwrap());
                pieces += 1;
            }
            assert!(decode(coding, &sent) == text, "{coding:?}");
            assert!((10..400).contains(&pieces) && sent.len() < text.len() / 2, "{coding:?}: {pieces} {}", sent.len());
        }
    }

    #[test]
    fn a_body_that_breaks_off_breaks_off() {
        struct Broken;
        impl http_body::Body for Broken {
            type Data = Bytes;
            type Error = BodyError;
            fn poll_frame(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
                Poll::Ready(Some(Err("gone".into())))
            }
        }
        let mut body = Compressed::new(Body::stream(Broken), Encoder::new(Coding::Gzip).unwrap());
        let Poll::Ready(Some(Err(error))) = body.poll(&mut Context::from_waker(Waker::noop())) else { panic!() };
        assert_eq!(error.to_string(), "gone");
    }
}
