//! How much of everything, how often, and how long things may take.

use std::time::Duration;

use ensemble_protocol::limits::{self, Rate};

use super::source::{Key, Shown, Values};

macro_rules! keys {
    ($($name:literal $env:literal $default:literal $help:literal;)*) => {
        pub(super) const KEYS: &[Key] = &[$(Key {
            name: concat!("limits.", $name),
            env: $env,
            default: $default,
            help: $help,
            shown: Shown::Plain,
        },)*];
    };
}

keys! {
    "shutdown_seconds" "ENSEMBLE_SHUTDOWN_SECONDS" "15"
        "How long the server waits for work in progress when it is stopped.";
    "frames" "ENSEMBLE_LIMIT_FRAMES" "500/2000"
        "Messages of one socket, as N/M here and below: N a second over a longer time, M at once.";
    "bytes" "ENSEMBLE_LIMIT_BYTES" "1048576/16777216"
        "Bytes of one socket.";
    "presence" "ENSEMBLE_LIMIT_PRESENCE" "200/1000"
        "Presence messages of one socket.";
    "calls" "ENSEMBLE_LIMIT_CALLS" "20/100"
        "Control requests of one socket.";
    "frames_per_person" "ENSEMBLE_LIMIT_FRAMES_PER_PERSON" "20000/100000"
        "Messages of all sockets of one person together.";
    "frames_per_address" "ENSEMBLE_LIMIT_FRAMES_PER_ADDRESS" "100000/1000000"
        "Messages of all sockets of one address together.";
    "bytes_per_person" "ENSEMBLE_LIMIT_BYTES_PER_PERSON" "16777216/268435456"
        "Bytes of all sockets of one person together.";
    "bytes_per_address" "ENSEMBLE_LIMIT_BYTES_PER_ADDRESS" "134217728/2147483648"
        "Bytes of all sockets of one address together.";
    "requests_per_person" "ENSEMBLE_LIMIT_REQUESTS_PER_PERSON" "100/5000"
        "Requests of one person.";
    "requests_per_address" "ENSEMBLE_LIMIT_REQUESTS_PER_ADDRESS" "500/20000"
        "Requests from one address.";
    "joins_per_address" "ENSEMBLE_LIMIT_JOINS_PER_ADDRESS" "5/600"
        "Joins from one address; a school may be one address.";
    "joins_per_person" "ENSEMBLE_LIMIT_JOINS_PER_PERSON" "0.5/30"
        "Joins of one person.";
    "projects_per_address" "ENSEMBLE_LIMIT_PROJECTS_PER_ADDRESS" "1/300"
        "Projects made from one address.";
    "projects_per_person" "ENSEMBLE_LIMIT_PROJECTS_PER_PERSON" "0.1/30"
        "Projects made by one person.";
    "tickets_per_address" "ENSEMBLE_LIMIT_TICKETS_PER_ADDRESS" "50/5000"
        "Socket tickets for one address.";
    "tickets_per_person" "ENSEMBLE_LIMIT_TICKETS_PER_PERSON" "2/100"
        "Socket tickets of one person.";
    "turns_per_person" "ENSEMBLE_LIMIT_TURNS_PER_PERSON" "0.5/30"
        "Turns started by one person.";
    "edits_per_person" "ENSEMBLE_LIMIT_EDITS_PER_PERSON" "10/200"
        "Edits over HTTP by one person, with all their tokens.";
    "edits_per_token" "ENSEMBLE_LIMIT_EDITS_PER_TOKEN" "5/100"
        "Edits over HTTP with one token.";
    "connections" "ENSEMBLE_LIMIT_CONNECTIONS" "10000"
        "Connections at once, in all.";
    "connections_per_address" "ENSEMBLE_LIMIT_CONNECTIONS_PER_ADDRESS" "5000"
        "Connections at once from one address; behind proxies, sockets.";
    "sockets_per_person" "ENSEMBLE_LIMIT_SOCKETS_PER_PERSON" "1000"
        "Sockets of one person at once.";
    "unfinished_bytes" "ENSEMBLE_LIMIT_UNFINISHED_BYTES" "536870912"
        "Bytes of messages and request bodies that are not complete or not signed in for, over all connections.";
    "documents_per_project" "ENSEMBLE_LIMIT_DOCUMENTS_PER_PROJECT" "5000"
        "Documents in one project.";
    "documents_per_socket" "ENSEMBLE_LIMIT_DOCUMENTS_PER_SOCKET" "100"
        "Documents open on one socket.";
    "open_documents" "ENSEMBLE_LIMIT_OPEN_DOCUMENTS" "10000"
        "Documents open on the server at once, trees and turns among them.";
    "proxies" "ENSEMBLE_PROXIES" "0"
        "How many proxies in front of the server add to X-Forwarded-For; with 0 no such header is believed.";
}

