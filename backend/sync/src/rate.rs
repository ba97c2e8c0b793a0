//! How often is too often: token buckets.
//!
//! A bucket holds so many tokens at the most and gets so many a second; an honest burst passes, a flood does not.

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

    /// Takes tokens; whether there were enough. When there were not, none are taken.
    pub fn take(&mut self, tokens: f64) -> bool {
        let now = Instant::now();
        let since = now.duration_since(self.filled).as_secs_f64();
        self.filled = now;
        self.tokens = (self.tokens + since * self.rate.per_second).min(self.rate.burst);
        let enough = self.tokens >= tokens;
        if enough {
            self.tokens -= tokens;
        }
        enough
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

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
}
