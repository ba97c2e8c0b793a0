//! The Responses API over persistent WebSockets.
//!
//! [`ResponsesWs`] is the provider: it keeps idle connections, gives one to each call, and decides what to do
//! when a call fails. Each connection is an actor of its own, in `connection`; it carries one call at a time.
//!
//! A call is interrupted by closing its connection, since the protocol has no other way. Therefore a spare one
//! is kept warm beside the one in use, and the next call takes that.

mod connection;

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    time::Duration,
};

use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, oneshot},
    time::Instant,
};
use tokio_util::sync::CancellationToken;

use self::connection::{Connection, Dialer, Ending, Job, OpenError};
use crate::{
    ModelError, ModelProvider,
    capability::Capability,
    event::{EventStream, ModelEvent},
    http::{Delivery, RefusedFields},
    request::CallRequest,
    responses_sse::ResponsesSse,
    responses_wire::{Chain, WireRequest, wire_item},
    retry::{Backoff, CONNECT_ATTEMPTS},
    settings::{ModelSettings, Spare},
};

/// Calls of one provider at the same time, each on a connection of its own; further ones wait. Well below what
/// providers allow per key, and more than a room of people starts at once.
const CALLS_AT_ONCE: usize = 32;
/// Connections kept idle: one per agent that works in turns with others, and the spare.
const IDLE_CONNECTIONS: usize = 4;
/// Consecutive failures of WebSockets after which calls go over HTTP for a while.
const FAILURES_BEFORE_FALLBACK: u32 = 5;
/// How long calls go over HTTP after such failures. A network that breaks WebSockets seldom heals sooner.
const FALLBACK_AFTER_FAILURES: Duration = Duration::from_mins(5);
/// How long calls go over HTTP once the server said that it has no WebSocket.
const FALLBACK_AFTER_REFUSAL: Duration = Duration::from_hours(1);

/// A provider that keeps its connections open from call to call.
#[derive(Debug)]
pub(crate) struct ResponsesWs {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    settings: ModelSettings,
    capability: Capability,
    dialer: Dialer,
    sse: ResponsesSse,
    refused: RefusedFields,
    /// Open connections without a call; the one used last is at the back.
    idle: Mutex<VecDeque<Idle>>,
    calls: Arc<Semaphore>,
    fallback_until: Mutex<Option<Instant>>,
    failures: AtomicU32,
    opening_spare: AtomicBool,
}

/// A connection between two calls, and what its server remembers.
#[derive(Debug)]
struct Idle {
    connection: Connection,
    chain: Option<Chain>,
}

impl ResponsesWs {
    pub(crate) fn new(settings: ModelSettings) -> Result<Self, ModelError> {
        Ok(Self {
            shared: Arc::new(Shared {
                capability: settings.capability(),
                dialer: Dialer::new(&settings)?,
                sse: ResponsesSse::new(settings.clone())?,
                refused: RefusedFields::default(),
                idle: Mutex::default(),
                calls: Arc::new(Semaphore::new(CALLS_AT_ONCE)),
                fallback_until: Mutex::default(),
                failures: AtomicU32::new(0),
                opening_spare: AtomicBool::new(false),
                settings,
            }),
        })
    }
}

#[async_trait::async_trait]
impl ModelProvider for ResponsesWs {
    fn name(&self) -> &str {
        &self.shared.settings.name
    }

    fn model(&self) -> &str {
        &self.shared.settings.model
    }

    fn capability(&self) -> &Capability {
        &self.shared.capability
    }

    async fn call(&self, request: CallRequest, cancel: CancellationToken) -> Result<EventStream, ModelError> {
        if self.shared.falls_back() {
            return self.shared.sse.call(request, cancel).await;
        }
        let permit = tokio::select! {
            biased;
            () = cancel.cancelled() => return Err(ModelError::Interrupted),
            permit = Arc::clone(&self.shared.calls).acquire_owned() => {
                permit.expect("the semaphore is never closed")
            }
        };
        let wire = self.shared.wire(&request);
        let Idle { connection, chain } = match self.shared.take(&wire) {
            Some(idle) => idle,
            None => match self.shared.open(&cancel).await {
                Ok(connection) => Idle { connection, chain: None },
                Err(OpenError::NoWebSocket) => return self.shared.sse.call(request, cancel).await,
                // The attempts here were the ones that made WebSockets look hopeless.
                Err(OpenError::Model(error)) if error.is_retryable() && self.shared.falls_back() => {
                    return self.shared.sse.call(request, cancel).await;
                }
                Err(OpenError::Model(error)) => return Err(error),
            },
        };
        let (sender, cancel, stream) = EventStream::new(&cancel);
        let call = Call {
            shared: Arc::clone(&self.shared),
            request,
            wire,
            connection,
            chain,
            delivery: Delivery::new(sender, cancel),
            _permit: permit,
        };
        tokio::spawn(call.run());
        Ok(stream)
    }

