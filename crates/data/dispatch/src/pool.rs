//! The instances of one revision, their slots, and who waits for one.

use crate::{Options, history::History, meter::Meter, metrics};
use chassis::clock;
use http::HeaderValue;
use parking_lot::Mutex;
use std::{
    collections::VecDeque,
    sync::{Arc, Weak},
    time::{Duration, Instant},
};
use tokio::sync::oneshot;
use types::{Code, Contract, Fault, InstanceId, Invocation, InvocationId, Revision, record::Outcome};
use wire::{CallInfo, Demand, End, InstanceLoad, Lease, Link, Load, Permit, Started};

/// One instance: at most `limit` calls at once.
struct Slot {
    id: InstanceId,
    link: Arc<dyn Link>,
    busy: u32,
    draining: bool,
    idle_since: Instant,
    /// Told when the last call of a draining instance ended.
    drained: Vec<oneshot::Sender<()>>,
}

struct Waiter {
    info: CallInfo,
    granted: oneshot::Sender<Result<Granted, Fault>>,
}

#[derive(Default)]
struct State {
    slots: Vec<Slot>,
    waiters: VecDeque<Waiter>,
    in_flight: u32,
    /// Most calls at once, in flight and waiting, since the last look.
    peak: u32,
    /// Moving average of the start times.
    usual_start: Duration,
    history: History,
    meter: Meter,
}

pub(crate) struct Pool {
    revision: Arc<Revision>,
    name: HeaderValue,
    options: Options,
    demand: Option<Arc<dyn Demand>>,
    metrics: metrics::Function,
    state: Mutex<State>,
    /// Itself, for the permits that it hands out.
    this: Weak<Self>,
}

type Granted = (Arc<dyn Link>, Permit);

impl State {
    fn calls(&self) -> u32 {
        self.in_flight + self.waiters.len() as u32
    }

    /// A call came, and has a slot or a place in the queue.
    fn note_arrival(&mut self) {
        let calls = self.calls();
        self.peak = self.peak.max(calls);
        self.meter.arrived();
        self.meter.changed(clock::now(), calls);
    }
}

impl Pool {
    pub(crate) fn new(
        revision: Arc<Revision>,
        options: Options,
        demand: Option<Arc<dyn Demand>>,
        metrics: &metrics::Metrics,
    ) -> Arc<Self> {
        let name = HeaderValue::try_from(revision.id.to_string()).unwrap_or(HeaderValue::from_static("-"));
        let metrics = metrics.function(&revision.id);
        Arc::new_cyclic(|this| Self {
            revision,
            name,
            options,
            demand,
            metrics,
            state: Mutex::default(),
            this: this.clone(),
        })
    }

    pub(crate) fn revision(&self) -> &Arc<Revision> {
        &self.revision
    }

    pub(crate) fn name(&self) -> HeaderValue {
        self.name.clone()
    }

    /// A slot of the least loaded instance, or a place in the queue until one is free.
    pub(crate) async fn acquire(&self, id: InvocationId, arrived: Instant) -> Result<Granted, Fault> {
        let info = CallInfo {
            id,
            // Filled in when a slot is found.
            instance: InstanceId::default(),
            arrived,
            waited: Duration::ZERO,
            cold: false,
        };
        let (granted, limit) = {
            let mut state = self.state.lock();
            if state.waiters.is_empty()
                && let Some(found) = self.take(&mut state, info)
            {
                state.note_arrival();
                return Ok(found);
            }
            if state.waiters.len() >= self.options.queue_max {
                state.meter.arrived();
                drop(state);
                let detail = format!("{} calls wait for {} already", self.options.queue_max, self.revision.id);
                return Err(self.reject(&info, Fault::new(Code::QueueFull, detail)));
            }
            let (sender, granted) = oneshot::channel();
            // Cold: the instance that will answer is not there yet.
            let cold = state.slots.iter().all(|slot| slot.draining);
            state.waiters.push_back(Waiter { info: CallInfo { cold, ..info }, granted: sender });
            state.note_arrival();
            (granted, self.wait_limit(state.usual_start))
        };
        if let Some(demand) = &self.demand {
            demand.nudge(&self.revision);
        }
        self.wait(&info, granted, limit).await
    }

