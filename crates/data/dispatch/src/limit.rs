//! How many calls at once a function may have, and all functions together: counted from their arrival to their end.
//!
//! A function with a limit of its own has that many calls guaranteed and no more; all others share what is left, a tenth of
//! all at least. A limit of 0 stops a function. Source: AWS Lambda's reserved concurrency.

use parking_lot::{Mutex, RwLock};
use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering::Relaxed},
    },
    time::Duration,
};
use types::{
    Code, Fault, FunctionName,
    limit::{Unreserved, unreserved},
};

/// No limit of its own.
const NONE: u32 = u32::MAX;

/// A function that was stopped by hand is seldom let go within moments.
const STOPPED: Duration = Duration::from_secs(60);

/// All functions' counts.
pub(crate) struct Limits {
    shared: Option<Arc<Shared>>,
    gates: RwLock<HashMap<FunctionName, Arc<Gate>>>,
    reserved: Mutex<HashMap<FunctionName, u32>>,
}

/// What functions without a limit of their own have together.
struct Shared {
    max: u32,
    /// `max` less what is reserved.
    left: AtomicU32,
    now: AtomicU32,
}

/// One function's count.
pub(crate) struct Gate {
    function: FunctionName,
    now: AtomicU32,
    max: AtomicU32,
    /// How many of them are in `shared`'s count.
    borrowed: AtomicU32,
    shared: Option<Arc<Shared>>,
}

/// A call that is counted, until this is dropped or handed on by [`Entered::keep`].
pub(crate) struct Entered(Option<Arc<Gate>>);

impl Limits {
    /// `max`: most calls at once of all functions together.
    pub(crate) fn new(max: Option<u32>) -> Self {
        let shared = max.map(|max| Arc::new(Shared { max, left: AtomicU32::new(max), now: AtomicU32::new(0) }));
        Self { shared, gates: RwLock::default(), reserved: Mutex::default() }
    }

    /// Functions that are deleted leave a gate of some bytes until the revisions' pools are gone.
    pub(crate) fn gate(&self, function: &FunctionName) -> Arc<Gate> {
        if let Some(gate) = self.gates.read().get(function) {
            return Arc::clone(gate);
        }
        let mut gates = self.gates.write();
        let max = self.reserved.lock().get(function).copied().unwrap_or(NONE);
        let new = || {
            Arc::new(Gate {
                function: function.clone(),
                now: AtomicU32::new(0),
                max: AtomicU32::new(max),
                borrowed: AtomicU32::new(0),
                shared: self.shared.clone(),
            })
        };
        Arc::clone(gates.entry(function.clone()).or_insert_with(new))
    }

    /// The limits that hold from now on.
    pub(crate) fn set(&self, reserved: &HashMap<FunctionName, u32>) {
        if *self.reserved.lock() == *reserved {
            return;
        }
        let gates = self.gates.write();
        for gate in gates.values() {
            gate.max.store(reserved.get(&gate.function).copied().unwrap_or(NONE), Relaxed);
        }
        if let Some(shared) = &self.shared {
            let Unreserved { left, overbooked } = unreserved(shared.max, reserved.values().copied());
            if overbooked {
                tracing::warn!(calls_max = shared.max, left, "functions have more calls guaranteed than there are");
            }
            shared.left.store(left, Relaxed);
        }
        reserved.clone_into(&mut self.reserved.lock());
    }

    /// Forgets functions that nobody holds.
    pub(crate) fn sweep(&self) {
        self.gates.write().retain(|_, gate| Arc::strong_count(gate) > 1);
    }
}

impl Gate {
    /// Counts a call in.
    ///
    /// # Errors
    /// `function_stopped`, `function_limit`, `tenant_limit`.
    pub(crate) fn enter(self: &Arc<Self>) -> Result<Entered, Fault> {
        let max = self.max.load(Relaxed);
        if max == NONE {
            self.borrow()?;
            self.now.fetch_add(1, Relaxed);
        } else if !count_up(&self.now, max) {
            return Err(self.refusal(max));
        }
        Ok(Entered(Some(Arc::clone(self))))
    }

    /// Calls that are counted now.
    pub(crate) fn calls(&self) -> u32 {
        self.now.load(Relaxed)
    }