const SHUTDOWN: Duration = Duration::from_secs(15);

/// How much of everything, how often, and how long things may take.
#[derive(Debug, Clone)]
pub struct LimitsConfig {
    /// How long the server waits for work in progress when it is stopped.
    pub shutdown: Duration,
    /// The times of a socket. Not for operators: they follow from what stock clients do.
    pub sockets: SocketTimes,
    /// How fast one socket may send.
    pub pace: SocketRates,
    /// How often one person, and everybody at one address, may ask for what is dear.
    pub requests: RequestRates,
    /// How many connections there may be, and how long they may take for things.
    pub connections: ConnectionLimits,
    /// How many documents there may be.
    pub documents: DocumentLimits,
}

/// How many documents there may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DocumentLimits {
    /// In one project.
    pub per_project: usize,
    /// Open on one socket.
    pub per_socket: usize,
    /// Open at once, in all.
    pub open: usize,
}

impl Default for DocumentLimits {
    fn default() -> Self {
        Self {
            per_project: limits::DOCUMENTS_PER_PROJECT,
            per_socket: limits::DOCUMENTS_PER_SOCKET,
            open: limits::OPEN_DOCUMENTS,
        }
    }
}

/// How many connections there may be, and how long they may take for things.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConnectionLimits {
    /// At once, in all.
    pub most: usize,
    /// At once, from one address.
    pub per_address: usize,
    /// Sockets at once of one person.
    pub sockets_per_person: usize,
    /// Bytes of messages and request bodies that are not complete or not signed in for, over all connections.
    pub unfinished_bytes: usize,
    /// How long they may take.
    pub times: ConnectionTimes,
}

impl Default for ConnectionLimits {
    fn default() -> Self {
        Self {
            most: limits::CONNECTIONS,
            per_address: limits::CONNECTIONS_PER_ADDRESS,
            sockets_per_person: limits::SOCKETS_PER_PERSON,
            unfinished_bytes: limits::UNFINISHED_BYTES,
            times: ConnectionTimes::default(),
        }
    }
}

/// How long a connection may take for things. Not for operators: they follow from what clients and proxies do;
/// tests shorten them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConnectionTimes {
    /// For the head of a request, from its first byte on.
    pub head: Duration,
    /// Until the next request.
    pub idle: Duration,
    /// For taking more of an answer.
    pub unread: Duration,
    /// For one WebSocket message, besides what its bytes buy.
    pub message: Duration,
}

impl Default for ConnectionTimes {
    fn default() -> Self {
        Self {
            head: limits::HEAD_TIME,
            idle: limits::IDLE_CONNECTION,
            unread: limits::UNREAD_LIMIT,
            message: limits::MESSAGE_TIME,
        }
    }
}

/// How fast one socket may send.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SocketRates {
    /// Messages.
    pub frames: Rate,
    /// Bytes.
    pub bytes: Rate,
    /// Presence messages.
    pub presence: Rate,
    /// Control requests.
    pub calls: Rate,
    /// All sockets of one person together.
    pub person: FlowRates,
    /// All sockets of one address together.
    pub address: FlowRates,
}