    async fn warm(&self) -> Result<(), ModelError> {
        if self.shared.falls_back() || self.shared.idle_count() > 0 {
            return Ok(());
        }
        match self.shared.open(&CancellationToken::new()).await {
            Ok(connection) => {
                self.shared.put_front(Idle { connection, chain: None });
                Ok(())
            }
            // Calls will go over HTTP, where there is nothing to keep open.
            Err(OpenError::NoWebSocket) => Ok(()),
            Err(OpenError::Model(error)) => Err(error),
        }
    }
}

impl Shared {
    fn wire(&self, request: &CallRequest) -> WireRequest {
        WireRequest::new(request, &self.settings.model, &self.capability, &self.refused.get())
    }

    /// Takes an idle connection: one whose chain this request continues, or else the one used last.
    fn take(&self, wire: &WireRequest) -> Option<Idle> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        idle.retain(|idle| idle.connection.is_usable());
        let continued = idle
            .iter()
            .rposition(|idle| idle.chain.as_ref().is_some_and(|chain| wire.new_since(chain).is_some()));
        continued.and_then(|position| idle.remove(position)).or_else(|| idle.pop_back())
    }

    fn put_back(&self, returned: Idle) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        idle.retain(|idle| idle.connection.is_usable());
        idle.push_back(returned);
        while idle.len() > IDLE_CONNECTIONS {
            idle.pop_front();
        }
    }

    fn put_front(&self, fresh: Idle) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < IDLE_CONNECTIONS {
            idle.push_front(fresh);
        }
    }

    fn idle_count(&self) -> usize {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        idle.retain(|idle| idle.connection.is_usable());
        idle.len()
    }

    fn falls_back(&self) -> bool {
        let until = *self.fallback_until.lock().unwrap_or_else(PoisonError::into_inner);
        until.is_some_and(|until| Instant::now() < until)
    }

    fn fall_back_for(&self, time: Duration) {
        *self.fallback_until.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now() + time);
    }

    fn note_failure(&self) {
        if self.failures.fetch_add(1, Ordering::Relaxed) + 1 >= FAILURES_BEFORE_FALLBACK {
            self.failures.store(0, Ordering::Relaxed);
            self.fall_back_for(FALLBACK_AFTER_FAILURES);
            tracing::warn!(
                model.name = %self.settings.name,
                "WebSockets to model `{}` keep failing; calls go over HTTP for {} minutes",
                self.settings.name,
                FALLBACK_AFTER_FAILURES.as_secs() / 60
            );
        }
    }

    /// Opens a connection, trying again after a while where that may help.
    async fn open(&self, cancel: &CancellationToken) -> Result<Connection, OpenError> {
        let mut backoff = Backoff::new();
        let mut attempt = 1;
        loop {
            let opened = tokio::select! {
                biased;
                () = cancel.cancelled() => return Err(ModelError::Interrupted.into()),
                opened = self.dialer.open() => opened,
            };
            let error = match opened {
                Ok(connection) => return Ok(connection),
                Err(OpenError::NoWebSocket) => {
                    tracing::info!(
                        model.name = %self.settings.name,
                        "model `{}` has no WebSocket; calls go over HTTP", self.settings.name
                    );
                    self.fall_back_for(FALLBACK_AFTER_REFUSAL);
                    return Err(OpenError::NoWebSocket);
                }
                Err(OpenError::Model(error)) => error,
            };
            if !error.is_retryable() {
                return Err(error.into());
            }
            self.note_failure();
            // Where a whole connect limit has passed, more waiting helps nobody who watches.
            let quick = matches!(error, ModelError::Unreachable { .. } | ModelError::Retryable { .. });
            if !quick || attempt >= CONNECT_ATTEMPTS || self.falls_back() {
                return Err(error.into());
            }
            attempt += 1;
            tokio::select! {
                biased;
                () = cancel.cancelled() => return Err(ModelError::Interrupted.into()),
                () = tokio::time::sleep(backoff.next_wait()) => {}
            }
        }
    }

    /// Opens the spare in the background, unless there is one or one is on its way. A failure is left to the
    /// next call, which tries again and can say so.
    fn keep_spare(self: &Arc<Self>) {
        let wanted = self.settings.spare == Spare::Warm && self.idle_count() < 2 && !self.falls_back();
        if !wanted || self.opening_spare.swap(true, Ordering::AcqRel) {
            return;
        }
        let shared = Arc::clone(self);
        tokio::spawn(async move {
            if let Ok(connection) = shared.dialer.open().await {
                shared.put_front(Idle { connection, chain: None });
            }
            shared.opening_spare.store(false, Ordering::Release);
        });
    }
}

