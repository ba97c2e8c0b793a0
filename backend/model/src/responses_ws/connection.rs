//! One WebSocket, and the actor that owns it.

use std::{sync::Arc, time::Duration};

use futures_util::{SinkExt, StreamExt};
use reqwest::{
    Url,
    header::{HeaderMap, HeaderValue},
};
use tokio::{
    net::TcpStream,
    sync::{mpsc, oneshot},
    time::Instant,
};
use tokio_tungstenite::{
    MaybeTlsStream, WebSocketStream, connect_async_with_config,
    tungstenite::{
        Bytes, Error as SocketError, Message, client::IntoClientRequest, protocol::WebSocketConfig,
    },
};
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::{
    ModelError,
    event::DoneReason,
    http::{Delivery, Scheme, endpoint, failure_of_status, headers, timed_out},
    request::InputItem,
    responses_wire::{Reading, WireEnd, WireFailure},
    settings::{Limits, ModelSettings},
};

/// The longest message a server may send, in bytes. The largest real one is a complete item of some hundred
/// kilobytes.
const MESSAGE_SIZE: usize = 16 * 1024 * 1024;
/// How long a closing handshake may take. The other side learns of it from the closed TCP connection as well.
const CLOSE_GRACE: Duration = Duration::from_millis(100);
/// Pings without any sign of life after which an idle connection counts as dead.
const PINGS_UNANSWERED: u32 = 2;
/// Tells OpenAI which revision of the protocol is spoken; others ignore it.
const BETA: (&str, &str) = ("openai-beta", "responses_websockets=2026-02-06");

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// Opens connections to one server.
#[derive(Debug)]
pub(super) struct Dialer {
    url: Url,
    headers: HeaderMap,
    limits: Limits,
}

/// Why a connection could not be opened.
#[derive(Debug)]
pub(super) enum OpenError {
    /// The server is there, and has no WebSocket at this address.
    NoWebSocket,
    /// Anything else.
    Model(ModelError),
}

impl From<ModelError> for OpenError {
    fn from(error: ModelError) -> Self {
        Self::Model(error)
    }
}

impl Dialer {
    pub(super) fn new(settings: &ModelSettings) -> Result<Self, ModelError> {
        let mut headers = headers(settings)?;
        headers.insert(BETA.0, HeaderValue::from_static(BETA.1));
        Ok(Self {
            url: endpoint(&settings.base_url, "responses", Scheme::WebSocket)?,
            headers,
            limits: settings.limits,
        })
    }

    /// Opens one connection and starts its actor.
    pub(super) async fn open(&self) -> Result<Connection, OpenError> {
        let mut request = self.url.as_str().into_client_request().map_err(|_| ModelError::Misconfigured {
            reason: "the base URL cannot be used for a WebSocket".into(),
        })?;
        request.headers_mut().extend(self.headers.clone());
        let config = WebSocketConfig::default()
            .max_message_size(Some(MESSAGE_SIZE))
            .max_frame_size(Some(MESSAGE_SIZE));
        // Nagle's algorithm would hold small frames back.
        let dial = connect_async_with_config(request, Some(config), true);
        let (socket, _) = tokio::time::timeout(self.limits.connect, dial)
            .await
            .map_err(|_| timed_out("connecting", self.limits.connect))?
            .map_err(open_error)?;
        let (jobs, inbox) = mpsc::channel(1);
        let stop = CancellationToken::new();
        let retire_at = Instant::now() + self.limits.connection_age;
        let actor = ConnectionActor { socket, inbox, stop: stop.clone(), limits: self.limits, retire_at };
        tokio::spawn(actor.run());
        Ok(Connection { jobs, retire_at, _stop: Arc::new(stop.drop_guard()) })
    }
}

