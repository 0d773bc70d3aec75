//! Hands the listening sockets to another process of the same data directory, so that a restart refuses nobody.
//!
//! The heir (`mayfly up --take-over`) connects to the [`Door`] of the platform that serves. Then, in this order:
//! 1. the old one ends its term: lock, records and API are free. It goes on serving, and sends the sockets;
//! 2. the heir takes office and starts its roles; both accept now, and the heir says so;
//! 3. the old one accepts no more, lets its calls end within the grace, and exits.
//!
//! Where the heir breaks off before it serves, the old one takes the office again.

use super::Listeners;
use anyhow::{Context, bail, ensure};
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags,
    recvmsg, sendmsg, sockopt,
};
use std::{
    io::{IoSlice, IoSliceMut, Read, Write},
    mem::MaybeUninit,
    net::TcpListener,
    os::{
        fd::{AsFd, OwnedFd},
        unix::net::UnixStream,
    },
    path::{Path, PathBuf},
    time::Duration,
};
use tokio::{net::UnixListener, task::spawn_blocking};

/// The door's name in the folder for sockets.
pub(super) const DOOR: &str = "handover";
/// From the knock to the sockets: the old platform's API may answer for ten seconds more.
const SOCKETS_WAIT: Duration = Duration::from_secs(30);
/// From the sockets to the word that the heir serves: it reads all records and ends what crashed platforms left.
const SERVING_WAIT: Duration = Duration::from_secs(60);
/// Sent with the sockets, and back when the heir serves.
const SOCKETS: &[u8; 1] = b"S";
const SERVING: &[u8; 1] = b"R";
const SOCKETS_MAX: usize = 8;

/// Where an heir knocks. Only a process of the same user is let in.
pub(super) struct Door {
    path: PathBuf,
    listener: UnixListener,
}

impl Door {
    /// Opens it; that of an earlier platform is no longer of use.
    ///
    /// # Errors
    /// Where no socket can be bound at `path`.
    pub(super) fn open(path: &Path) -> anyhow::Result<Self> {
        let bound = match std::fs::remove_file(path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
            _ => UnixListener::bind(path),
        };
        let listener = bound.with_context(|| format!("cannot listen on {}", path.display()))?;
        Ok(Self { path: path.to_owned(), listener })
    }

    /// The same door after an heir may have put its own there.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub(super) fn reopen(&self) -> anyhow::Result<Self> {
        Self::open(&self.path)
    }

    /// The next heir.
    pub(super) async fn knock(&self) -> Heir {
        loop {
            match self.listener.accept().await.and_then(|(stream, _)| stream.into_std()) {
                Ok(stream) => match admit(&stream) {
                    Ok(()) => return Heir(stream),
                    Err(error) => tracing::warn!(%error, "somebody at the door is turned away"),
                },
                Err(error) => {
                    tracing::warn!(%error, "an heir cannot be heard");
                    tokio::time::sleep(Duration::from_secs(1)).await;
                }
            }
        }
    }
}

fn admit(stream: &UnixStream) -> anyhow::Result<()> {
    let (peer, own) = (sockopt::socket_peercred(stream)?.uid, rustix::process::geteuid());
    ensure!(peer == own, "it runs as user {}", peer.as_raw());
    stream.set_nonblocking(false)?;
    stream.set_read_timeout(Some(SERVING_WAIT))?;
    stream.set_write_timeout(Some(SERVING_WAIT))?;
    Ok(())
}

/// A process that wants to take over.
pub(super) struct Heir(UnixStream);

impl Heir {
    /// Sends the sockets and waits until the heir serves.
    ///
    /// # Errors
    /// Where it broke off or took too long.
    pub(super) async fn hand_over(self, listeners: &Listeners) -> anyhow::Result<()> {
        let listeners = listeners.try_clone()?;
        spawn_blocking(move || {
            send(&self.0, &listeners.all())?;
            let mut word = [0];
            (&self.0).read_exact(&mut word).context("the heir broke off before it served")?;
            ensure!(&word == SERVING, "the heir said something else");
            Ok(())
        })
        .await?
    }
}

/// What an heir got; the old platform waits for its word.
pub(super) struct Inheritance(UnixStream);

impl Inheritance {
    /// Knocks at the door of the platform that serves and waits for its sockets. `None` where there is none.
    ///
    /// # Errors
    /// Where it breaks off.
    pub(super) async fn claim(door: PathBuf) -> anyhow::Result<Option<(Self, Vec<TcpListener>)>> {
        spawn_blocking(move || {
            let Ok(stream) = UnixStream::connect(&door) else { return Ok(None) };
            stream.set_read_timeout(Some(SOCKETS_WAIT))?;
            let sockets = receive(&stream).context("the platform that serves does not hand over")?;
            Ok(Some((Self(stream), sockets)))
        })
        .await?
    }

    /// Tells the old platform that this one serves.
    ///
    /// # Errors
    /// Where it is gone: then there is nobody to tell.
    pub(super) fn serving(mut self) -> std::io::Result<()> {
        self.0.write_all(SERVING)
    }
}

fn send(stream: &UnixStream, listeners: &[&TcpListener]) -> anyhow::Result<()> {
    let fds: Vec<_> = listeners.iter().map(|listener| listener.as_fd()).collect();
    ensure!(fds.len() <= SOCKETS_MAX, "more than {SOCKETS_MAX} sockets");
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(SOCKETS_MAX))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    ensure!(control.push(SendAncillaryMessage::ScmRights(&fds)), "the sockets do not fit into a message");
    let sent = sendmsg(stream, &[IoSlice::new(SOCKETS)], &mut control, SendFlags::NOSIGNAL)?;
    ensure!(sent == SOCKETS.len(), "half a message was sent");
    Ok(())
}

fn receive(stream: &UnixStream) -> anyhow::Result<Vec<TcpListener>> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(SOCKETS_MAX))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut word = [0];
    let got = recvmsg(stream, &mut [IoSliceMut::new(&mut word)], &mut control, RecvFlags::CMSG_CLOEXEC)?;
    if got.bytes == 0 || &word != SOCKETS {
        bail!("it hung up");
    }
    let rights = control.drain().filter_map(|message| match message {
        RecvAncillaryMessage::ScmRights(fds) => Some(fds),
        _ => None,
    });
    Ok(rights.flatten().map(|fd: OwnedFd| TcpListener::from(fd)).collect())
}

/// The program to start as the heir: what lies now where this process was started from.
///
/// # Errors
/// Where that cannot be told.
pub(super) fn program() -> std::io::Result<PathBuf> {
    let path = std::env::current_exe()?;
    // The kernel's word for a file that was replaced (proc(5), `/proc/PID/exe`).
    let text = path.to_string_lossy();
    Ok(text.strip_suffix(" (deleted)").map_or_else(|| path.clone(), PathBuf::from))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn sockets_travel() {
        let (here, there) = UnixStream::pair().unwrap();
        let listeners = [0; 3].map(|_| TcpListener::bind("127.0.0.1:0").unwrap());
        send(&here, &listeners.each_ref()).unwrap();
        let got = receive(&there).unwrap();
        let addresses = |listeners: &[TcpListener]| -> Vec<_> {
            listeners.iter().map(|listener| listener.local_addr().unwrap()).collect()
        };
        assert_eq!(addresses(&got), addresses(&listeners));
        drop(here);
        assert!(receive(&there).is_err());
    }
}