/// How fast several sockets together may send.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct FlowRates {
    /// Messages.
    pub frames: Rate,
    /// Bytes.
    pub bytes: Rate,
}

impl Default for SocketRates {
    fn default() -> Self {
        Self {
            frames: limits::SOCKET_FRAMES,
            bytes: limits::SOCKET_BYTES,
            presence: limits::SOCKET_PRESENCE,
            calls: limits::SOCKET_CALLS,
            person: FlowRates {
                frames: limits::SOCKET_FRAMES_PER_PERSON,
                bytes: limits::SOCKET_BYTES_PER_PERSON,
            },
            address: FlowRates {
                frames: limits::SOCKET_FRAMES_PER_ADDRESS,
                bytes: limits::SOCKET_BYTES_PER_ADDRESS,
            },
        }
    }
}

/// The rates of one kind of request.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PerCaller {
    /// Of everybody at one address.
    pub address: Rate,
    /// Of one person.
    pub person: Rate,
}

/// How often one person, and everybody at one address, may ask for what is dear.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RequestRates {
    /// Anything at all.
    pub all: PerCaller,
    /// Joining by a link.
    pub joins: PerCaller,
    /// Making projects.
    pub projects: PerCaller,
    /// Tickets for sockets.
    pub tickets: PerCaller,
    /// Starting turns.
    pub turns_per_person: Rate,
    /// Editing over HTTP.
    pub edits_per_person: Rate,
    /// Editing over HTTP with one token.
    pub edits_per_token: Rate,
    /// How many proxies in front of the server say whom they speak for.
    pub proxies: usize,
}

impl Default for RequestRates {
    fn default() -> Self {
        let rates = |address, person| PerCaller { address, person };
        Self {
            all: rates(limits::REQUESTS_PER_ADDRESS, limits::REQUESTS_PER_PERSON),
            joins: rates(limits::JOINS_PER_ADDRESS, limits::JOINS_PER_PERSON),
            projects: rates(limits::PROJECTS_PER_ADDRESS, limits::PROJECTS_PER_PERSON),
            tickets: rates(limits::TICKETS_PER_ADDRESS, limits::TICKETS_PER_PERSON),
            turns_per_person: limits::TURNS_PER_PERSON,
            edits_per_person: limits::EDITS_PER_PERSON,
            edits_per_token: limits::EDITS_PER_TOKEN,
            proxies: 0,
        }
    }
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
    /// How often it is looked whether what sockets signed in with has run out.
    pub expiry: Duration,
    /// How often it is looked whether what sockets signed in with is still there.
    pub recheck: Duration,
}

impl Default for SocketTimes {
    fn default() -> Self {
        Self {
            keep_alive: limits::KEEP_ALIVE,
            silence: limits::SILENCE_LIMIT,
            sign_in: limits::SIGN_IN_LIMIT,
            unread: limits::UNREAD_LIMIT,
            expiry: limits::EXPIRY_CHECK,
            recheck: limits::SIGN_IN_RECHECK,
        }
    }
}

