//! How many calls at once a function may have, and a tenant's functions together: counted from their arrival to their end.
//!
//! A function with a limit of its own has that many calls guaranteed and no more; all others of its tenant share what is
//! left, a tenth of all at least. A limit of 0 stops a function, or a tenant. Source: AWS Lambda's reserved concurrency.
//!
//! A count of a tenant is touched only where the tenant has a cap: calls that run when it gets its first one are not in it.

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
    Code, Fault, FunctionName, TenantName,
    limit::{Unreserved, unreserved},
};
use wire::Snapshot;

/// No limit of its own.
const NONE: u32 = u32::MAX;

/// A function or tenant that was stopped by hand is seldom let go within moments.
const STOPPED: Duration = Duration::from_secs(60);

/// A function and whose it is. A name may be another tenant's once its function was deleted: the old one's last calls are
/// not counted with the new one's.
type Owned = (TenantName, FunctionName);

/// All functions' counts.
pub(crate) struct Limits {
    /// Most calls at once of `default`, where its record says nothing.
    option: Option<u32>,
    gates: RwLock<HashMap<Owned, Arc<Gate>>>,
    told: Mutex<Told>,
    shared: Mutex<HashMap<TenantName, Arc<Shared>>>,
}

/// The limits that hold.
#[derive(Debug, Default, PartialEq, Eq)]
struct Told {
    reserved: HashMap<Owned, u32>,
    caps: HashMap<TenantName, u32>,
}

/// What a tenant's functions without a limit of their own have together.
struct Shared {
    tenant: TenantName,
    max: AtomicU32,
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
    shared: Arc<Shared>,
}

/// A call that is counted, until this is dropped or handed on by [`Entered::keep`].
pub(crate) struct Entered(Option<Arc<Gate>>);

impl Told {
    fn of(snapshot: &Snapshot, option: Option<u32>) -> Self {
        let owned = |(name, calls): (&FunctionName, &u32)| {
            let tenant = snapshot.functions.get(name).and_then(|view| view.tenant()).cloned();
            ((tenant.unwrap_or_default(), name.clone()), *calls)
        };
        let reserved = snapshot.limits.iter().map(owned).collect();
        let cap = |(name, limits): (&TenantName, &types::tenant::TenantLimits)| Some((name.clone(), limits.calls_max?));
        let mut caps: HashMap<_, _> = snapshot.tenants.iter().filter_map(cap).collect();
        if let Some(option) = option {
            caps.entry(TenantName::default()).or_insert(option);
        }
        Self { reserved, caps }
    }

    fn apply(&self, shared: &Shared) {
        let max = self.caps.get(&shared.tenant).copied();
        let left = match max {
            None => NONE,
            Some(0) => 0,
            Some(max) => {
                let own = self.reserved.iter().filter(|((tenant, _), _)| *tenant == shared.tenant);
                let Unreserved { left, overbooked } = unreserved(max, own.map(|(_, calls)| *calls));
                if overbooked {
                    tracing::warn!(tenant = %shared.tenant, calls_max = max, left, "functions have more calls guaranteed than there are");
                }
                left
            }
        };
        shared.max.store(max.unwrap_or(NONE), Relaxed);
        shared.left.store(left, Relaxed);
    }
}

impl Limits {
    /// `option`: most calls at once of the functions of tenant `default`, unless its record says otherwise.
    pub(crate) fn new(option: Option<u32>) -> Self {
        let told = Told::of(&Snapshot::default(), option);
        Self { option, gates: RwLock::default(), told: Mutex::new(told), shared: Mutex::default() }
    }

    /// Functions that are deleted leave a gate of some bytes until the revisions' pools are gone.
    pub(crate) fn gate(&self, function: &FunctionName, tenant: &TenantName) -> Arc<Gate> {
        let key = (tenant.clone(), function.clone());
        if let Some(gate) = self.gates.read().get(&key) {
            return Arc::clone(gate);
        }
        let mut gates = self.gates.write();
        let told = self.told.lock();
        let max = told.reserved.get(&key).copied().unwrap_or(NONE);
        let new = || {
            Arc::new(Gate {
                function: function.clone(),
                now: AtomicU32::new(0),
                max: AtomicU32::new(max),
                borrowed: AtomicU32::new(0),
                shared: self.shared(tenant, &told),
            })
        };
        Arc::clone(gates.entry(key).or_insert_with(new))
    }

