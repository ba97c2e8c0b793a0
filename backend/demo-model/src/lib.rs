//! A small rule-based model behind a faithful local Responses server.
//!
//! It lets the product run offline and gives the tests a server that keeps the protocol to the letter, paces its
//! output like a fast model, and misbehaves when told to. It is *not* a language model and every answer says so:
//! it reads the documents in the request and follows a handful of rules, and it obeys the person's prompt only.
//!
//! In reading order:
//!
//! - `rules`: the conversation in, a short text and a patch out.
//! - `responses`: its own reading of the Responses protocol, shared by both transports. It shares no code with
//!   the client, so that a misreading on one side shows on the other.
//! - `websocket` and `sse`: the two transports; `chat`: Chat Completions; `http`: routes.
//! - `pace`: tokens, and when they are due.
//! - `fault`: misbehaving on purpose.

mod chat;
mod fault;
mod http;
mod pace;
mod responses;
mod rules;
mod sse;
mod websocket;

use std::{
    collections::VecDeque,
    hash::{BuildHasher, Hasher, RandomState},
    io,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use serde_json::Value;
use tokio::{net::TcpListener, sync::Semaphore, task::JoinSet, time::Instant};
use tokio_util::sync::CancellationToken;

pub use crate::fault::{ErrorShape, Fault, Faults};

/// Connections served at the same time; further ones wait to be accepted.
const CONNECTIONS: usize = 256;
/// How long after a failed accept the next is tried: long enough for file descriptors to come free.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// How long connections may take to say goodbye when the server stops.
const SHUTDOWN_GRACE: Duration = Duration::from_millis(200);
/// Responses kept for requests with `store: true`.
const STORED_RESPONSES: usize = 64;
/// Conversations larger than this are not remembered, in bytes of JSON.
pub(crate) const REMEMBERED_BYTES: usize = 4 * 1024 * 1024;

/// How the demo model behaves.
#[derive(Debug, Clone)]
pub struct DemoOptions {
    /// The speed of its output; 0 sends everything at once.
    pub tokens_per_second: u32,
    /// The pause before the first token.
    pub first_token_delay: Duration,
    /// Whose words it follows.
    pub obedience: Obedience,
    /// The bearer token it asks for; `None` asks for none.
    pub api_key: Option<String>,
    /// The status it gives to WebSocket upgrades instead of accepting them, such as 426.
    pub refuse_upgrades: Option<u16>,
    /// The age at which a WebSocket takes no more requests.
    pub connection_age: Duration,
    /// The size of the byte chunks of a streamed body, which then cut through events and characters.
    pub chunk_bytes: Option<usize>,
    /// The Unix time at which the server starts, in seconds, from which `created_at` is counted.
    pub started_at: u64,
    /// Faults for the next requests.
    pub faults: Faults,
    /// Counts what happens; keep a clone to look at it.
    pub stats: DemoStats,
}

impl Default for DemoOptions {
    fn default() -> Self {
        Self {
            tokens_per_second: 1000,
            first_token_delay: Duration::from_millis(20),
            obedience: Obedience::PromptOnly,
            api_key: None,
            refuse_upgrades: None,
            connection_age: Duration::from_hours(1),
            chunk_bytes: None,
            started_at: 0,
            faults: Faults::default(),
            stats: DemoStats::default(),
        }
    }
}

/// Whose words the model follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Obedience {
    /// Only the person's prompt, as it should be.
    PromptOnly,
    /// Also instructions planted in documents, on lines that contain `AI:`. For testing that a model which is
    /// taken in cannot do more than its turn allows.
    PlantedToo,
}

/// What has happened so far. Clones share the counts.
#[derive(Debug, Clone, Default)]
pub struct DemoStats(Arc<Counts>);

#[derive(Debug, Default)]
pub(crate) struct Counts {
    pub(crate) connections: AtomicU64,
    pub(crate) sockets: AtomicU64,
    pub(crate) open_sockets: AtomicU64,
    pub(crate) calls: AtomicU64,
    pub(crate) chained_calls: AtomicU64,
    pub(crate) answering: AtomicU64,
}

impl DemoStats {
    /// TCP connections accepted.
    pub fn connections(&self) -> u64 {
        self.0.connections.load(Ordering::Acquire)
    }

    /// WebSockets opened.
    pub fn sockets(&self) -> u64 {
        self.0.sockets.load(Ordering::Acquire)
    }

    /// WebSockets open now.
    pub fn open_sockets(&self) -> u64 {
        self.0.open_sockets.load(Ordering::Acquire)
    }

    /// Requests for an answer, over any transport.
    pub fn calls(&self) -> u64 {
        self.0.calls.load(Ordering::Acquire)
    }

