//! The Responses API over a WebSocket: one connection, many requests, lanes.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, atomic::Ordering},
};

use futures_util::{SinkExt, StreamExt};
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::{sync::mpsc, task::JoinSet, time::Instant};
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{
        Bytes, Message,
        protocol::{CloseFrame, Role, WebSocketConfig, frame::coding::CloseCode},
    },
};

use crate::{
    Counts, REMEMBERED_BYTES, Remembered, Shared,
    responses::{self, Create, Frame, Refusal},
};

/// The largest request, in bytes: more than the largest window of any model.
const MESSAGE_SIZE: usize = 16 * 1024 * 1024;
/// Events of all lanes that may wait for the socket.
const EVENTS_WAITING: usize = 64;
/// Answers under way on one connection.
const ACTIVE: usize = 16;
/// Named lanes of one connection.
const LANES: usize = 32;
/// Requests that may wait in one lane.
const REQUESTS_WAITING: usize = 16;

/// Requests of one lane are answered in order; lanes go side by side. `None` is the default lane.
type LaneName = Option<String>;

#[derive(Default)]
struct Lane {
    waiting: VecDeque<Create>,
    /// The id of the answer under way, and whether it is to be stored.
    active: Option<(String, bool)>,
    /// The lane's latest answer, which the next request may continue.
    latest: Option<Remembered>,
}

/// Serves one WebSocket until either side closes it.
pub(crate) async fn serve(upgraded: Upgraded, shared: Arc<Shared>) {
    let config =
        WebSocketConfig::default().max_message_size(Some(MESSAGE_SIZE)).max_frame_size(Some(MESSAGE_SIZE));
    let socket = WebSocketStream::from_raw_socket(TokioIo::new(upgraded), Role::Server, Some(config)).await;
    let stats = shared.options.stats.clone();
    stats.counts().sockets.fetch_add(1, Ordering::AcqRel);
    let _open = stats.during(|counts: &Counts| &counts.open_sockets);
    let (out, frames) = mpsc::channel(EVENTS_WAITING);
    let opened = Instant::now();
    let session = Session { shared, socket, out, answers: JoinSet::new(), lanes: HashMap::new(), opened };
    session.run(frames).await;
}

struct Session {
    shared: Arc<Shared>,
    socket: WebSocketStream<TokioIo<Upgraded>>,
    out: mpsc::Sender<(LaneName, Frame)>,
    /// The answers under way; dropping the set stops them all at once.
    answers: JoinSet<()>,
    lanes: HashMap<LaneName, Lane>,
    opened: Instant,
}

/// The connection is to be closed.
struct Closed;

