//! Tokens, and when they are due.

use std::time::Duration;

use tokio::time::Instant;

/// The lengths of consecutive tokens, in characters: about four each, like a real tokenizer's on code, and
/// uneven, so that they cut through words, lines and patch markers.
const LENGTHS: [usize; 11] = [4, 3, 5, 4, 1, 6, 4, 2, 7, 4, 4];

/// Cuts a text into tokens.
pub(crate) fn tokens(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = text;
    let mut lengths = LENGTHS.iter().cycle();
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let length = lengths.next().copied().unwrap_or(4);
        let end = rest.char_indices().nth(length).map_or(rest.len(), |(index, _)| index);
        let (token, after) = rest.split_at(end);
        rest = after;
        Some(token)
    })
}

/// The number of tokens of a text, as usage reports it.
pub(crate) fn count(text: &str) -> u64 {
    (text.chars().count() as u64).div_ceil(4)
}

/// Says when each token of an answer is due.
#[derive(Debug)]
pub(crate) struct Pace {
    first: Instant,
    per_second: u32,
    sent: u64,
}

impl Pace {
    pub(crate) fn new(per_second: u32, delay: Duration) -> Self {
        Self { first: Instant::now() + delay, per_second, sent: 0 }
    }

    /// Waits until the next token is due. Tokens that are late go out at once, so the rate holds over time.
    pub(crate) async fn next_token(&mut self) {
        let due = match self.per_second {
            0 => self.first,
            rate => self.first + Duration::from_nanos(self.sent * 1_000_000_000 / u64::from(rate)),
        };
        self.sent += 1;
        if due > Instant::now() {
            tokio::time::sleep_until(due).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_join_to_the_text() {
        for text in [
            "",
            "a",
            "*** Begin Patch\n*** Update File: a.py\n",
            "\u{1f642}\u{e9}\u{1f642} and so on, for a while",
        ] {
            assert_eq!(tokens(text).collect::<String>(), text);
        }
        let text = "x".repeat(4000);
        assert_eq!(tokens(&text).count().abs_diff(1000), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn tokens_keep_the_rate() {
        let start = Instant::now();
        let mut pace = Pace::new(1000, Duration::from_millis(20));
        for _ in 0..=500 {
            pace.next_token().await;
        }
        let taken = start.elapsed();
        assert!(taken.abs_diff(Duration::from_millis(520)) <= Duration::from_millis(2), "{taken:?}");
    }
}
