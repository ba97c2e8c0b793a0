//! Which failures are retried, and how long to wait.
//!
//! A call is repeated inside the provider only while nothing of its answer has been passed on, and at most once
//! per reason: when the server forgot the answer that was to be continued, when the connection turned out to be
//! dead or at its age limit, or when the model refused an optional field. Connecting is tried
//! [`CONNECT_ATTEMPTS`] times. Everything else is the caller's to decide, by [`crate::ModelError::is_retryable`].

use std::{
    hash::{BuildHasher, Hasher, RandomState},
    time::Duration,
};

/// How often a call tries to connect before it fails. A server that restarts is back within this.
pub(crate) const CONNECT_ATTEMPTS: u32 = 3;
/// The wait before the second attempt, before jitter.
const FIRST_WAIT: Duration = Duration::from_millis(250);
/// The longest wait between two attempts, before jitter.
const LONGEST_WAIT: Duration = Duration::from_secs(8);
/// The longest wait a server may ask for and be believed, so that a broken header does not stop an agent.
const LONGEST_ASKED_WAIT: Duration = Duration::from_mins(10);

/// Waits that double, each with up to half of itself taken off at random, so that many clients that lost the
/// same server do not come back in step.
#[derive(Debug)]
pub(crate) struct Backoff {
    attempt: u32,
    random: u64,
}

impl Backoff {
    /// Begins with a seed of its own.
    pub(crate) fn new() -> Self {
        Self::seeded(RandomState::new().build_hasher().finish())
    }

    /// Begins with a given seed, for tests.
    pub(crate) fn seeded(seed: u64) -> Self {
        Self { attempt: 0, random: seed }
    }

    /// How long to wait now.
    pub(crate) fn next_wait(&mut self) -> Duration {
        let full = FIRST_WAIT.saturating_mul(1_u32 << self.attempt.min(16)).min(LONGEST_WAIT);
        self.attempt += 1;
        // A step of splitmix64: spread well enough for jitter.
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.random;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^= mixed >> 31;
        let share = (mixed >> 11) as f64 / (1_u64 << 53) as f64;
        full.mul_f64(1.0 - share / 2.0)
    }
}

/// The wait that a message asks for: `try again in 11.054s`, `in 350ms`, `in 1m20s`.
pub(crate) fn wait_in_message(message: &str) -> Option<Duration> {
    let lower = message.to_ascii_lowercase();
    let (_, rest) = lower.split_once("try again in ")?;
    let mut total = 0.0;
    let mut rest = rest;
    let mut found = false;
    loop {
        let digits = rest.find(|character: char| !character.is_ascii_digit() && character != '.')?;
        let Ok(amount) = rest[..digits].parse::<f64>() else { break };
        let unit_text = rest[digits..].trim_start();
        let unit_end =
            unit_text.find(|character: char| !character.is_ascii_alphabetic()).unwrap_or(unit_text.len());
        let seconds = match &unit_text[..unit_end] {
            "ms" | "millisecond" | "milliseconds" => 0.001,
            "s" | "sec" | "secs" | "second" | "seconds" => 1.0,
            "m" | "min" | "minute" | "minutes" => 60.0,
            "h" | "hour" | "hours" => 3600.0,
            _ => break,
        };
        total += amount * seconds;
        found = true;
        rest = &unit_text[unit_end..];
        if !rest.starts_with(|character: char| character.is_ascii_digit()) {
            break;
        }
    }
    found.then(|| Duration::try_from_secs_f64(total).ok().map(|wait| wait.min(LONGEST_ASKED_WAIT))).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_a_limit_and_never_shrink_below_half() {
        for seed in 0..50 {
            let mut backoff = Backoff::seeded(seed);
            let mut full = FIRST_WAIT;
            for _ in 0..12 {
                let wait = backoff.next_wait();
                assert!(wait <= full && wait >= full / 2, "{wait:?} of {full:?}");
                full = (full * 2).min(LONGEST_WAIT);
            }
        }
    }

    #[test]
    fn waits_are_read_from_messages() {
        let cases = [
            ("Rate limit reached. Please try again in 11.054s. Visit us", Some(11_054)),
            ("try again in 350ms.", Some(350)),
            ("Please try again in 1m20s.", Some(80_000)),
            ("Please try again in 2 seconds, thanks", Some(2_000)),
            ("Try again in a while.", None),
            ("try again in 5", None),
            ("nothing", None),
            ("try again in 99999999999h.", Some(600_000)),
        ];
        for (message, milliseconds) in cases {
            assert_eq!(wait_in_message(message), milliseconds.map(Duration::from_millis), "{message}");
        }
    }
}