fn open_error(error: SocketError) -> OpenError {
    let unreachable = |reason: &str| ModelError::Unreachable { reason: reason.to_owned() }.into();
    match error {
        SocketError::Http(response) => match response.status().as_u16() {
            // Servers without a WebSocket here say so in several ways; only 426 is the right one.
            404 | 405 | 426 | 501 => OpenError::NoWebSocket,
            _ => failure_of_status(response.status(), response.headers()).into_error().into(),
        },
        // Only the kind is repeated: the text of an error may name paths or addresses.
        SocketError::Io(error) => unreachable(&error.kind().to_string()),
        SocketError::Tls(_) => ModelError::Misconfigured {
            reason: "no secure connection could be made to the model's server (TLS)".into(),
        }
        .into(),
        SocketError::Url(_) => {
            ModelError::Misconfigured { reason: "the base URL cannot be used".into() }.into()
        }
        _ => unreachable("the server did not complete the WebSocket handshake"),
    }
}

/// A handle to an open connection. The connection closes when the last one is dropped.
#[derive(Debug, Clone)]
pub(super) struct Connection {
    jobs: mpsc::Sender<Job>,
    retire_at: Instant,
    _stop: Arc<DropGuard>,
}

impl Connection {
    /// Whether the connection is open and young enough for another call.
    pub(super) fn is_usable(&self) -> bool {
        !self.jobs.is_closed() && Instant::now() < self.retire_at
    }

    /// Hands over a call; fails if the connection is gone.
    pub(super) async fn send(&self, job: Job) -> Result<(), ()> {
        self.jobs.send(job).await.map_err(|_| ())
    }
}

/// One call for a connection to carry. Its token is the connection's urgent inbox: once it is cancelled the
/// connection closes, whatever it was doing.
#[derive(Debug)]
pub(super) struct Job {
    /// The `response.create` frame.
    pub(super) frame: String,
    /// Where events go.
    pub(super) delivery: Delivery,
    /// Told once how the call ended here.
    pub(super) ended: oneshot::Sender<Ending>,
}

/// How a call ended on a connection.
#[derive(Debug)]
pub(super) enum Ending {
    /// The answer is complete; the connection is ready for another.
    Done {
        /// Why it ended.
        reason: DoneReason,
        /// Its name, to continue it by.
        response_id: Option<String>,
        /// What the model said.
        output: Vec<InputItem>,
    },
    /// The caller interrupted; the connection is closed.
    Interrupted,
    /// The server reported an error. The connection is still open if nothing had been streamed.
    Refused {
        /// The server's error.
        failure: WireFailure,
        /// Whether any output was passed on.
        streamed: bool,
    },
    /// The connection closed, or turned out to be dead.
    Dead {
        /// Whether any output was passed on.
        streamed: bool,
    },
    /// The server was silent or not understood; the connection is closed.
    Broken(ModelError),
}

/// What an actor does after a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Next {
    Idle,
    Close,
}

/// Owns one WebSocket. Its states, and the method for each:
///
/// - *idle* (`run`): answers pings, sends its own, waits for a job; ends when the server closes, at the age
///   limit, after unanswered pings, or when the last handle is gone.
/// - *sending* and *streaming* (`carry`): one call. A complete answer leads back to idle, and so does an error
///   before any output; an interruption, silence or a broken stream leads to closing.
/// - *closing* (`close`): says goodbye briefly and lets the socket go.
struct ConnectionActor {
    socket: Socket,
    inbox: mpsc::Receiver<Job>,
    stop: CancellationToken,
    limits: Limits,
    retire_at: Instant,
}

