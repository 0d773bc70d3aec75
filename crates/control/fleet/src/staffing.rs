//! How many slots so many calls at once are worth: queueing theory and a price.
//!
//! With `a` calls at once on average and `n` slots, Erlang's formula C says how many calls find no slot free, and `n - a`
//! how long they wait. A slot more is had for as long as what it spares is worth more than what it costs. So one call at
//! once gets a room of 200 %, 20 get 45 %, 400 get 12 %, where a fixed target keeps the same share of all.
//! Sources: Erlang 1917; Halfin and Whitt 1981 for why the room grows with the square root; Van Mieghem 1995 for a burden
//! that grows faster than the wait.

/// What a call that need not wait is worth: the instance-seconds of so many calls. Chosen with the tuning seeds of
/// `tests/sim`, as is the next.
const PRICE: f32 = 2.1;
/// And so much more for the square of its wait, in durations of a call: one long wait is worse than many short ones.
const LONG: f32 = 2.5;
/// With more calls at once, the square root says the same as the formula.
const EXACT_MAX: f32 = 500.0;
const ROOM: f32 = 2.5;

/// Slots for so many calls at once, of which `each` come in one instance.
pub(crate) fn slots(calls: f32, each: u32) -> f32 {
    if calls <= 0.0 {
        return 0.0;
    }
    if calls > EXACT_MAX {
        return (calls + ROOM * calls.sqrt()).ceil();
    }
    // A slot of a shared instance costs a part of it.
    let price = PRICE * each.max(1) as f32;
    let mut count = 0.0;
    let mut blocked = 1.0;
    let mut before = f32::INFINITY;
    loop {
        count += 1.0;
        // Erlang B, slot by slot, and C from it.
        blocked = calls * blocked / (count + calls * blocked);
        if count <= calls {
            continue;
        }
        let waits = blocked * count / (count - calls * (1.0 - blocked));
        let wait = (count - calls).recip();
        let burden = calls * waits * (1.0 + LONG * wait * wait);
        if (before - burden) * price < 1.0 {
            return count - 1.0;
        }
        before = burden;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_grows_with_the_square_root() {
        for (calls, want) in [(0.0, 0.0), (0.01, 1.0), (0.1, 1.0), (1.0, 3.0), (4.0, 7.0), (20.0, 29.0), (400.0, 450.0)]
        {
            assert_eq!(slots(calls, 1), want, "{calls} at once");
        }
        assert!(slots(20.0, 10) > slots(20.0, 1), "room in a shared instance costs less");
    }

    #[test]
    fn it_never_falls_and_is_never_less_than_asked() {
        let mut before = 0.0;
        for tenth in 1..12_000 {
            let calls = tenth as f32 / 10.0;
            let slots = slots(calls, 1);
            assert!(slots >= before && slots >= calls, "{calls}: {slots} after {before}");
            before = slots;
        }
    }
}
