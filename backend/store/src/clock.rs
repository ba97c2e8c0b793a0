//! Time, ids and randomness, passed in so that tests can set them.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use time::OffsetDateTime;
use uuid::Uuid;

/// The time of day, for what is stored and shown.
///
/// Waiting and timeouts use tokio's clock instead, which does not jump.
pub trait Clock: Send + Sync {
    /// The time now, in UTC.
    fn now(&self) -> OffsetDateTime;
}

/// The clock of the machine.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "this is the clock everybody else is given")]
    fn now(&self) -> OffsetDateTime {
        OffsetDateTime::now_utc()
    }
}

/// A clock that moves only when told to.
#[derive(Debug)]
pub struct ManualClock(Mutex<OffsetDateTime>);

impl ManualClock {
    /// A clock that shows this time.
    pub fn at(now: OffsetDateTime) -> Self {
        Self(Mutex::new(now))
    }

    /// Moves the clock forward.
    pub fn advance(&self, by: Duration) {
        *self.lock() += by;
    }

    /// Sets the clock, also back.
    pub fn set(&self, now: OffsetDateTime) {
        *self.lock() = now;
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, OffsetDateTime> {
        self.0.lock().expect("nothing panics while it holds the clock")
    }
}

impl Default for ManualClock {
    /// Stands at the beginning of 2026.
    fn default() -> Self {
        Self::at(time::macros::datetime!(2026-01-01 00:00 UTC))
    }
}

impl Clock for ManualClock {
    fn now(&self) -> OffsetDateTime {
        *self.lock()
    }
}

/// Where new ids, secrets and other random numbers come from.
pub trait Ids: Send + Sync {
    /// A new UUIDv7, unique without coordination and ordered by time.
    fn uuid(&self) -> Uuid;

    /// Bytes nobody can guess, for links, tokens and sessions.
    fn secret(&self) -> [u8; 32];

    /// A random number, for client ids and jitter.
    fn random_u64(&self) -> u64;
}

/// Ids from the machine's clock and its source of randomness.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemIds;

#[expect(clippy::disallowed_methods, reason = "these are the ids everybody else is given")]
impl Ids for SystemIds {
    fn uuid(&self) -> Uuid {
        Uuid::now_v7()
    }

    fn secret(&self) -> [u8; 32] {
        let mut secret = [0; 32];
        rand::rng().fill_bytes(&mut secret);
        secret
    }

    fn random_u64(&self) -> u64 {
        rand::rng().next_u64()
    }
}

/// The same ids in every run with the same seed. For tests and simulations only: they can be guessed.
#[derive(Debug)]
pub struct SeededIds {
    rng: Mutex<StdRng>,
    millis: AtomicU64,
}

impl SeededIds {
    /// First millisecond the ids are dated with; each id is a millisecond younger than the one before.
    const START_MILLIS: u64 = 1_767_225_600_000;

    /// Ids that follow from `seed`.
    pub fn new(seed: u64) -> Self {
        Self { rng: Mutex::new(StdRng::seed_from_u64(seed)), millis: AtomicU64::new(Self::START_MILLIS) }
    }

    fn fill(&self, bytes: &mut [u8]) {
        self.rng.lock().expect("nothing panics while it draws").fill_bytes(bytes);
    }
}

impl Ids for SeededIds {
    fn uuid(&self) -> Uuid {
        let mut random = [0; 10];
        self.fill(&mut random);
        let millis = self.millis.fetch_add(1, Ordering::Relaxed);
        uuid::Builder::from_unix_timestamp_millis(millis, &random).into_uuid()
    }

    fn secret(&self) -> [u8; 32] {
        let mut secret = [0; 32];
        self.fill(&mut secret);
        secret
    }

    fn random_u64(&self) -> u64 {
        let mut bytes = [0; 8];
        self.fill(&mut bytes);
        u64::from_le_bytes(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seeded_ids_repeat_and_are_ordered() {
        let (a, b) = (SeededIds::new(7), SeededIds::new(7));
        let first = a.uuid();
        assert_eq!(first, b.uuid());
        assert_eq!(a.secret(), b.secret());
        assert!(a.uuid() > first);
        assert_eq!(first.get_version_num(), 7);
        assert_ne!(SeededIds::new(8).uuid(), first);
    }

    #[test]
    fn a_manual_clock_moves_only_when_told() {
        let clock = ManualClock::default();
        let before = clock.now();
        assert_eq!(clock.now(), before);
        clock.advance(Duration::from_secs(5));
        assert_eq!(clock.now() - before, time::Duration::seconds(5));
    }
}