    async fn wait(
        &self,
        info: &CallInfo,
        granted: oneshot::Receiver<Result<Granted, Fault>>,
        limit: Duration,
    ) -> Result<Granted, Fault> {
        let seen = || self.state.lock().waiters.len();
        match tokio::time::timeout(limit, granted).await {
            Ok(Ok(Ok(granted))) => Ok(granted),
            Ok(Ok(Err(fault))) => Err(self.reject(info, fault)),
            Ok(Err(_)) => Err(self.reject(info, Fault::new(Code::ShuttingDown, "the dispatcher is going away"))),
            Err(_) => {
                let detail =
                    format!("no slot of {} was free within {limit:?}; {} calls wait", self.revision.id, seen());
                Err(self.reject(info, Fault::new(Code::CapacityExhausted, detail)))
            }
        }
    }

    fn wait_limit(&self, usual_start: Duration) -> Duration {
        usual_start.mul_f64(self.options.wait_factor).max(self.options.wait_min)
    }

    /// Counts and remembers a call that got no slot.
    fn reject(&self, info: &CallInfo, fault: Fault) -> Fault {
        let end = End { outcome: Outcome::Rejected, ..End::fault(&fault) };
        self.metrics.ended(info, end);
        let mut state = self.state.lock();
        // Its place in the queue, where it gave up by itself.
        state.waiters.retain(|waiter| waiter.info.id != info.id || !waiter.granted.is_closed());
        state.meter.rejected();
        state.history.push(self.options.history_max, None, info, end);
        fault
    }

    /// Occupies a slot of the least loaded instance.
    fn take(&self, state: &mut State, mut info: CallInfo) -> Option<Granted> {
        let limit = self.revision.spec.concurrency;
        let slot =
            state.slots.iter_mut().filter(|slot| !slot.draining && slot.busy < limit).min_by_key(|slot| slot.busy)?;
        slot.busy += 1;
        info.instance = slot.id;
        let link = Arc::clone(&slot.link);
        state.in_flight += 1;
        let lease: Arc<dyn Lease> = self.this.upgrade()?;
        Some((link, Permit::new(lease, info)))
    }

    /// Gives free slots to who waits, oldest first. Permits are sent without the lock: one that nobody takes comes back.
    fn grant(&self) {
        loop {
            let (waiter, granted) = {
                let mut state = self.state.lock();
                let Some(front) = state.waiters.front() else { return };
                let info =
                    CallInfo { waited: clock::now().saturating_duration_since(front.info.arrived), ..front.info };
                let Some(granted) = self.take(&mut state, info) else { return };
                let Some(waiter) = state.waiters.pop_front() else { return };
                (waiter, granted)
            };
            // Who gave up left the receiver: the permit drops here, outside the lock, and its slot is free again.
            let _ = waiter.granted.send(Ok(granted));
        }
    }

    pub(crate) fn add(&self, started: &Started) {
        let took: Duration = started.phases.iter().map(|(_, time)| *time).sum();
        {
            let mut state = self.state.lock();
            state.usual_start = match state.usual_start {
                Duration::ZERO => took,
                usual => (usual * 3 + took) / 4,
            };
            state.slots.push(Slot {
                id: started.id,
                link: Arc::clone(&started.link),
                busy: 0,
                draining: false,
                idle_since: clock::now(),
                drained: Vec::new(),
            });
        }
        self.metrics.started(&started.phases);
        self.grant();
    }

    /// Gives the instance no more calls. `None` where it is not here, a receiver that fires when it is empty otherwise.
    pub(crate) fn drain(&self, id: InstanceId) -> Option<oneshot::Receiver<()>> {
        let mut state = self.state.lock();
        let slot = state.slots.iter_mut().find(|slot| slot.id == id)?;
        slot.draining = true;
        let (sender, receiver) = oneshot::channel();
        match slot.busy {
            0 => drop(sender.send(())),
            _ => slot.drained.push(sender),
        }
        Some(receiver)
    }