/// One call on its way through one connection, or several if it has to be repeated.
struct Call {
    shared: Arc<Shared>,
    request: CallRequest,
    wire: WireRequest,
    connection: Connection,
    chain: Option<Chain>,
    delivery: Delivery,
    _permit: OwnedSemaphorePermit,
}

/// What has been tried again already; each is tried once.
#[derive(Default)]
struct Repeated {
    without_chain: bool,
    on_new_connection: bool,
}

impl Call {
    /// Carries the call to its terminal event.
    async fn run(mut self) {
        let terminal = self.attempts().await;
        if let Some(event) = terminal {
            self.delivery.send(event).await;
        }
    }

    /// Returns the terminal event, or nothing after an interruption, which the stream reports by itself.
    async fn attempts(&mut self) -> Option<ModelEvent> {
        let mut repeated = Repeated::default();
        loop {
            match self.attempt().await {
                Ending::Done { reason, response_id, output } => {
                    self.shared.failures.store(0, Ordering::Relaxed);
                    let chain =
                        response_id.filter(|_| self.shared.capability.chain).map(|response_id| Chain {
                            request: self.wire.clone(),
                            response_id,
                            output: output.iter().map(wire_item).collect(),
                        });
                    self.shared.put_back(Idle { connection: self.connection.clone(), chain });
                    self.shared.keep_spare();
                    return Some(ModelEvent::Done { reason, output });
                }
                Ending::Interrupted => {
                    self.shared.keep_spare();
                    return None;
                }
                Ending::Refused { failure, streamed } => {
                    if !streamed && failure.is_forgotten() && !repeated.without_chain {
                        repeated.without_chain = true;
                        self.chain = None;
                        continue;
                    }
                    if !streamed && failure.is_connection_limit() && !repeated.on_new_connection {
                        repeated.on_new_connection = true;
                        if let Err(event) = self.reconnect().await {
                            return event;
                        }
                        continue;
                    }
                    if let Some(field) = failure.unsupported_field().filter(|_| !streamed)
                        && self.shared.refused.add(field)
                    {
                        // The table was wrong about this model: remember it, and ask again without.
                        self.wire = self.shared.wire(&self.request);
                        self.chain = None;
                        continue;
                    }
                    if !streamed && !failure.is_connection_limit() {
                        // The server has dropped what it remembered of this chain.
                        self.shared.put_back(Idle { connection: self.connection.clone(), chain: None });
                    }
                    return Some(ModelEvent::Failed(failure.into_error()));
                }
                Ending::Dead { streamed: false } if !repeated.on_new_connection => {
                    repeated.on_new_connection = true;
                    if let Err(event) = self.reconnect().await {
                        return event;
                    }
                }
                Ending::Dead { streamed } => {
                    self.shared.note_failure();
                    return Some(ModelEvent::Failed(if streamed {
                        ModelError::Closed
                    } else {
                        ModelError::Retryable { reason: "the connection closed before it answered".into() }
                    }));
                }
                Ending::Broken(error) => return Some(ModelEvent::Failed(error)),
            }
        }
    }

    async fn attempt(&self) -> Ending {
        let (ended, ending) = oneshot::channel();
        let frame = self.wire.frame(self.chain.as_ref());
        let job = Job { frame, delivery: self.delivery.clone(), ended };
        if self.connection.send(job).await.is_err() {
            return Ending::Dead { streamed: false };
        }
        // Without an answer the actor was gone before it took the job.
        ending.await.unwrap_or(Ending::Dead { streamed: false })
    }

    /// Goes on with a new connection, which knows nothing of the chain. An error is the terminal event, if any.
    async fn reconnect(&mut self) -> Result<(), Option<ModelEvent>> {
        self.chain = None;
        match self.shared.open(&self.delivery.cancel).await {
            Ok(connection) => {
                self.connection = connection;
                Ok(())
            }
            Err(OpenError::NoWebSocket) => Err(Some(ModelEvent::Failed(ModelError::Retryable {
                reason: "its WebSocket went away".into(),
            }))),
            Err(OpenError::Model(ModelError::Interrupted)) => Err(None),
            Err(OpenError::Model(error)) => Err(Some(ModelEvent::Failed(error))),
        }
    }
}
