//! The bounded wait for a slot: who may join it, how it ends, and who is next when a slot is free.

use crate::{
    choose,
    limit::Entered,
    pool::{Asked, Granted, Pool, State},
    queue::{Caller, Class, Ticket},
    slot::{self, Wish},
};
use chassis::clock;
use std::time::Duration;
use tokio::sync::oneshot;
use types::{Code, Fault};
use wire::{Call, CallInfo, Deferred};

pub(crate) struct Waiter {
    pub(crate) info: CallInfo,
    granted: oneshot::Sender<Result<Granted, Fault>>,
    /// Waiting calls count against the function's limit, too.
    entered: Entered,
}

/// A slot at once, a place in the queue, or neither.
pub(crate) enum Waiting {
    Granted(Granted),
    Queued(Place),
    Refused(Fault),
}

/// A place in the queue, until a slot comes or the time is up.
pub(crate) struct Place {
    ticket: Ticket,
    granted: oneshot::Receiver<Result<Granted, Fault>>,
    limit: Duration,
    /// Whose place was taken for it.
    lost: Option<Waiter>,
}

/// Gives the place up when the caller goes away.
struct Leave<'a>(&'a Pool, Ticket);

impl Drop for Leave<'_> {
    fn drop(&mut self) {
        // Out of the lock first: dropping a waiter counts its call out.
        let left = self.0.state.lock().waiters.remove(self.1);
        drop(left);
    }
}

impl Pool {
    pub(crate) fn take_or_queue(
        &self,
        state: &mut State,
        call: &Call,
        info: CallInfo,
        entered: Entered,
        wish: Wish,
    ) -> Waiting {
        if state.waiters.is_empty()
            && let Some(index) = slot::pick(&state.slots, state.limit(&self.policy), wish)
        {
            let granted = self.occupy(state, index, info, entered);
            state.note_call();
            return match granted {
                Some(granted) => Waiting::Granted(granted),
                None => Waiting::Refused(going_away()),
            };
        }
        let limit = self.wait_limit(state.usual_start);
        if let Some(expected) = self.expected(state).filter(|expected| *expected > limit) {
            let detail = format!(
                "a call of {} would wait about {expected:.1?} for a slot, and {limit:?} is the limit",
                self.revision.id
            );
            // By then the queue is short enough for one more.
            return Waiting::Refused(Fault::new(Code::Overloaded, detail).after(expected - limit));
        }
        let (sender, granted) = oneshot::channel();
        // Cold: the instance that will answer is not there yet.
        let cold = state.slots.iter().all(|slot| slot.draining);
        let waiter = Waiter { info: CallInfo { cold, ..info }, granted: sender, entered };
        let (class, caller) = who(call);
        match state.waiters.push(class, caller, waiter, self.policy.queue_max) {
            Ok((ticket, lost)) => {
                state.note_call();
                Waiting::Queued(Place { ticket, granted, limit, lost })
            }
            Err(_) => {
                let detail = format!("{} calls wait for {} already", state.waiters.len(), self.revision.id);
                Waiting::Refused(Fault::new(Code::QueueFull, detail).after(self.backlog(state)))
            }
        }
    }

    /// How long one more call would wait, by what calls take and how many slots there may be; `None` where nothing is
    /// known yet. Instances that may still be started count: a burst is no overload.
    fn expected(&self, state: &State) -> Option<Duration> {
        if state.waiters.is_empty() || state.usual_hold.is_zero() {
            return None;
        }
        let ready = state.slots.iter().filter(|slot| !slot.draining).count() as u32;
        let max = self.policy.slots_max / self.policy.slots.max(1);
        let slots = ready.max(max).saturating_mul(state.limit(&self.policy)).max(1);
        // A quarter more than the mean says: who waits to the bound and is refused then has lost the most.
        Some(state.usual_hold * (state.waiters.len() as u32 + 1) / slots * 5 / 4)
    }

    /// When those that wait now will have had their turn; nothing where nothing is known.
    fn backlog(&self, state: &State) -> Duration {
        self.expected(state).unwrap_or_default()
    }

    fn wait_limit(&self, usual_start: Duration) -> Duration {
        let options = &self.house.options;
        self.policy.wait.unwrap_or_else(|| usual_start.mul_f64(options.wait_factor).max(options.wait_min))
    }