impl Session {
    async fn run(mut self, mut frames: mpsc::Receiver<(LaneName, Frame)>) {
        loop {
            let going_on = tokio::select! {
                biased;
                () = self.shared.shutdown.cancelled() => {
                    let goodbye = CloseFrame { code: CloseCode::Away, reason: "".into() };
                    // The client may be gone already.
                    let _ = self.socket.close(Some(goodbye)).await;
                    return;
                }
                message = self.socket.next() => match message {
                    Some(Ok(Message::Text(text))) => self.request(text.as_str()).await,
                    Some(Ok(Message::Binary(_))) => {
                        self.refuse(None, &Refusal::invalid("Only text frames are accepted.", None)).await
                    }
                    Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_))) => Ok(()),
                    Some(Ok(Message::Close(_)) | Err(_)) | None => Err(Closed),
                },
                Some((lane, frame)) = frames.recv() => self.frame(lane, frame).await,
                Some(_) = self.answers.join_next() => Ok(()),
            };
            if going_on.is_err() {
                return;
            }
        }
    }

    async fn send(&mut self, event: &Value) -> Result<(), Closed> {
        self.socket.send(Message::text(event.to_string())).await.map_err(|_| Closed)
    }

    async fn refuse(&mut self, lane: Option<&str>, refusal: &Refusal) -> Result<(), Closed> {
        self.send(&refusal.event(lane)).await
    }

    async fn request(&mut self, text: &str) -> Result<(), Closed> {
        let Ok(body) = serde_json::from_str::<Value>(text) else {
            return self.refuse(None, &Refusal::invalid("The message is not valid JSON.", None)).await;
        };
        let lane_text = body.get("stream_id").and_then(Value::as_str).map(str::to_owned);
        let kind = body.get("type").and_then(Value::as_str).unwrap_or_default();
        if kind != "response.create" {
            let message = format!("Unknown event type: '{}'.", kind.chars().take(64).collect::<String>());
            return self.refuse(lane_text.as_deref(), &Refusal::invalid(message, Some("type"))).await;
        }
        let create = match responses::read_create(&body, &self.shared) {
            Ok(create) => create,
            Err(refusal) => return self.refuse(lane_text.as_deref(), &refusal).await,
        };
        let lane = create.lane.clone();
        if body.get("background").and_then(Value::as_bool) == Some(true) {
            let refusal = Refusal::invalid("'background' is not supported here.", Some("background"));
            return self.refuse(lane.as_deref(), &refusal).await;
        }
        if let Some(refusal) = responses::refused_by_fault(&create, &body) {
            // A request that fails takes along what its lane remembered.
            if let Some(lane) = self.lanes.get_mut(&lane) {
                lane.latest = None;
            }
            return self.refuse(lane.as_deref(), &refusal).await;
        }
        if self.opened.elapsed() >= self.shared.options.connection_age {
            self.refuse(lane.as_deref(), &responses::connection_limit()).await?;
            return Err(Closed);
        }
        if !self.lanes.contains_key(&lane) && self.lanes.len() > LANES {
            let refusal = Refusal::coded(
                429,
                "websocket_stream_limit_reached",
                "This connection has too many streams.",
                Some("stream_id"),
            );
            return self.refuse(lane.as_deref(), &refusal).await;
        }
        let waiting = &mut self.lanes.entry(lane.clone()).or_default().waiting;
        if waiting.len() >= REQUESTS_WAITING {
            let refusal = Refusal::coded(429, "rate_limit_exceeded", "Too many requests are waiting.", None);
            return self.refuse(lane.as_deref(), &refusal).await;
        }
        waiting.push_back(create);
        self.advance(&lane).await
    }

    /// Starts the next request of a lane if the lane is free.
    async fn advance(&mut self, name: &LaneName) -> Result<(), Closed> {
        loop {
            let active = self.lanes.values().filter(|lane| lane.active.is_some()).count();
            let Some(lane) = self.lanes.get_mut(name) else { return Ok(()) };
            if lane.active.is_some() {
                return Ok(());
            }
            let Some(create) = lane.waiting.pop_front() else { return Ok(()) };
            if active >= ACTIVE {
                let refusal = Refusal::coded(
                    429,
                    "websocket_stream_limit_reached",
                    "Too many responses are under way.",
                    None,
                );
                self.refuse(name.as_deref(), &refusal).await?;
                continue;
            }
            let conversation = match self.conversation(name, &create) {
                Ok(conversation) => conversation,
                Err(refusal) => {
                    if let Some(lane) = self.lanes.get_mut(name) {
                        lane.latest = None;
                    }
                    self.refuse(name.as_deref(), &refusal).await?;
                    continue;
                }
            };
            let id = self.shared.id("resp");
            if let Some(lane) = self.lanes.get_mut(name) {
                lane.active = Some((id.clone(), create.store));
            }
            let (events, mut received) = mpsc::channel(1);
            let answer = responses::respond(create, conversation, id, Arc::clone(&self.shared), events);
            let out = self.out.clone();
            let name = name.clone();
            self.answers.spawn(async move {
                let forward = async {
                    while let Some(frame) = received.recv().await {
                        if out.send((name.clone(), frame)).await.is_err() {
                            return;
                        }
                    }
                };
                tokio::join!(answer, forward);
            });
            return Ok(());
        }
    }

    /// The whole conversation that a request means: what it continues, and its own input.
    fn conversation(&self, name: &LaneName, create: &Create) -> Result<Vec<Value>, Refusal> {
        let Some(previous) = &create.previous else { return Ok(create.input.clone()) };
        let here = self.lanes.get(name).into_iter();
        let remembered = here
            .chain(self.lanes.values())
            .filter_map(|lane| lane.latest.as_ref())
            .find(|latest| latest.id == *previous)
            .cloned()
            .or_else(|| self.shared.stored(previous))
            .ok_or_else(|| responses::not_found(previous))?;
        let mut items = remembered.items;
        items.extend(create.input.iter().cloned());
        Ok(items)
    }

    async fn frame(&mut self, name: LaneName, frame: Frame) -> Result<(), Closed> {
        match frame {
            Frame::Event(event) => self.send(&event).await,
            Frame::Broken(text) => self.socket.send(Message::text(text)).await.map_err(|_| Closed),
            Frame::Binary => {
                let bytes = Bytes::from_static(b"\xff\x00");
                self.socket.send(Message::Binary(bytes)).await.map_err(|_| Closed)
            }
            Frame::Cut => Err(Closed),
            Frame::Over(items) => {
                let Some(lane) = self.lanes.get_mut(&name) else { return Ok(()) };
                if let Some((id, store)) = lane.active.take() {
                    lane.latest = items
                        .filter(|items| size(items) <= REMEMBERED_BYTES)
                        .map(|items| Remembered { id, items });
                    if let Some(latest) = lane.latest.clone().filter(|_| store) {
                        self.shared.store(latest);
                    }
                }
                self.advance(&name).await
            }
        }
    }
}

/// The size of a conversation, in bytes of JSON.
pub(crate) fn size(items: &[Value]) -> usize {
    items.iter().map(|item| item.to_string().len()).sum()
}
