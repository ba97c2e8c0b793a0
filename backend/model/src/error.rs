//! Why a call failed, said so that the caller knows what to do and a person can read it.

use std::time::Duration;

/// Why a call failed; each variant says what the caller can do.
///
/// Messages are plain and safe to show: they never contain a key, a prompt, document text or anything else
/// that the model's server wrote freely, only its short error codes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ModelError {
    /// The same call may succeed if it is made again a little later. Nothing of this one was used.
    #[error("the model could not answer just now: {reason}")]
    Retryable {
        /// What happened, in a few words.
        reason: String,
    },
    /// The server has had enough for the moment; wait and call again.
    #[error("the model is rate limited{}", wait_text(*.retry_after))]
    RateLimited {
        /// How long the server asked to wait, if it said so.
        retry_after: Option<Duration>,
    },
    /// Calling again with the same request will fail again.
    #[error("the model refused the request: {reason}")]
    Rejected {
        /// What was refused, in a few words.
        reason: String,
    },
    /// The key is missing, wrong, or not allowed to use this model.
    #[error("the model's server did not accept the API key (status {status})")]
    Unauthorized {
        /// The HTTP status, 401 or 403.
        status: u16,
    },
    /// The request is longer than the model's window; show it less.
    #[error("the request is longer than the model can read at once")]
    ContextTooLong,
    /// The server could not be reached at all.
    #[error("the model's server could not be reached: {reason}")]
    Unreachable {
        /// What happened, in a few words.
        reason: String,
    },
    /// The connection ended in the middle of an answer. What came before it is real and may have been used, so
    /// the call was not repeated.
    #[error("the connection to the model closed in the middle of its answer")]
    Closed,
    /// The server stayed silent for longer than the limit.
    #[error("the model was silent for {} while {during}", seconds_text(*.limit))]
    TimedOut {
        /// What was waited for.
        during: &'static str,
        /// How long it was waited for.
        limit: Duration,
    },
    /// What arrived is not the protocol that was asked for.
    #[error("the model's server sent something that could not be understood: {reason}")]
    Malformed {
        /// What was wrong with it, in a few words.
        reason: String,
    },
    /// The caller interrupted the call.
    #[error("the call was interrupted")]
    Interrupted,
    /// The settings cannot work.
    #[error("the settings of the model are wrong: {reason}")]
    Misconfigured {
        /// Which setting, and why.
        reason: String,
    },
}

impl ModelError {
    /// Whether making the same call again later is reasonable.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Retryable { .. }
            | Self::RateLimited { .. }
            | Self::Unreachable { .. }
            | Self::Closed
            | Self::TimedOut { .. } => true,
            Self::Rejected { .. }
            | Self::Unauthorized { .. }
            | Self::ContextTooLong
            | Self::Malformed { .. }
            | Self::Interrupted
            | Self::Misconfigured { .. } => false,
        }
    }
}

fn wait_text(retry_after: Option<Duration>) -> String {
    retry_after.map_or_else(String::new, |wait| format!("; it asks to wait {}", seconds_text(wait)))
}

fn seconds_text(duration: Duration) -> String {
    if duration.as_millis() < 1000 {
        format!("{} ms", duration.as_millis())
    } else {
        format!("{} s", duration.as_secs_f64().ceil())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_read_well() {
        let cases = [
            (
                ModelError::RateLimited { retry_after: Some(Duration::from_millis(11_054)) },
                "the model is rate limited; it asks to wait 12 s",
            ),
            (ModelError::RateLimited { retry_after: None }, "the model is rate limited"),
            (
                ModelError::TimedOut { during: "answering", limit: Duration::from_secs(30) },
                "the model was silent for 30 s while answering",
            ),
        ];
        for (error, message) in cases {
            assert_eq!(error.to_string(), message);
        }
    }
}
