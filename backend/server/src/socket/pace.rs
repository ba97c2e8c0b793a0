//! How fast a socket may send: it is read from more slowly when it is over its rates, and closed when it goes on.
//!
//! What was read is always handled, so nothing is lost by being slowed down: the next message is only read when
//! the rates allow for it, and meanwhile the other side's own sending slows down. The work of the rooms is
//! limited by the rooms; this limits what a socket costs before it comes to that.

use std::sync::Arc;
use std::time::Duration;

use ensemble_protocol::error::CloseCode;
use ensemble_protocol::limits;
use ensemble_sync::rate::Bucket;
use parking_lot::Mutex;
use tokio::time::Instant;

use super::End;
use crate::config::SocketRates;
use crate::rates::Flow;

/// The rates of one socket.
#[derive(Debug)]
pub(super) struct Pace {
    frames: Bucket,
    bytes: Bucket,
    presence: Bucket,
    calls: Bucket,
    /// What is shared with other sockets.
    flows: Vec<Arc<Mutex<Flow>>>,
    /// Nothing is read before this.
    until: Instant,
    /// Since when it has been slowed down without a break.
    slowed_since: Instant,
}

impl Pace {
    pub(super) fn new(rates: &SocketRates) -> Self {
        let now = Instant::now();
        Self {
            frames: Bucket::new(rates.frames),
            bytes: Bucket::new(rates.bytes),
            presence: Bucket::new(rates.presence),
            calls: Bucket::new(rates.calls),
            flows: Vec::new(),
            until: now,
            slowed_since: now,
        }
    }

    /// When the next message may be read.
    pub(super) const fn until(&self) -> Instant {
        self.until
    }

    /// Counts what follows also with the other sockets of this person or address.
    pub(super) fn share(&mut self, flow: Arc<Mutex<Flow>>) {
        if !self.flows.iter().any(|known| Arc::ptr_eq(known, &flow)) {
            self.flows.push(flow);
        }
    }

    /// Counts a WebSocket message that was read.
    pub(super) fn frame(&mut self, bytes: usize) -> Result<(), End> {
        let bytes = bytes as f64;
        let own = self.frames.charge(1.0).max(self.bytes.charge(bytes));
        self.slow_down(self.charge_flows(own, bytes))
    }

    fn charge_flows(&self, own: Duration, bytes: f64) -> Duration {
        self.flows.iter().fold(own, |wait, flow| wait.max(flow.lock().charge(1.0, bytes)))
    }

    /// Counts one more message of the protocol in the same frame.
    pub(super) fn another(&mut self) -> Result<(), End> {
        let own = self.frames.charge(1.0);
        self.slow_down(self.charge_flows(own, 0.0))
    }

    /// Counts a presence message.
    pub(super) fn presence(&mut self) -> Result<(), End> {
        let wait = self.presence.charge(1.0);
        self.slow_down(wait)
    }

    /// Counts a control request; whether it is one too many.
    pub(super) fn call(&mut self) -> bool {
        self.calls.take(1.0)
    }

    fn slow_down(&mut self, wait: Duration) -> Result<(), End> {
        if wait.is_zero() {
            return Ok(());
        }
        let now = Instant::now();
        if now > self.until + limits::SLOWED_CALM {
            self.slowed_since = now;
        }
        if wait > limits::SLOWED_LIMIT {
            return Err(CloseCode::TooMany.into());
        }
        self.until = self.until.max(now + wait);
        if self.until.duration_since(self.slowed_since) > limits::SLOWED_LIMIT {
            return Err(CloseCode::TooMany.into());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pace() -> Pace {
        Pace::new(&SocketRates::default())
    }

    #[test]
    fn honest_bursts_are_not_slowed_down() {
        let mut pace = pace();
        let start = pace.until();
        // The largest first sync there is, and a page that opens all its documents and shows itself in each.
        pace.frame(limits::MESSAGE_BYTES).unwrap();
        for _ in 0..4 * limits::DOCUMENTS_PER_SOCKET {
            pace.frame(1_000).unwrap();
            pace.presence().unwrap();
        }
        assert_eq!(pace.until(), start, "it never had to wait");
    }

    #[test]
    fn a_flood_waits_and_is_closed_when_the_wait_grows_too_long() {
        let mut pace = pace();
        let start = pace.until();
        let rate = limits::SOCKET_FRAMES;
        let most =
            rate.burst + rate.per_second * (limits::SLOWED_LIMIT + Duration::from_secs(30)).as_secs_f64();
        let mut taken = 0_u32;
        while pace.another().is_ok() {
            taken += 1;
            assert!(f64::from(taken) < most, "it goes on for ever");
        }
        assert!(pace.until() >= start + limits::SLOWED_LIMIT / 2, "it was slowed down first");
    }
}
