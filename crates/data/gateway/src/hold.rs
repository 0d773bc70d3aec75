//! A connection's place among all of them: kept as long as its socket is open, whatever is spoken on it by then.

use crate::turn::Turn;
use chassis::metrics::{Counter, Gauge, Metrics};
use std::sync::Arc;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::task::{TaskTracker, task_tracker::TaskTrackerToken};

/// Most connections that are told at once that there is no place; the next ones are closed unheard.
const REFUSALS_MAX: usize = 64;

/// The places of all lanes. Clones share them.
#[derive(Clone)]
pub(crate) struct Places {
    free: Arc<Semaphore>,
    refusals: Arc<Semaphore>,
    counts: Arc<Counts>,
}

struct Counts {
    open: Gauge,
    tunnels: Gauge,
    tunnels_opened: Counter,
    refused: Counter,
}

impl Places {
    pub(crate) fn new(count: usize, metrics: &Metrics) -> Self {
        let counts = Counts {
            open: metrics.register("connections", "client connections that are open", Gauge::default()),
            tunnels: metrics.register("tunnels", "upgraded connections (WebSockets) that are open", Gauge::default()),
            tunnels_opened: metrics.register("tunnels_opened", "connections that were upgraded", Counter::default()),
            refused: metrics.register(
                "connections_refused",
                "connections refused because there are as many as there may be",
                Counter::default(),
            ),
        };
        let count = count.min(Semaphore::MAX_PERMITS);
        let (free, refusals) = (Arc::new(Semaphore::new(count)), Arc::new(Semaphore::new(REFUSALS_MAX)));
        Self { free, refusals, counts: Arc::new(counts) }
    }

    /// A place for a connection of the lane that waits for `running` at its end; `None` where there is none.
    pub(crate) fn take(&self, running: &TaskTracker) -> Option<Hold> {
        let Ok(place) = Arc::clone(&self.free).try_acquire_owned() else {
            self.counts.refused.inc();
            return None;
        };
        self.counts.open.inc();
        let turn = Arc::new(Turn::default());
        Some(Hold { turn, counts: Arc::clone(&self.counts), _place: place, _running: running.token() })
    }

    /// The right to say why there is no place.
    pub(crate) fn refusal(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.refusals).try_acquire_owned().ok()
    }
}

/// One place. It goes with the socket, into a tunnel too: that is what has a shutdown wait for tunnels.
pub(crate) struct Hold {
    turn: Arc<Turn>,
    counts: Arc<Counts>,
    _place: OwnedSemaphorePermit,
    _running: TaskTrackerToken,
}

impl Hold {
    pub(crate) fn turn(&self) -> Arc<Turn> {
        Arc::clone(&self.turn)
    }

    /// What counts a tunnel once there is one.
    pub(crate) fn tunnels(&self) -> Tunnels {
        Tunnels(Arc::clone(&self.counts))
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.counts.open.dec();
        if self.turn.is_tunnel() {
            self.counts.tunnels.dec();
        }
    }
}

pub(crate) struct Tunnels(Arc<Counts>);

impl Tunnels {
    /// The connection of `turn` speaks another protocol from here on.
    pub(crate) fn open(&self, turn: &Turn) {
        turn.tunnel();
        self.0.tunnels.inc();
        self.0.tunnels_opened.inc();
    }
}
