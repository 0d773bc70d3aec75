//! One call on its way to user code.

use crate::{BoxFuture, body::Body, snapshot::Target};
use std::{
    fmt,
    net::IpAddr,
    sync::Arc,
    time::{Duration, Instant},
};
use types::{Code, Fault, InstanceId, InvocationId, record::Outcome};

/// What the request's body is to a handler.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// An HTTP request: reaches a handler as API Gateway's payload format 2.0.
    Http,
    /// The body is the event itself, and the answer's body the handler's result.
    Event,
}

/// A request with what the platform knows about it.
#[derive(Debug)]
pub struct Call {
    pub id: InvocationId,
    /// Boxed: a call goes through a dozen hands, and its head alone has 264 bytes.
    pub request: Box<http::Request<Body>>,
    pub shape: Shape,
    pub arrived: Instant,
    /// User code has until here: the dispatcher sets it to the revision's timeout from the moment the call has a slot.
    pub deadline: Instant,
    /// Who called, where it came over a network.
    pub peer: Option<IpAddr>,
}

/// Who calls, where something tells callers apart better than their address: an API key, a token's subject. It is a hash,
/// put into the request's extensions before [`Invoke::invoke`]; callers take turns where calls wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Caller(pub u64);

/// In the request's extensions: nobody waits for the answer, and the call is kept elsewhere until it succeeded. It waits
/// behind those that somebody waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Deferred;

/// Brings a call to an instance of what a target names: implemented by `dispatch`.
pub trait Invoke: Send + Sync {
    /// Answers once the response's head is there; the body streams.
    ///
    /// Dropping the future gives up the call: user code that cannot be interrupted ends by itself, unseen.
    ///
    /// # Errors
    /// Every fault says whose it is; `fault.code.retry()` holds only where no byte reached user code.
    fn invoke<'a>(&'a self, target: &'a Target, call: Call) -> BoxFuture<'a, Result<http::Response<Body>, Fault>>;
}

/// What the dispatcher has to know again when a call ends.
#[derive(Debug, Clone, Copy)]
pub struct CallInfo {
    pub id: InvocationId,
    pub instance: InstanceId,
    pub arrived: Instant,
    pub waited: Duration,
    /// It waited for an instance that was not there.
    pub cold: bool,
}

/// How a call ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct End {
    pub outcome: Outcome,
    /// HTTP status answered; 0 where there was none.
    pub status: u16,
    pub code: Option<Code>,
}

impl End {
    pub const fn ok(status: u16) -> Self {
        Self { outcome: Outcome::Ok, status, code: None }
    }

    /// The end that a fault means.
    pub fn fault(fault: &Fault) -> Self {
        let outcome = match fault.code {
            Code::FunctionTimeout => Outcome::TimedOut,
            Code::FunctionExited | Code::MemoryExceeded => Outcome::Crashed,
            code if code.retry() => Outcome::Rejected,
            Code::RequestTooLarge | Code::BadRequest => Outcome::Rejected,
            _ => Outcome::FunctionError,
        };
        Self { outcome, status: fault.code.status(), code: Some(fault.code) }
    }
}

/// Takes slots back: implemented by `dispatch`.
pub trait Lease: Send + Sync {
    fn release(&self, info: &CallInfo, end: End);
}

/// One occupied slot of one instance. It is given back exactly once: by [`Permit::finish`], or as
/// cancelled when dropped.
pub struct Permit {
    lease: Option<Arc<dyn Lease>>,
    pub info: CallInfo,
}

impl Permit {
    pub fn new(lease: Arc<dyn Lease>, info: CallInfo) -> Self {
        Self { lease: Some(lease), info }
    }

    pub fn finish(mut self, end: End) {
        self.give_back(end);
    }

    fn give_back(&mut self, end: End) {
        if let Some(lease) = self.lease.take() {
            lease.release(&self.info, end);
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.give_back(End { outcome: Outcome::Cancelled, status: 0, code: None });
    }
}

impl fmt::Debug for Permit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Permit({})", self.info.id)
    }
}
