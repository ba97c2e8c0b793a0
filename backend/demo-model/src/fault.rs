//! Misbehaving on purpose: stall, cut, garble, refuse.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, PoisonError},
};

/// One way to misbehave. `after` counts the output deltas that are still sent properly.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// Falls silent and keeps the connection open.
    Stall {
        /// Deltas before it.
        after: u32,
    },
    /// Drops the connection without a goodbye.
    Cut {
        /// Deltas before it.
        after: u32,
    },
    /// Drops the connection before it says anything at all about the request.
    Vanish,
    /// Sends half an event and goes on.
    Garble {
        /// Deltas before it.
        after: u32,
    },
    /// Sends a binary frame, on a WebSocket; elsewhere bytes that are not UTF-8.
    Binary {
        /// Deltas before it.
        after: u32,
    },
    /// Ends the answer with an error.
    Error {
        /// How it is put.
        shape: ErrorShape,
        /// Its code.
        code: String,
        /// Deltas before it; with 0 nothing at all precedes it.
        after: u32,
    },
    /// Refuses with status 429 and a text that says how long to wait.
    RateLimit,
    /// Has forgotten what the request continues; a request that continues nothing is answered properly.
    Forget,
    /// Says that the connection has reached its age limit.
    ConnectionLimit,
    /// Refuses an optional field of the request by name, if the request has it.
    Unsupported {
        /// The field.
        field: String,
    },
    /// Mixes in events nobody knows.
    UnknownEvents,
    /// Leaves out sequence numbers, indexes, item ids and other fields that clients should not need.
    MissingFields,
}

/// How an error is put.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ErrorShape {
    /// `{"type":"error","status":…,"error":{…}}`
    Nested,
    /// `{"type":"error","code":…,"message":…}`
    Flat,
    /// `{"type":"response.failed","response":{"error":{…}}}`
    Failed,
}

impl Fault {
    /// Reads a fault from the `fault` label of a request: a name and, after a colon, how many deltas come first.
    ///
    /// Names: `stall`, `cut`, `vanish`, `garble`, `binary`, `error`, `error_flat`, `failed`, `rate_limit`,
    /// `forget`, `connection_limit`, `unknown_events`, `missing_fields`, and `unsupported:FIELD`.
    pub fn parse(text: &str) -> Option<Self> {
        let (name, argument) = text.split_once(':').unwrap_or((text, "0"));
        let after = argument.parse().unwrap_or(0);
        let error = |shape| Self::Error { shape, code: "server_error".into(), after };
        Some(match name {
            "stall" => Self::Stall { after },
            "cut" => Self::Cut { after },
            "vanish" => Self::Vanish,
            "garble" => Self::Garble { after },
            "binary" => Self::Binary { after },
            "error" => error(ErrorShape::Nested),
            "error_flat" => error(ErrorShape::Flat),
            "failed" => error(ErrorShape::Failed),
            "rate_limit" => Self::RateLimit,
            "forget" => Self::Forget,
            "connection_limit" => Self::ConnectionLimit,
            "unsupported" => Self::Unsupported { field: argument.to_owned() },
            "unknown_events" => Self::UnknownEvents,
            "missing_fields" => Self::MissingFields,
            _ => return None,
        })
    }
}

/// Faults for the next requests, one each, in order. Clones share the queue.
#[derive(Debug, Clone, Default)]
pub struct Faults(Arc<Mutex<VecDeque<Fault>>>);

impl Faults {
    /// Lets a later request fail.
    pub fn push(&self, fault: Fault) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push_back(fault);
    }

    /// Takes the fault of this request, if there is one.
    pub(crate) fn take(&self) -> Option<Fault> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).pop_front()
    }
}