impl ConnectionActor {
    async fn run(mut self) {
        let mut unanswered = 0;
        let mut next_ping = Instant::now() + self.limits.ping;
        loop {
            tokio::select! {
                biased;
                () = self.stop.cancelled() => break,
                message = self.socket.next() => match message {
                    // Events between calls belong to no call.
                    Some(Ok(Message::Text(_) | Message::Ping(_) | Message::Pong(_))) => unanswered = 0,
                    _ => break,
                },
                job = self.inbox.recv() => {
                    let Some(job) = job else { break };
                    if self.carry(job).await == Next::Close {
                        break;
                    }
                    unanswered = 0;
                    next_ping = Instant::now() + self.limits.ping;
                }
                () = tokio::time::sleep_until(next_ping) => {
                    if unanswered >= PINGS_UNANSWERED || !self.ping().await {
                        break;
                    }
                    unanswered += 1;
                    next_ping = Instant::now() + self.limits.ping;
                }
                () = tokio::time::sleep_until(self.retire_at) => break,
            }
        }
        self.close().await;
    }

    async fn ping(&mut self) -> bool {
        let sent = self.socket.send(Message::Ping(Bytes::new()));
        matches!(tokio::time::timeout(self.limits.ping, sent).await, Ok(Ok(())))
    }

    async fn carry(&mut self, job: Job) -> Next {
        let Job { frame, delivery, ended } = job;
        let ending = self.stream(frame, &delivery).await;
        let next = match &ending {
            Ending::Done { .. } | Ending::Refused { streamed: false, .. } => Next::Idle,
            _ => Next::Close,
        };
        if next == Next::Close {
            // From here on nobody may hand over another job.
            self.inbox.close();
        }
        // A caller that is gone needs no ending.
        let _ = ended.send(ending);
        next
    }

    async fn stream(&mut self, frame: String, delivery: &Delivery) -> Ending {
        let silence = self.limits.event_silence;
        let sent = tokio::select! {
            biased;
            () = delivery.cancel.cancelled() => return Ending::Interrupted,
            sent = tokio::time::timeout(silence, self.socket.send(Message::text(frame))) => sent,
        };
        match sent {
            Ok(Ok(())) => {}
            Ok(Err(_)) => return Ending::Dead { streamed: false },
            Err(_) => return Ending::Broken(timed_out("taking the request", silence)),
        }
        let mut reading = Reading::default();
        let mut events = Vec::new();
        let mut deadline = Instant::now() + silence;
        loop {
            let message = tokio::select! {
                biased;
                () = delivery.cancel.cancelled() => return Ending::Interrupted,
                () = tokio::time::sleep_until(deadline) => {
                    return Ending::Broken(timed_out("answering", silence));
                }
                message = self.socket.next() => message,
            };
            let text = match message {
                Some(Ok(Message::Text(text))) => text,
                // Pings show that the connection lives, not that the model does.
                Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_))) => continue,
                Some(Ok(Message::Binary(_))) => {
                    return Ending::Broken(ModelError::Malformed { reason: "a frame is binary".into() });
                }
                Some(Err(SocketError::Utf8(_) | SocketError::Capacity(_))) => {
                    return Ending::Broken(ModelError::Malformed { reason: "a frame is not valid".into() });
                }
                Some(Ok(Message::Close(_)) | Err(_)) | None => {
                    return Ending::Dead { streamed: reading.streamed() };
                }
            };
            let end = match reading.take(&text, &mut events) {
                Ok(end) => end,
                Err(error) => return Ending::Broken(error),
            };
            if !delivery.deliver(&mut events).await {
                return Ending::Interrupted;
            }
            match end {
                Some(WireEnd::Done { reason, response_id }) => {
                    tracing::trace!(passed_over = reading.passed_over(), "the answer is over");
                    return Ending::Done { reason, response_id, output: reading.take_output() };
                }
                Some(WireEnd::Failed(failure)) => {
                    return Ending::Refused { failure, streamed: reading.streamed() };
                }
                None => {}
            }
            // Time that the caller took to make room does not count as the server's silence.
            deadline = Instant::now() + silence;
        }
    }

    /// Says goodbye if that is quick; dropping the socket closes it in any case.
    async fn close(mut self) {
        self.inbox.close();
        let _ = tokio::time::timeout(CLOSE_GRACE, self.socket.close(None)).await;
    }
}
