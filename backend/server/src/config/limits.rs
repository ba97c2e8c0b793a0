//! How long things may take.

use std::time::Duration;

use ensemble_protocol::limits;

use super::source::{Key, Shown, Values};

pub(super) const KEYS: &[Key] = &[Key {
    name: "limits.shutdown_seconds",
    env: "ENSEMBLE_SHUTDOWN_SECONDS",
    default: "15",
    help: "How long the server waits for work in progress when it is stopped.",
    shown: Shown::Plain,
}];

const SHUTDOWN: Duration = Duration::from_secs(15);

/// How long things may take.
#[derive(Debug, Clone)]
pub struct LimitsConfig {
    /// How long the server waits for work in progress when it is stopped.
    pub shutdown: Duration,
    /// The times of a socket. Not for operators: they follow from what stock clients do.
    pub sockets: SocketTimes,
}

/// The times of a socket, as constants of the protocol; tests shorten them.
#[derive(Debug, Clone, Copy)]
pub struct SocketTimes {
    /// A frame goes out at least this often.
    pub keep_alive: Duration,
    /// Without any frame for so long, a socket is closed.
    pub silence: Duration,
    /// Without signing in for so long, a socket is closed.
    pub sign_in: Duration,
    /// A socket that takes nothing for so long is closed.
    pub unread: Duration,
}

impl Default for SocketTimes {
    fn default() -> Self {
        Self {
            keep_alive: limits::KEEP_ALIVE,
            silence: limits::SILENCE_LIMIT,
            sign_in: limits::SIGN_IN_LIMIT,
            unread: limits::UNREAD_LIMIT,
        }
    }
}

impl LimitsConfig {
    pub(super) fn read(values: &mut Values) -> Self {
        let shutdown =
            values.number("limits.shutdown_seconds", "a number of seconds").map(Duration::from_secs);
        Self { shutdown: shutdown.unwrap_or(SHUTDOWN), sockets: SocketTimes::default() }
    }
}
