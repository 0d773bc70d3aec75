//! Instances: who starts them, who lists them, who asks for more.

use crate::{
    BoxFuture,
    activity::Activity,
    body::Body,
    call::{Call, Permit},
};
use std::{
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::sync::watch;
use types::{
    AliasName, Fault, FunctionName, InstanceId, Revision, RevisionId, Timestamp, api::InstanceView, scaling::Scaling,
};

/// The way to one ready instance: implemented by `agent`, one kind per contract.
pub trait Link: Send + Sync {
    /// Calls user code in the slot that `permit` holds, until `call.deadline`.
    ///
    /// The permit is finished when the last byte of the answer left the instance, or the call failed.
    ///
    /// # Errors
    /// Those of the contract: see `docs/errors/`. With the call in it, no byte of it reached user code.
    fn call<'a>(&'a self, call: Call, permit: Permit) -> BoxFuture<'a, Result<http::Response<Body>, Refusal>>;
}

/// A call that was not answered.
#[derive(Debug)]
pub struct Refusal {
    pub fault: Fault,
    /// The untouched call where user code saw nothing of it: another instance may have it.
    pub call: Option<Box<Call>>,
}

impl Refusal {
    pub fn unsent(fault: Fault, call: Call) -> Self {
        Self { fault, call: Some(Box::new(call)) }
    }
}
impl From<Fault> for Refusal {
    fn from(fault: Fault) -> Self {
        Self { fault, call: None }
    }
}

/// Why an instance is no more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Exit {
    /// Stopped by the platform in an orderly way.
    Stopped,
    /// The process ended by itself with this status.
    Status(i32),
    /// Ended by this signal, which the platform did not send.
    Signal(i32),
    /// Killed by the platform for its memory: bytes used and allowed.
    Memory { used: u64, limit: u64 },
    /// Killed by the platform because a call passed its deadline.
    Deadline,
}

/// A ready instance.
pub struct Started {
    pub id: InstanceId,
    pub link: Arc<dyn Link>,
    /// Cold start by phase, in order.
    pub phases: Vec<(&'static str, Duration)>,
    pub at: Timestamp,
    /// Turns `Some` once the instance is gone.
    pub exit: watch::Receiver<Option<Exit>>,
}

/// How to end an instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stop {
    /// SIGTERM, the revision's grace, SIGKILL.
    Gently,
    /// SIGKILL, as [`Exit::Deadline`].
    Overdue,
}

/// The instances of one machine: implemented by `agent`.
pub trait Host: Send + Sync {
    /// Starts an instance and waits until it is ready.
    ///
    /// # Errors
    /// `runtime_unavailable`, `start_failed`, `start_timeout`, `storage_full`, `internal`.
    fn start(&self, revision: Arc<Revision>) -> BoxFuture<'_, Result<Started, Fault>>;

    /// Ends an instance; returns when nothing of it is left. Unknown ids are done already.
    fn stop(&self, id: InstanceId, how: Stop) -> BoxFuture<'_, ()>;

    fn instances(&self) -> Vec<InstanceView>;

    /// CPU time that each instance of these revisions has used since its start, where it can be told.
    fn cpu(&self, revisions: &dyn Fn(&RevisionId) -> bool) -> Vec<(RevisionId, InstanceId, Duration)> {
        let _ = revisions;
        Vec::new()
    }
}

/// The instances that take calls: implemented by `dispatch`.
pub trait Directory: Send + Sync {
    /// From now on `started` takes calls; who waits goes first.
    fn add(&self, revision: &Arc<Revision>, started: &Started);

    /// Takes no new call; resolves when its last one ended.
    fn drain(&self, id: InstanceId) -> BoxFuture<'_, ()>;

    /// Is no more: forgotten at once.
    fn remove(&self, id: InstanceId);

    /// No instance of this revision can be had now: whoever waits for one is told why.
    fn fail(&self, revision: &RevisionId, fault: &Fault);

    /// What each revision with an instance or a waiter has to do.
    fn load(&self) -> Vec<Load>;

    /// The same of one revision; `None` where it has neither instance nor waiter.
    fn load_of(&self, revision: &RevisionId) -> Option<Load>;

    /// Forgets the revisions that are not to be kept and have neither instance nor waiter.
    fn retain(&self, keep: &dyn Fn(&RevisionId) -> bool);
}

/// What one revision has to do at a moment.
#[derive(Debug, Clone)]
pub struct Load {
    pub revision: Arc<Revision>,
    pub waiting: u32,
    /// Those of them that nobody waits for: [`crate::Deferred`].
    pub deferred: u32,
    /// Most calls in flight and waiting at once since the last look.
    pub peak: u32,
    pub activity: Activity,
    pub instances: Vec<InstanceLoad>,
}

#[derive(Debug, Clone, Copy)]
pub struct InstanceLoad {
    pub id: InstanceId,
    pub in_flight: u32,
    pub idle_since: Option<Instant>,
    pub draining: bool,
}

/// Where dispatch says what it needs: implemented by `fleet`. Never blocks.
pub trait Demand: Send + Sync {
    /// Calls wait for this revision.
    fn nudge(&self, revision: &Arc<Revision>);

    /// A call on this instance passed its deadline; dispatch gives it no more.
    fn overdue(&self, revision: &Arc<Revision>, id: InstanceId);
}

/// What control asks of `fleet`.
pub trait Scaler: Send + Sync {
    /// Before an alias moves: a ready instance, started if there is none, and then as many as the share of the alias's calls
    /// takes, as far as they are ready within a limit of time.
    ///
    /// # Errors
    /// Those of [`Host::start`].
    fn ensure(&self, revision: Arc<Revision>, share: Share) -> BoxFuture<'_, Result<Ensured, Fault>>;

    /// The last decision on each revision of a function, with what it was made from.
    fn explain(&self, function: &FunctionName) -> Vec<Scaling> {
        let _ = function;
        Vec::new()
    }
}

/// What part of an alias's calls a revision is to take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Share {
    pub alias: AliasName,
    pub percent: u8,
}

/// A revision that has a ready instance.
pub struct Ensured {
    /// Of the start that it took; empty where an instance was there.
    pub phases: Vec<(&'static str, Duration)>,
    /// Instances that are ready, and those that the share takes: fewer are ready where the time was over.
    pub ready: u32,
    pub wanted: u32,
    /// Keeps the instances without traffic until the alias has moved, or will not move.
    pub hold: Hold,
}

/// Something is kept until this is dropped.
#[derive(Default)]
pub struct Hold(Option<Box<dyn FnOnce() + Send>>);

impl Hold {
    pub fn new(end: impl FnOnce() + Send + 'static) -> Self {
        Self(Some(Box::new(end)))
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        if let Some(end) = self.0.take() {
            end();
        }
    }
}