    fn shared(&self, tenant: &TenantName, told: &Told) -> Arc<Shared> {
        let new = || {
            let (max, left, now) = Default::default();
            let shared = Shared { tenant: tenant.clone(), max, left, now };
            told.apply(&shared);
            Arc::new(shared)
        };
        Arc::clone(self.shared.lock().entry(tenant.clone()).or_insert_with(new))
    }

    /// The limits that hold from now on.
    pub(crate) fn set(&self, snapshot: &Snapshot) {
        let new = Told::of(snapshot, self.option);
        // In the order of `gate`: one that is made meanwhile has the old limits or the new ones, and the new ones at last.
        let gates = self.gates.write();
        let mut told = self.told.lock();
        if *told == new {
            return;
        }
        for (owned, gate) in &*gates {
            gate.max.store(new.reserved.get(owned).copied().unwrap_or(NONE), Relaxed);
        }
        self.shared.lock().values().for_each(|shared| new.apply(shared));
        *told = new;
    }

    /// Forgets functions that nobody holds, and tenants without any.
    pub(crate) fn sweep(&self) {
        self.gates.write().retain(|_, gate| Arc::strong_count(gate) > 1);
        self.shared.lock().retain(|_, shared| Arc::strong_count(shared) > 1);
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
        } else if self.shared.max.load(Relaxed) == 0 {
            // Guarantees are of what the tenant has.
            return Err(self.shared.refusal(0));
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
        if self.borrowed.fetch_update(Relaxed, Relaxed, |n| n.checked_sub(1)).is_ok() {
            self.shared.now.fetch_sub(1, Relaxed);
        }
    }

