//! A constant load in the background, and how its calls ended in each phase of a bench.
//!
//! Clients keep their connections and begin a new one where the server closes: what a client library does. Each call
//! that ends in anything but 200 is a failure; none is tried again.

use crate::load::{Address, Connection, get};
use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    time::{Duration, Instant},
};
use tokio::{task::JoinSet, time::sleep};

/// Words of failures that are kept of a phase.
const WORDS_MAX: usize = 5;

/// What the calls of a phase came to.
#[derive(Debug, Default)]
pub struct Outcome {
    pub calls: u64,
    pub failed: u64,
    pub slowest: Duration,
    /// What the first failures said.
    pub words: Vec<String>,
}

impl Outcome {
    pub fn note(&mut self, took: Duration, failure: Option<String>) {
        self.calls += 1;
        self.slowest = self.slowest.max(took);
        if let Some(words) = failure {
            self.failed += 1;
            self.words.push(words);
            self.words.truncate(WORDS_MAX);
        }
    }

    pub fn add(&mut self, other: Self) {
        self.calls += other.calls;
        self.failed += other.failed;
        self.slowest = self.slowest.max(other.slowest);
        self.words.extend(other.words);
        self.words.truncate(WORDS_MAX);
    }
}

/// Clients that call on and on.
pub struct Steady {
    seen: Rc<RefCell<Outcome>>,
    done: Rc<Cell<bool>>,
    clients: JoinSet<()>,
}

impl Steady {
    /// `clients` that call `path` once in each `pause`; every other one with a new connection each time.
    pub fn start(address: &Address, path: &str, clients: usize, pause: Duration) -> Self {
        let (seen, done, mut tasks) = (Rc::default(), Rc::new(Cell::new(false)), JoinSet::new());
        for n in 0..clients {
            let client = Client {
                address: address.clone(),
                request: get(path),
                keeps: n % 2 == 0,
                first: pause.mul_f64(n as f64 / clients as f64),
                pause,
            };
            tasks.spawn_local(client.run(Rc::clone(&seen), Rc::clone(&done)));
        }
        Self { seen, done, clients: tasks }
    }

    /// What came since the last look: the phase's, where no other one runs.
    pub fn take(&self) -> Outcome {
        self.seen.take()
    }

    /// The last outcome.
    pub async fn end(mut self) -> Outcome {
        self.done.set(true);
        while self.clients.join_next().await.is_some() {}
        self.seen.take()
    }
}

struct Client {
    address: Address,
    request: Vec<u8>,
    keeps: bool,
    first: Duration,
    pause: Duration,
}

impl Client {
    async fn run(self, seen: Rc<RefCell<Outcome>>, done: Rc<Cell<bool>>) {
        let mut kept = None;
        sleep(self.first).await;
        while !done.get() {
            let begun = Instant::now();
            let failure = call(&self.address, &self.request, &mut kept).await.err();
            seen.borrow_mut().note(begun.elapsed(), failure);
            if !self.keeps {
                kept = None;
            }
            sleep(self.pause.saturating_sub(begun.elapsed())).await;
        }
    }
}

/// One call, by the connection that is kept or a new one, which is kept unless the server closes it.
///
/// # Errors
/// What came in place of a 200.
pub async fn call(address: &Address, request: &[u8], kept: &mut Option<Connection>) -> Result<(), String> {
    let mut connection = match kept.take() {
        Some(connection) => connection,
        None => Connection::open(address).await.map_err(|error| format!("{error:#}"))?,
    };
    let answer = connection.call(request).await.map_err(|error| format!("{error:#}"))?;
    if answer.status != 200 {
        return Err(format!("{}: {}", answer.status, connection.text(answer)));
    }
    if !answer.closes {
        *kept = Some(connection);
    }
    Ok(())
}
