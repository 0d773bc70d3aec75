//! An HTTP/1.1 connection on which nothing is said: when that becomes plain, and how it waits for the next word.
//!
//! hyper keeps buffers of 16 KiB and the room of a whole call for as long as a connection is open. One that has rested for a
//! look or two gives all that back and keeps its socket; the next byte makes it anew. Looks are seldom and the same for
//! all, so a request sets no timer.

use crate::turn::{Look, Turn};
use bytes::Bytes;
use std::{future::poll_fn, io, pin::Pin, task::ready, time::Duration};
use tokio::{
    io::{AsyncRead, ReadBuf},
    time::{Instant, sleep},
};

/// Between two looks: a connection that a client uses more often keeps what it has.
const LOOK: Duration = Duration::from_secs(5);
/// Looks in the time that a head may take, at least.
const LOOKS_MIN: u32 = 8;
/// Longest rest. Longer than what load balancers keep connections for, so that they close first and no request meets a
/// closing connection. Source: nginx's `keepalive_timeout` is 75 s, an ALB's idle timeout 60 s.
pub(crate) const REST_MAX: Duration = Duration::from_secs(75);
/// A usual head comes whole.
const WORD: usize = 1024;

/// Why a connection is looked after.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Quiet {
    /// It rests now: nobody but the next word wakes it.
    Resting,
    /// A head, or the first byte of one, did not come in time.
    Late,
}

/// Returns when nothing is said.
pub(crate) async fn quiet(turn: &Turn, head_timeout: Duration) -> Quiet {
    let pause = LOOK.min(head_timeout / LOOKS_MIN);
    let mut awaited = Instant::now();
    loop {
        sleep(pause).await;
        match turn.look() {
            Look::Resting => return Quiet::Resting,
            Look::Awaited if awaited.elapsed() >= head_timeout => return Quiet::Late,
            Look::Awaited => {}
            Look::Other => awaited = Instant::now(),
        }
    }
}

/// The client's next bytes, none at its end. Holds no room while it waits.
pub(crate) async fn word<IO: AsyncRead + Unpin>(io: &mut IO) -> io::Result<Bytes> {
    poll_fn(|cx| {
        let mut room = [0; WORD];
        let mut read = ReadBuf::new(&mut room);
        ready!(Pin::new(&mut *io).poll_read(cx, &mut read))?;
        Ok(Bytes::copy_from_slice(read.filled())).into()
    })
    .await
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const HEAD_TIMEOUT: Duration = Duration::from_secs(30);

    /// At this second.
    type Act = (u64, fn(&Turn));

    /// What is seen of a turn whose connection does `what`.
    async fn seen(what: &[Act]) -> (Quiet, u64) {
        let (turn, begun) = (Turn::default(), Instant::now());
        let acts = async {
            for (at, act) in what {
                tokio::time::sleep_until(begun + Duration::from_secs(*at)).await;
                act(&turn);
            }
            std::future::pending::<()>().await;
        };
        tokio::select! {
            quiet = quiet(&turn, HEAD_TIMEOUT) => (quiet, begun.elapsed().as_secs()),
            () = acts => unreachable!(),
        }
    }

    fn answered(turn: &Turn) {
        turn.begin();
        turn.done();
        turn.flushed();
    }

    #[tokio::test(start_paused = true)]
    async fn who_says_nothing_rests_and_who_dawdles_is_late() {
        // A look is every 3.75 s.
        let cases: [(&[Act], _); 6] = [
            (&[], (Quiet::Late, 33)),
            (&[(1, Turn::heard), (20, Turn::heard)], (Quiet::Late, 33)),
            (&[(1, answered)], (Quiet::Resting, 7)),
            (&[(1, answered), (5, answered), (9, answered)], (Quiet::Resting, 15)),
            (&[(1, answered), (5, Turn::heard)], (Quiet::Late, 37)),
            (&[(1, Turn::begin), (100, Turn::done), (101, Turn::flushed)], (Quiet::Resting, 105)),
        ];
        for (what, (want, at)) in cases {
            let (quiet, after) = seen(what).await;
            assert!(quiet == want && after.abs_diff(at) <= 1, "{quiet:?} after {after} s, wanted {want:?} at {at}");
        }
    }
}