    /// Waits, where that is what asking for a slot led to.
    ///
    /// # Errors
    /// `function_limit`, `function_stopped`, `tenant_limit`, `circuit_open`, `queue_full`, `overloaded`,
    /// `capacity_exhausted`, and why no instance starts.
    pub(crate) async fn settle(&self, (waiting, info): Asked) -> Result<Granted, Fault> {
        let info = &info;
        let place = match waiting {
            Waiting::Granted(granted) => return Ok(granted),
            Waiting::Refused(fault) => return Err(self.reject(info, fault)),
            Waiting::Queued(place) => place,
        };
        if let Some(lost) = place.lost {
            let detail = format!("its place among those that wait for {} went to another caller", self.revision.id);
            let after = self.backlog(&self.state.lock());
            let _ = lost.granted.send(Err(Fault::new(Code::QueueFull, detail).after(after)));
        }
        if let Some(demand) = self.house.demand.get() {
            demand.nudge(&self.revision);
        }
        let leave = Leave(self, place.ticket);
        let ended = self.wait(place.granted, place.limit).await;
        drop(leave);
        ended.map_err(|fault| self.reject(info, fault))
    }

    async fn wait(
        &self,
        mut granted: oneshot::Receiver<Result<Granted, Fault>>,
        limit: Duration,
    ) -> Result<Granted, Fault> {
        let deadline = tokio::time::Instant::now() + limit;
        // Now and then a look at whether anybody sees to it that there are instances.
        let mut look = tokio::time::interval(self.house.options.silent_after);
        look.reset();
        loop {
            tokio::select! {
                biased;
                answer = &mut granted => return answer.unwrap_or_else(|_| Err(going_away())),
                () = tokio::time::sleep_until(deadline) => {
                    let (waiting, after) = {
                        let state = self.state.lock();
                        (state.waiters.len(), self.backlog(&state))
                    };
                    let detail = format!("no slot of {} was free within {limit:?}; {waiting} calls wait", self.revision.id);
                    return Err(Fault::new(Code::CapacityExhausted, detail).after(after));
                }
                _ = look.tick() => self.house.emergency.look(self),
            }
        }
    }

    /// Gives free slots to who waits. Permits are sent without the lock: one that nobody takes comes back.
    pub(crate) fn grant(&self) {
        loop {
            let (sender, granted) = {
                let mut state = self.state.lock();
                if state.waiters.is_empty() {
                    return;
                }
                let Some(index) = slot::pick(&state.slots, state.limit(&self.policy), Wish::default()) else { return };
                let Some(Waiter { info, granted, entered }) = state.waiters.pop() else { return };
                let info = CallInfo { waited: clock::now().saturating_duration_since(info.arrived), ..info };
                (granted, self.occupy(&mut state, index, info, entered))
            };
            // Who gave up left the receiver: the permit drops here, outside the lock, and its slot is free again.
            let _ = sender.send(granted.ok_or_else(going_away));
        }
    }

    /// Everybody who waits is told why there is no instance, unless one is there that will be free.
    pub(crate) fn fail(&self, fault: &Fault) {
        let waiters = {
            let mut state = self.state.lock();
            match state.slots.iter().any(|slot| !slot.draining) {
                true => return,
                false => state.waiters.drain(),
            }
        };
        for waiter in waiters {
            let _ = waiter.granted.send(Err(fault.clone()));
        }
    }

    /// True where calls wait and no instance will ever be free for them.
    pub(crate) fn is_stranded(&self) -> bool {
        let state = self.state.lock();
        !state.waiters.is_empty() && state.slots.iter().all(|slot| slot.draining)
    }
}

/// How a call waits, and behind whom.
fn who(call: &Call) -> (Class, Caller) {
    let extensions = call.request.extensions();
    let class = if extensions.get::<Deferred>().is_some() { Class::Deferred } else { Class::Sync };
    let caller = match (extensions.get::<wire::Caller>(), call.peer) {
        (Some(caller), _) => caller.0,
        (None, Some(std::net::IpAddr::V4(ip))) => choose::caller(&ip.octets()),
        // A host has a whole /64 (RFC 4291 §2.5.1).
        (None, Some(std::net::IpAddr::V6(ip))) => choose::caller(&ip.octets()[..8]),
        (None, None) => 0,
    };
    (class, caller)
}

fn going_away() -> Fault {
    Fault::new(Code::ShuttingDown, "the dispatcher is going away")
}
