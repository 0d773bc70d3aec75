//! An answer's body: streams, is bounded in size and in its pauses, and gives the connection back at its end.

use crate::{Error, dial::Sender, outbound::Running};
use bytes::Bytes;
use http_body::{Body as _, Frame, SizeHint};
use hyper::body::Incoming;
use std::{
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};
use tokio::time::{Instant, Sleep, sleep};
use wire::{Body, BodyError};

pub(crate) struct Answer {
    body: Incoming,
    /// `None` once it is given back. Dropped with the body unread, the connection ends.
    sender: Option<Sender>,
    running: Running,
    key: String,
    idle: Duration,
    /// Made when nothing was there to read: small answers never need it.
    pause: Option<Pin<Box<Sleep>>>,
    max: Option<u64>,
    got: u64,
}

impl Answer {
    pub(crate) fn new(
        body: Incoming,
        sender: Sender,
        running: Running,
        key: String,
        idle: Duration,
        max: Option<u64>,
    ) -> Self {
        Self { body, sender: Some(sender), running, key, idle, pause: None, max, got: 0 }
    }

    pub(crate) fn into_body(mut self) -> Body {
        if self.body.is_end_stream() {
            self.give_back();
            return Body::Empty;
        }
        Body::stream(self)
    }

    fn give_back(&mut self) {
        if let Some(sender) = self.sender.take() {
            self.running.0.give_back(&self.key, sender);
        }
    }
}

impl http_body::Body for Answer {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(cx) else {
            let idle = self.idle;
            let pause = self.pause.get_or_insert_with(|| Box::pin(sleep(idle)));
            return pause.as_mut().poll(cx).map(|()| Some(Err(Error::Paused(idle).into())));
        };
        let idle = self.idle;
        if let Some(pause) = &mut self.pause {
            pause.as_mut().reset(Instant::now() + idle);
        }
        match &frame {
            Some(Ok(frame)) => {
                self.got += frame.data_ref().map_or(0, |data| data.len() as u64);
                if let Some(max) = self.max.filter(|max| self.got > *max) {
                    self.sender = None;
                    return Poll::Ready(Some(Err(Error::ResponseTooLarge(max).into())));
                }
                if self.body.is_end_stream() {
                    self.give_back();
                }
            }
            Some(Err(_)) => self.sender = None,
            None => self.give_back(),
        }
        Poll::Ready(frame.map(|frame| frame.map_err(Into::into)))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