    pub(crate) fn remove(&self, id: InstanceId) -> bool {
        let mut state = self.state.lock();
        let Some(index) = state.slots.iter().position(|slot| slot.id == id) else { return false };
        let slot = state.slots.swap_remove(index);
        state.in_flight -= slot.busy;
        true
    }

    /// Everybody who waits is told why there is no instance, unless one is there that will be free.
    pub(crate) fn fail(&self, fault: &Fault) {
        let waiters = {
            let mut state = self.state.lock();
            match state.slots.iter().any(|slot| !slot.draining) {
                true => return,
                false => std::mem::take(&mut state.waiters),
            }
        };
        for waiter in waiters {
            let _ = waiter.granted.send(Err(fault.clone()));
        }
    }

    pub(crate) fn load(&self) -> Load {
        let mut state = self.state.lock();
        state.waiters.retain(|waiter| !waiter.granted.is_closed());
        let waiting = state.waiters.len() as u32;
        let now = state.calls();
        let peak = std::mem::replace(&mut state.peak, now);
        let (at, usual_start) = (clock::now(), state.usual_start);
        let oldest =
            state.waiters.front().map_or(Duration::ZERO, |first| at.saturating_duration_since(first.info.arrived));
        state.meter.changed(at, now);
        let activity = state.meter.sums(usual_start, oldest);
        let instances = state.slots.iter().map(|slot| InstanceLoad {
            id: slot.id,
            in_flight: slot.busy,
            idle_since: (slot.busy == 0).then_some(slot.idle_since),
            draining: slot.draining,
        });
        Load { revision: Arc::clone(&self.revision), waiting, peak, activity, instances: instances.collect() }
    }

    pub(crate) fn is_unused(&self) -> bool {
        let state = self.state.lock();
        state.slots.is_empty() && state.waiters.is_empty()
    }

    pub(crate) fn recent(&self, limit: usize) -> Vec<Invocation> {
        self.state.lock().history.recent(limit, &self.revision.id)
    }

    /// The slot is free again; an instance that overran or died gets no more calls. True where it is to be ended.
    fn put_back(&self, info: &CallInfo, end: End) -> bool {
        let mut state = self.state.lock();
        state.history.push(self.options.history_max, Some(info.instance), info, end);
        let Some(slot) = state.slots.iter_mut().find(|slot| slot.id == info.instance) else { return false };
        slot.busy -= 1;
        let now = clock::now();
        slot.idle_since = now;
        let broken = breaks(self.revision.spec.contract, end.outcome);
        let first = broken && !slot.draining;
        slot.draining |= broken;
        if slot.busy == 0 {
            for drained in slot.drained.drain(..) {
                let _ = drained.send(());
            }
        }
        state.in_flight -= 1;
        let calls = state.calls();
        state.meter.ended(now.saturating_duration_since(info.arrived + info.waited));
        state.meter.changed(now, calls);
        first
    }
}

/// True where a call's end says that its instance is of no more use. A component has an instance for each call, a
/// command a process.
fn breaks(contract: Contract, outcome: Outcome) -> bool {
    match (contract, outcome) {
        (Contract::Handler | Contract::Http, Outcome::TimedOut) => true,
        (Contract::Handler | Contract::Http | Contract::Command, Outcome::Crashed) => true,
        (_, Outcome::TimedOut | Outcome::Crashed) => false,
        (_, Outcome::Ok | Outcome::FunctionError | Outcome::Cancelled | Outcome::Rejected) => false,
    }
}

impl Lease for Pool {
    fn release(&self, info: &CallInfo, end: End) {
        self.metrics.ended(info, end);
        if self.put_back(info, end)
            && let Some(demand) = &self.demand
        {
            demand.overdue(&self.revision, info.instance);
        }
        self.grant();
    }
}

/// Resolves when the instance's last call ended.
pub(crate) async fn drained(receiver: Option<oneshot::Receiver<()>>) {
    if let Some(receiver) = receiver {
        let _ = receiver.await;
    }
}
