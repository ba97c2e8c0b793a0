//! How often is too often: token buckets.
//!
//! A bucket holds so many tokens at the most and gets so many a second; an honest burst passes, a flood does not.

use std::time::Duration;

use ensemble_protocol::limits::Rate;
use tokio::time::Instant;

/// A token bucket.
#[derive(Debug, Clone)]
pub struct Bucket {
    rate: Rate,
    tokens: f64,
    filled: Instant,
}

impl Bucket {
    /// A full bucket.
    pub fn new(rate: Rate) -> Self {
        Self { rate, tokens: rate.burst, filled: Instant::now() }
    }

    fn fill(&mut self) {
        let now = Instant::now();
        let since = now.duration_since(self.filled).as_secs_f64();
        self.filled = now;
        self.tokens = (self.tokens + since * self.rate.per_second).min(self.rate.burst);
    }

    /// Takes tokens whether or not there are enough, and says how long it takes to make up for what is missing.
    pub fn charge(&mut self, tokens: f64) -> Duration {
        self.fill();
        self.tokens -= tokens;
        self.missing(0.0)
    }

    /// How long until there are so many tokens.
    pub fn until(&mut self, tokens: f64) -> Duration {
        self.fill();
        self.missing(tokens)
    }

    fn missing(&self, tokens: f64) -> Duration {
        let seconds = (tokens - self.tokens).max(0.0) / self.rate.per_second;
        Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX)
    }

    /// Takes tokens; whether there were enough. When there were not, none are taken.
    pub fn take(&mut self, tokens: f64) -> bool {
        self.fill();
        let enough = self.tokens >= tokens;
        if enough {
            self.tokens -= tokens;
        }
        enough
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_burst_passes_and_a_flood_does_not() {
        let mut bucket = Bucket::new(Rate { per_second: 2.0, burst: 10.0 });
        assert_eq!((0..20).filter(|_| bucket.take(1.0)).count(), 10);
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!((0..20).filter(|_| bucket.take(1.0)).count(), 2);
        tokio::time::advance(Duration::from_hours(1)).await;
        assert!(!bucket.take(11.0) && bucket.take(10.0));
    }
    #[tokio::test(start_paused = true)]
    async fn a_debt_is_made_up_for_in_time() {
        let mut bucket = Bucket::new(Rate { per_second: 2.0, burst: 10.0 });
        assert_eq!(bucket.charge(10.0), Duration::ZERO);
        assert_eq!(bucket.charge(4.0), Duration::from_secs(2));
        tokio::time::advance(Duration::from_secs(2)).await;
        assert_eq!(bucket.charge(0.0), Duration::ZERO);
        assert_eq!(bucket.until(1.0), Duration::from_millis(500));
    }
}