    /// Counts a call out: once for each that entered.
    pub(crate) fn exit(&self) {
        self.now.fetch_sub(1, Relaxed);
        // Whose it was does not matter: they are alike. What was borrowed before a limit was set is paid back first.
        if let Some(shared) = &self.shared
            && self.borrowed.fetch_update(Relaxed, Relaxed, |n| n.checked_sub(1)).is_ok()
        {
            shared.now.fetch_sub(1, Relaxed);
        }
    }

    fn borrow(&self) -> Result<(), Fault> {
        let Some(shared) = &self.shared else { return Ok(()) };
        let left = shared.left.load(Relaxed);
        if !count_up(&shared.now, left) {
            let detail =
                format!("{left} calls at once, as many as functions without a limit of their own may have together");
            return Err(Fault::new(Code::TenantLimit, detail));
        }
        self.borrowed.fetch_add(1, Relaxed);
        Ok(())
    }

    fn refusal(&self, max: u32) -> Fault {
        let name = &self.function;
        match max {
            0 => Fault::new(Code::FunctionStopped, format!("{name} is stopped: its limit is 0")).after(STOPPED),
            _ => {
                Fault::new(Code::FunctionLimit, format!("{name} has {max} calls at once, as many as its limit allows"))
            }
        }
    }
}

fn count_up(count: &AtomicU32, max: u32) -> bool {
    count.fetch_update(Relaxed, Relaxed, |now| (now < max).then(|| now + 1)).is_ok()
}

impl Entered {
    /// The call stays counted; its end is told to [`Gate::exit`].
    pub(crate) fn keep(mut self) {
        self.0 = None;
    }
}

impl Drop for Entered {
    fn drop(&mut self) {
        if let Some(gate) = self.0.take() {
            gate.exit();
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn name(text: &str) -> FunctionName {
        text.parse().unwrap()
    }

    #[test]
    fn a_limit_is_guarantee_and_cap() {
        let limits = Limits::new(Some(10));
        let (own, other) = (limits.gate(&name("own")), limits.gate(&name("other")));
        limits.set(&HashMap::from([(name("own"), 4)]));
        // Others have six between them, whatever `own` does.
        let others: Vec<_> = (0..6).map(|_| other.enter().unwrap()).collect();
        assert_eq!(other.enter().map(drop).unwrap_err().code, Code::TenantLimit);
        let owns: Vec<_> = (0..4).map(|_| own.enter().unwrap()).collect();
        assert_eq!(own.enter().map(drop).unwrap_err().code, Code::FunctionLimit);
        drop(others);
        assert_eq!(own.enter().map(drop).unwrap_err().code, Code::FunctionLimit, "a cap, too");
        drop(owns);
        assert!(own.enter().is_ok() && other.enter().is_ok());
    }

    #[test]
    fn the_unreserved_share_keeps_a_tenth() {
        let limits = Limits::new(Some(20));
        let other = limits.gate(&name("other"));
        // Set while the platform allowed more.
        limits.set(&HashMap::from([(name("a"), 15), (name("b"), 15)]));
        let _two: Vec<_> = (0..2).map(|_| other.enter().unwrap()).collect();
        assert_eq!(other.enter().map(drop).unwrap_err().code, Code::TenantLimit);
    }

    #[test]
    fn zero_stops_and_none_lets_go() {
        let limits = Limits::new(None);
        let gate = limits.gate(&name("a"));
        let before = gate.enter().unwrap();
        limits.set(&HashMap::from([(name("a"), 0)]));
        assert_eq!(gate.enter().map(drop).unwrap_err().code, Code::FunctionStopped);
        limits.set(&HashMap::new());
        assert!(gate.enter().is_ok());
        drop(before);
        assert_eq!(gate.now.load(Relaxed), 0);
    }

    #[test]
    fn what_was_borrowed_is_paid_back_across_a_change() {
        let limits = Limits::new(Some(10));
        let gate = limits.gate(&name("a"));
        let borrowed: Vec<_> = (0..5).map(|_| gate.enter().unwrap()).collect();
        limits.set(&HashMap::from([(name("a"), 8)]));
        let reserved: Vec<_> = (0..3).map(|_| gate.enter().unwrap()).collect();
        assert!(gate.enter().is_err());
        limits.set(&HashMap::new());
        drop((borrowed, reserved));
        let shared = limits.shared.as_ref().unwrap();
        assert_eq!((gate.now.load(Relaxed), gate.borrowed.load(Relaxed), shared.now.load(Relaxed)), (0, 0, 0));
        drop(gate);
        limits.sweep();
        assert!(limits.gates.read().is_empty());
    }
}