impl LimitsConfig {
    pub(super) fn read(values: &mut Values) -> Self {
        let shutdown =
            values.number("limits.shutdown_seconds", "a number of seconds").map(Duration::from_secs);
        let mut pace = SocketRates::default();
        let mut requests = RequestRates::default();
        for (name, rate) in [
            ("limits.frames", &mut pace.frames),
            ("limits.bytes", &mut pace.bytes),
            ("limits.presence", &mut pace.presence),
            ("limits.calls", &mut pace.calls),
            ("limits.frames_per_person", &mut pace.person.frames),
            ("limits.frames_per_address", &mut pace.address.frames),
            ("limits.bytes_per_person", &mut pace.person.bytes),
            ("limits.bytes_per_address", &mut pace.address.bytes),
            ("limits.requests_per_person", &mut requests.all.person),
            ("limits.requests_per_address", &mut requests.all.address),
            ("limits.joins_per_address", &mut requests.joins.address),
            ("limits.joins_per_person", &mut requests.joins.person),
            ("limits.projects_per_address", &mut requests.projects.address),
            ("limits.projects_per_person", &mut requests.projects.person),
            ("limits.tickets_per_address", &mut requests.tickets.address),
            ("limits.tickets_per_person", &mut requests.tickets.person),
            ("limits.turns_per_person", &mut requests.turns_per_person),
            ("limits.edits_per_person", &mut requests.edits_per_person),
            ("limits.edits_per_token", &mut requests.edits_per_token),
        ] {
            if let Some(set) = values.parse(name, read_rate) {
                *rate = set;
            }
        }
        let mut connections = ConnectionLimits::default();
        let mut documents = DocumentLimits::default();
        for (name, number) in [
            ("limits.connections", &mut connections.most),
            ("limits.connections_per_address", &mut connections.per_address),
            ("limits.sockets_per_person", &mut connections.sockets_per_person),
            ("limits.unfinished_bytes", &mut connections.unfinished_bytes),
            ("limits.documents_per_project", &mut documents.per_project),
            ("limits.documents_per_socket", &mut documents.per_socket),
            ("limits.open_documents", &mut documents.open),
        ] {
            if let Some(set) = values.parse(name, read_number) {
                *number = set;
            }
        }
        if let Some(proxies) = values.number("limits.proxies", "how many proxies there are") {
            requests.proxies = proxies;
        }
        let sockets = SocketTimes::default();
        Self { shutdown: shutdown.unwrap_or(SHUTDOWN), sockets, pace, requests, connections, documents }
    }
}

/// Reads how many of something there may be.
fn read_number(text: &str) -> Result<usize, String> {
    text.parse().ok().filter(|number| *number > 0).ok_or_else(|| "it has to be a number above 0".into())
}

/// Reads `N/M`: how often a second, and how often at once.
fn read_rate(text: &str) -> Result<Rate, String> {
    let numbers = text.split_once('/').and_then(|(per_second, burst)| {
        Some(Rate { per_second: per_second.trim().parse().ok()?, burst: burst.trim().parse().ok()? })
    });
    numbers
        .filter(|rate| {
            rate.per_second.is_finite()
                && rate.per_second > 0.0
                && rate.burst.is_finite()
                && rate.burst >= 1.0
        })
        .ok_or_else(|| {
            "it has to be two numbers such as `0.5/30`: how often a second, and how often at once".into()
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_people_are_told_are_the_constants() {
        let mut sources = super::super::Sources::default();
        for key in KEYS {
            sources.variables.insert(key.env.into(), key.default.into());
        }
        let told = super::super::Config::read(&sources).unwrap().limits;
        assert_eq!(told.pace, SocketRates::default());
        assert_eq!(told.requests, RequestRates::default());
        assert_eq!(told.connections, ConnectionLimits::default());
        assert_eq!(told.documents, DocumentLimits::default());
        assert_eq!(told.shutdown, SHUTDOWN);
    }

    /// The page for operators has a row for every limit, with its default.
    #[test]
    fn every_limit_is_documented() {
        let page = include_str!("../../../../docs/operations.md");
        for key in KEYS.iter().filter(|key| key.env.starts_with("ENSEMBLE_LIMIT_")) {
            let row = page.lines().find(|line| line.contains(&format!("`{}`", key.env)));
            let row = row.unwrap_or_else(|| panic!("`{}` is not in docs/operations.md", key.env));
            assert!(row.contains(&format!("`{}`", key.default)), "another default: {row}");
        }
    }

    #[test]
    fn a_rate_is_two_numbers_above_nothing() {
        assert_eq!(read_rate("0.5 / 30"), Ok(Rate { per_second: 0.5, burst: 30.0 }));
        for bad in ["", "5", "0/5", "5/0", "-1/5", "NaN/5", "5/inf", "a/b", "1/2/3"] {
            assert!(read_rate(bad).is_err(), "{bad}");
        }
    }
}