    fn borrow(&self) -> Result<(), Fault> {
        let left = self.shared.left.load(Relaxed);
        if left == NONE {
            return Ok(());
        }
        if !count_up(&self.shared.now, left) {
            return Err(self.shared.refusal(left));
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

impl Shared {
    fn refusal(&self, left: u32) -> Fault {
        let tenant = &self.tenant;
        if self.max.load(Relaxed) == 0 {
            let detail = format!("tenant `{tenant}` is stopped: its limit is 0");
            return Fault::new(Code::TenantLimit, detail).after(STOPPED);
        }
        let detail = format!(
            "{left} calls at once, as many as functions of tenant `{tenant}` without a limit of their own may have together"
        );
        Fault::new(Code::TenantLimit, detail)
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

    /// Of functions, which are `default`'s but for those that begin with their tenant's name and a dash; and of tenants.
    fn told(functions: &[(&str, u32)], tenants: &[(&str, Option<u32>)]) -> Snapshot {
        let mut snapshot = Snapshot::default();
        let mut limits = HashMap::new();
        for (name, calls) in functions {
            let (name, tenant): (FunctionName, _) = (name.parse().unwrap(), owner(name));
            let alias = types::AliasName::live();
            let target = wire::Target { function: name.clone(), tenant, alias: alias.clone(), revisions: Arc::new([]) };
            let view = wire::FunctionView { name: name.clone(), aliases: [(alias, Arc::new(target))].into() };
            snapshot.functions.insert(name.clone(), Arc::new(view));
            limits.insert(name, *calls);
        }
        let tenants = tenants.iter().map(|(name, calls_max)| {
            (name.parse().unwrap(), types::tenant::TenantLimits { calls_max: *calls_max, rate: None })
        });
        Snapshot { limits: Arc::new(limits), tenants: Arc::new(tenants.collect()), ..snapshot }
    }

    fn owner(function: &str) -> TenantName {
        function.split_once('-').map(|(tenant, _)| tenant.parse().unwrap()).unwrap_or_default()
    }

    fn gate(limits: &Limits, function: &str) -> Arc<Gate> {
        limits.gate(&function.parse().unwrap(), &owner(function))
    }

    /// How many more calls it takes, and why not another one.
    fn room(gate: &Arc<Gate>) -> (usize, Fault) {
        let mut entered = Vec::new();
        loop {
            match gate.enter() {
                Ok(one) => entered.push(one),
                Err(fault) => return (entered.len(), fault),
            }
        }
    }

    #[test]
    fn a_tenant_at_its_limit_touches_no_other() {
        let limits = Limits::new(Some(3));
        let (a, kept, b, own) =
            (gate(&limits, "a-x"), gate(&limits, "a-kept"), gate(&limits, "b-x"), gate(&limits, "own"));
        let promised = [("a-kept", 4)];
        use Code::{FunctionLimit, TenantLimit};
        // (a's, b's and default's own record, then how many a's unreserved, a's reserved, b's and default's function take)
        for (caps, want) in [
            ([("a", Some(10)), ("b", Some(2)), ("c", None)], [6, 4, 2, 3]),
            ([("a", Some(20)), ("b", Some(1)), ("default", None)], [16, 4, 1, 3]),
            ([("a", Some(0)), ("b", Some(7)), ("default", Some(5))], [0, 0, 7, 5]),
            ([("a", Some(4)), ("b", Some(0)), ("default", Some(0))], [1, 4, 0, 0]),
        ] {
            limits.set(&told(&promised, &caps));
            let stopped = caps[0].1 == Some(0);
            let flood: Vec<_> = std::iter::from_fn(|| a.enter().ok()).collect();
            assert_eq!(flood.len(), want[0], "{caps:?}");
            let (kept, refused) = room(&kept);
            assert_eq!((kept, refused.code), (want[1], if stopped { TenantLimit } else { FunctionLimit }));
            for (gate, want) in [(&b, want[2]), (&own, want[3])] {
                let (got, refused) = room(gate);
                assert_eq!((got, refused.code), (want, TenantLimit), "{caps:?}: a was full");
            }
        }
        let (_, refused) = room(&b);
        assert_eq!(refused.detail, "tenant `b` is stopped: its limit is 0");
        assert_eq!(refused.retry_after(), Some(60));
    }

    #[test]
    fn a_tenant_without_a_cap_is_not_counted_and_gets_one_at_any_time() {
        let limits = Limits::new(Some(1));
        let gate = gate(&limits, "a-x");
        let before: Vec<_> = (0..50).map(|_| gate.enter().unwrap()).collect();
        assert_eq!(gate.shared.now.load(Relaxed), 0);
        limits.set(&told(&[], &[("a", Some(2))]));
        let _two = (gate.enter().unwrap(), gate.enter().unwrap());
        assert_eq!(gate.enter().map(drop).unwrap_err().code, Code::TenantLimit);
        limits.set(&told(&[], &[]));
        assert!(gate.enter().is_ok(), "deleted: no cap again");
        drop(before);
    }

    #[test]
    fn a_name_that_changes_hands_is_counted_anew() {
        let limits = Limits::new(None);
        limits.set(&told(&[], &[("a", Some(1)), ("b", Some(1))]));
        let name = "x".parse().unwrap();
        let (old, new) = (limits.gate(&name, &"a".parse().unwrap()), limits.gate(&name, &"b".parse().unwrap()));
        let _running = old.enter().unwrap();
        assert!(new.enter().is_ok() && old.enter().is_err());
    }

    #[test]
    fn a_limit_is_guarantee_and_cap() {
        let limits = Limits::new(Some(10));
        let (own, other) = (gate(&limits, "own"), gate(&limits, "other"));
        limits.set(&told(&[("own", 4)], &[]));
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
        let other = gate(&limits, "other");
        // Set while the platform allowed more.
        limits.set(&told(&[("a", 15), ("b", 15)], &[]));
        let _two: Vec<_> = (0..2).map(|_| other.enter().unwrap()).collect();
        assert_eq!(other.enter().map(drop).unwrap_err().code, Code::TenantLimit);
    }

    #[test]
    fn zero_stops_and_none_lets_go() {
        let limits = Limits::new(None);
        let gate = gate(&limits, "a");
        let before = gate.enter().unwrap();
        limits.set(&told(&[("a", 0)], &[]));
        assert_eq!(gate.enter().map(drop).unwrap_err().code, Code::FunctionStopped);
        limits.set(&told(&[], &[]));
        assert!(gate.enter().is_ok());
        drop(before);
        assert_eq!(gate.now.load(Relaxed), 0);
    }

    #[test]
    fn what_was_borrowed_is_paid_back_across_a_change() {
        let limits = Limits::new(Some(10));
        let gate = gate(&limits, "a");
        let borrowed: Vec<_> = (0..5).map(|_| gate.enter().unwrap()).collect();
        limits.set(&told(&[("a", 8)], &[]));
        let reserved: Vec<_> = (0..3).map(|_| gate.enter().unwrap()).collect();
        assert!(gate.enter().is_err());
        limits.set(&told(&[], &[]));
        drop((borrowed, reserved));
        let shared = Arc::clone(&gate.shared);
        assert_eq!((gate.now.load(Relaxed), gate.borrowed.load(Relaxed), shared.now.load(Relaxed)), (0, 0, 0));
        drop((gate, shared));
        limits.sweep();
        assert!(limits.gates.read().is_empty() && limits.shared.lock().is_empty());
    }
}
