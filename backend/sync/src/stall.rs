//! Whether a room hangs, decided from what its supervisor found, look by look.
//!
//! Time alone would not do: a process that was stopped for a while, with its machine or by an operator, finds every
//! room at work on something for that long, and on a machine with too much to do every room is slow. Looks are made
//! by the process itself, so it takes no part in them while it is stopped, and what a look counts for depends on how
//! much of the machine the process had: on a healthy one a room that hangs is found after
//! [`limits::ROOM_STALL`], on one that is ten times slower after ten times that.

use std::collections::HashMap;
use std::hash::Hash;
use std::time::Duration;

use ensemble_protocol::limits;

/// Looks that find a room at the same thing before it is replaced, on a healthy machine.
pub(crate) const STALL_LOOKS: u32 = 8;
/// From one look to the next.
pub(crate) const LOOK_EVERY: Duration =
    Duration::from_millis(limits::ROOM_STALL.as_millis() as u64 / STALL_LOOKS as u64);
/// A look that comes this much later than it should is on time all the same: timers are not exact.
const ON_TIME: f64 = 1.25;

/// What a look counts for: one when it came on time and no thread of ours had to wait for a processor, else as much
/// less as it was late and they waited. Never more than one, however late it is, and hardly ever nothing.
pub(crate) fn worth(since_last: Duration, waited: Duration) -> f64 {
    let since = since_last.as_secs_f64().max(LOOK_EVERY.as_secs_f64());
    let late = since / LOOK_EVERY.as_secs_f64();
    let timely = if late <= ON_TIME { 1.0 } else { late.recip() };
    timely * (1.0 - waited.as_secs_f64() / since).max(0.0)
}

/// What the rooms were found at, look by look.
#[derive(Debug)]
pub(crate) struct Looks<K, T> {
    at: HashMap<K, (T, f64)>,
}

impl<K, T> Default for Looks<K, T> {
    fn default() -> Self {
        Self { at: HashMap::new() }
    }
}

impl<K: Copy + Eq + Hash, T: PartialEq> Looks<K, T> {
    /// A look that counts for `worth`, at everything that is at work and at what. Gives those that were at the same
    /// thing for looks worth [`STALL_LOOKS`], which are forgotten.
    pub(crate) fn look(&mut self, worth: f64, busy: impl Iterator<Item = (K, T)>) -> Vec<K> {
        let mut before = std::mem::take(&mut self.at);
        let mut stalled = Vec::new();
        for (key, with) in busy {
            let looks = match before.remove(&key) {
                Some((same, looks)) if same == with => looks + worth,
                _ => 0.0,
            };
            if looks >= f64::from(STALL_LOOKS) {
                stalled.push(key);
            } else {
                self.at.insert(key, (with, looks));
            }
        }
        stalled
    }

    /// Whether nothing was at work at the last look.
    pub(crate) fn is_empty(&self) -> bool {
        self.at.is_empty()
    }
}

/// How long threads of this process were ready to run and had no processor, as far as the system tells.
#[derive(Debug, Default)]
pub(crate) struct Waits {
    threads: HashMap<String, Duration>,
}

impl Waits {
    /// The longest that one thread has waited since the last time this was asked; nothing where the system does not
    /// tell, and for threads that are new.
    pub(crate) fn longest(&mut self) -> Duration {
        let before = std::mem::take(&mut self.threads);
        let Ok(threads) = std::fs::read_dir("/proc/self/task") else { return Duration::ZERO };
        let mut longest = Duration::ZERO;
        for thread in threads.flatten() {
            let stat = std::fs::read_to_string(thread.path().join("schedstat"));
            let Some(waited) = stat.ok().as_deref().and_then(waited_of) else { continue };
            let name = thread.file_name().to_string_lossy().into_owned();
            if let Some(before) = before.get(&name) {
                longest = longest.max(waited.saturating_sub(*before));
            }
            self.threads.insert(name, waited);
        }
        longest
    }
}

/// The second number of a line of Linux' `schedstat`: nanoseconds spent waiting on a run queue.
fn waited_of(schedstat: &str) -> Option<Duration> {
    schedstat.split_whitespace().nth(1)?.parse().ok().map(Duration::from_nanos)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Looks at one room that is at the same thing, until it is taken for stalled.
    fn looks_until_stalled(worths: impl IntoIterator<Item = f64>) -> Option<usize> {
        let mut looks = Looks::default();
        worths.into_iter().position(|worth| !looks.look(worth, std::iter::once(("room", 1))).is_empty())
    }

    const NONE: Duration = Duration::ZERO;

    #[test]
    fn a_healthy_machine_finds_a_stalled_room_in_time() {
        let usual = LOOK_EVERY + Duration::from_millis(5);
        assert_eq!(looks_until_stalled([worth(usual, NONE); 20]), Some(STALL_LOOKS as usize));
        assert_eq!(LOOK_EVERY * STALL_LOOKS, limits::ROOM_STALL);
    }

    /// [S15] Not on time, or while our threads wait for a processor: a look counts for less.
    #[test]
    fn a_slow_machine_takes_no_slow_room_for_a_stalled_one() {
        let late = worth(LOOK_EVERY * 10, NONE);
        assert!(looks_until_stalled([late; 70]).is_none(), "late looks count for little");
        assert!(looks_until_stalled([late; 100]).is_some(), "and yet they count");
        let starved = worth(LOOK_EVERY, LOOK_EVERY * 6 / 7);
        assert!(looks_until_stalled([starved; 50]).is_none(), "with a seventh of a processor");
        assert!(looks_until_stalled([starved; 70]).is_some());
        let asleep = worth(Duration::from_hours(1), NONE);
        assert!(asleep < 0.001, "a night's sleep is no look at all");
        assert!(worth(LOOK_EVERY, LOOK_EVERY * 2).abs() < f64::EPSILON, "never less than nothing");
        assert!(worth(NONE, NONE) <= 1.0, "and never more than a look");
    }

    #[test]
    fn whoever_goes_on_to_something_else_is_not_stalled() {
        let mut looks = Looks::default();
        for at in 0..100 {
            assert!(looks.look(1.0, [("room", at / 8)].into_iter()).is_empty());
        }
        assert!(looks.look(1.0, std::iter::empty()).is_empty());
        assert!(looks.is_empty(), "who rests is forgotten");
    }

    #[test]
    fn the_system_tells_how_long_threads_waited() {
        assert_eq!(waited_of("12 3400 7\n"), Some(Duration::from_nanos(3400)));
        assert_eq!(waited_of(""), None);
        let mut waits = Waits::default();
        assert_eq!(waits.longest(), NONE, "nothing to compare with yet");
    }
}