    /// Those of them that continued an earlier answer by its id.
    pub fn chained_calls(&self) -> u64 {
        self.0.chained_calls.load(Ordering::Acquire)
    }

    /// Answers being sent now.
    pub fn answering(&self) -> u64 {
        self.0.answering.load(Ordering::Acquire)
    }

    pub(crate) fn counts(&self) -> &Counts {
        &self.0
    }

    /// Counts up now and down when the guard is dropped.
    pub(crate) fn during(&self, count: fn(&Counts) -> &AtomicU64) -> During {
        count(&self.0).fetch_add(1, Ordering::AcqRel);
        During { stats: self.clone(), count }
    }
}

/// Something under way, counted until this is dropped.
pub(crate) struct During {
    stats: DemoStats,
    count: fn(&Counts) -> &AtomicU64,
}

impl Drop for During {
    fn drop(&mut self) {
        (self.count)(&self.stats.0).fetch_sub(1, Ordering::AcqRel);
    }
}

/// The demo model's server.
#[derive(Debug)]
pub struct DemoModel;

impl DemoModel {
    /// Serves `/v1/responses` (WebSocket and server-sent events), `/v1/chat/completions` and `/v1/models` until
    /// `shutdown` fires, then closes every connection.
    ///
    /// Fails only if the listener cannot say its address, which means that it is unusable.
    pub async fn serve(
        listener: TcpListener,
        options: DemoOptions,
        shutdown: CancellationToken,
    ) -> io::Result<()> {
        listener.local_addr()?;
        let shared = Arc::new(Shared::new(options, shutdown.clone()));
        let places = Arc::new(Semaphore::new(CONNECTIONS));
        let mut connections = JoinSet::new();
        loop {
            let accepted = tokio::select! {
                biased;
                () = shutdown.cancelled() => break,
                Some(_) = connections.join_next() => continue,
                accepted = async {
                    let place = Arc::clone(&places).acquire_owned().await.expect("the semaphore is never closed");
                    listener.accept().await.map(|(stream, _)| (stream, place))
                } => accepted,
            };
            match accepted {
                Ok((stream, place)) => {
                    shared.options.stats.counts().connections.fetch_add(1, Ordering::AcqRel);
                    let shared = Arc::clone(&shared);
                    connections.spawn(async move {
                        http::serve_connection(stream, shared).await;
                        drop(place);
                    });
                }
                // A failed accept is about one connection, or about file descriptors, which come free again.
                Err(error) => {
                    tracing::debug!(%error, "a connection could not be accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
        // Every connection says goodbye by itself; what has not done so in time is dropped.
        let goodbyes = async { while connections.join_next().await.is_some() {} };
        let _ = tokio::time::timeout(SHUTDOWN_GRACE, goodbyes).await;
        connections.shutdown().await;
        Ok(())
    }
}

/// What all connections share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) options: DemoOptions,
    pub(crate) shutdown: CancellationToken,
    started: Instant,
    seed: u64,
    ids: AtomicU64,
    stored: Mutex<VecDeque<Remembered>>,
}

/// An answer that can be continued.
#[derive(Debug, Clone)]
pub(crate) struct Remembered {
    pub(crate) id: String,
    /// The whole conversation up to and with this answer.
    pub(crate) items: Vec<Value>,
}

impl Shared {
    fn new(options: DemoOptions, shutdown: CancellationToken) -> Self {
        Self {
            options,
            shutdown,
            started: Instant::now(),
            // Ids of two runs of the server differ, so that a chain never continues by accident.
            seed: RandomState::new().build_hasher().finish(),
            ids: AtomicU64::new(0),
            stored: Mutex::default(),
        }
    }

    /// A fresh id with a prefix, such as `resp`.
    pub(crate) fn id(&self, prefix: &str) -> String {
        let number = self.ids.fetch_add(1, Ordering::Relaxed);
        format!("{prefix}_{:016x}{number:08x}", self.seed)
    }

    /// The Unix time in seconds, as far as the server was told it.
    pub(crate) fn now(&self) -> u64 {
        self.options.started_at + self.started.elapsed().as_secs()
    }

    /// Keeps an answer to a request with `store: true`, dropping the oldest.
    pub(crate) fn store(&self, remembered: Remembered) {
        let mut stored = self.stored.lock().unwrap_or_else(PoisonError::into_inner);
        if stored.len() >= STORED_RESPONSES {
            stored.pop_front();
        }
        stored.push_back(remembered);
    }

    /// Finds a kept answer.
    pub(crate) fn stored(&self, id: &str) -> Option<Remembered> {
        let stored = self.stored.lock().unwrap_or_else(PoisonError::into_inner);
        stored.iter().find(|remembered| remembered.id == id).cloned()
    }
}
