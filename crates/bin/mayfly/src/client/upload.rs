//! A file on its way to the platform: read in pieces beside the connection, counted as it goes.

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use std::{
    fs::File,
    io::{self, Read, Seek},
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};
use tokio::{
    sync::{Notify, mpsc},
    time::timeout,
};
use wire::BodyError;

const PIECE: usize = 64 << 10;
/// Pieces read ahead of the network.
const AHEAD: usize = 4;

/// How long the body waits for the platform's word that it wants it. Some servers never say it (RFC 9110 §10.1.1).
const CONTINUE_WAIT: Duration = Duration::from_secs(1);

/// A request's body with a known length.
pub struct Upload {
    /// Until the platform wants the body.
    wanted: Option<Pin<Box<dyn Future<Output = ()> + Send + Sync>>>,
    pieces: mpsc::Receiver<io::Result<Bytes>>,
    left: u64,
    moved: Arc<AtomicU64>,
}

impl Upload {
    /// Sends `file` from its beginning. Needs a tokio runtime.
    ///
    /// # Errors
    /// Where the file's size cannot be told.
    pub fn new(mut file: File) -> io::Result<Self> {
        let left = file.metadata()?.len();
        file.rewind()?;
        let (sender, pieces) = mpsc::channel(AHEAD);
        // Ends by itself: with the file, or when the body is dropped.
        tokio::task::spawn_blocking(move || read(file, &sender));
        Ok(Self { wanted: None, pieces, left, moved: Arc::default() })
    }

    /// Sends nothing before `wanted` was told, or a second has passed: who is refused without being read would
    /// otherwise learn of a broken connection, and not why.
    pub fn once(mut self, wanted: Arc<Notify>) -> Self {
        self.wanted = Some(Box::pin(async move {
            let _silent = timeout(CONTINUE_WAIT, wanted.notified()).await;
        }));
        self
    }

    /// Bytes handed to the connection so far.
    pub fn counter(&self) -> Arc<AtomicU64> {
        self.moved.clone()
    }
}

fn read(mut file: File, sender: &mpsc::Sender<io::Result<Bytes>>) {
    loop {
        let mut piece = vec![0; PIECE];
        let piece = match file.read(&mut piece) {
            Ok(0) => return,
            Ok(n) => {
                piece.truncate(n);
                Ok(piece.into())
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => Err(error),
        };
        let failed = piece.is_err();
        if sender.blocking_send(piece).is_err() || failed {
            return;
        }
    }
}

impl Body for Upload {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = self.get_mut();
        if this.left == 0 {
            return Poll::Ready(None);
        }
        if let Some(wanted) = &mut this.wanted {
            ready!(wanted.as_mut().poll(cx));
            this.wanted = None;
        }
        this.pieces.poll_recv(cx).map(|piece| match piece {
            Some(Ok(piece)) => {
                let n = (piece.len() as u64).min(this.left);
                this.left -= n;
                this.moved.fetch_add(n, Ordering::Relaxed);
                Some(Ok(Frame::data(piece.slice(..n as usize))))
            }
            Some(Err(error)) => Some(Err(error.into())),
            None => Some(Err(format!("the file ended {} bytes too soon", this.left).into())),
        })
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}
