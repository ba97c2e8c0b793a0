//! The Hocuspocus v4 protocol: one socket per browser tab, many documents on it, every frame addressed.
//!
//! The life of an address on a socket: *waiting* (frames came, no token yet), *joining* (a token came), *open*
//! (in the room). Frames that come before it is open are kept, bounded, and handled in order afterwards, a
//! close and a new token among them; so attaching and detaching in quick succession does what was asked, in
//! the order it was asked. A refusal is about one address; the socket and the others live on. Stock clients
//! keep sending to an address that was refused or closed, so it is remembered and those frames are dropped until
//! a new token comes. An address for which no token comes in time is refused.

mod attach;
mod waiting;

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use axum::extract::State;
use axum::extract::ws::WebSocket;
use axum::response::Response;
use bytes::Bytes;
use ensemble_protocol::error::{CloseCode, ErrorCode};
use ensemble_protocol::hocuspocus::{self as wire, ClientFrame, ClientMessage};
use ensemble_protocol::limits;
use ensemble_protocol::sync::SyncMessage;
use ensemble_sync::peer::{Outbox, SlotId};
use ensemble_sync::room::PeerMessage;
use futures_util::StreamExt as _;
use futures_util::future::BoxFuture;
use futures_util::stream::{FuturesUnordered, SplitStream};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{Instrument as _, debug, info_span};

use self::attach::{Open, SigningIn, attach, check_name};
use self::waiting::kept_bytes;
use super::{
    ClientAddress, End, KeepAlive, NOTES, Note, Opened, Pace, Received, Target, UnderstandsPings, Upgrade,
    Writer,
};
use crate::access::{self, scope_of};
use crate::commands::rpc;
use crate::connections::Line;
use crate::error::ApiError;
use crate::state::AppState;

/// Addresses that are remembered as refused or closed.
const CLOSED_ADDRESSES: usize = 256;
/// Control requests of one socket under way at the same time.
const CALLS: usize = 16;

/// `GET /sync?project={project}`; the project is there for load balancers only.
pub(crate) async fn upgrade(State(state): State<AppState>, upgrade: Upgrade) -> Response {
    let served = state.clone();
    super::accept(&state, upgrade, move |socket, opened| {
        serve(socket, served, opened).instrument(info_span!("connection", protocol = "hocuspocus"))
    })
}

impl KeepAlive for UnderstandsPings {
    fn frame(&self) -> Option<Bytes> {
        // Providers before version 4 would choke on a ping.
        self.get().then(wire::ping_frame)
    }
}

async fn serve(socket: WebSocket, state: AppState, opened: Opened) {
    let (sink, mut stream) = socket.split();
    let outbox = Outbox::new();
    let (notes, mut noted) = mpsc::channel(NOTES);
    let pings = UnderstandsPings::default();
    let writer = Writer::start(sink, &outbox, &opened.line, notes, pings.clone(), &state);
    let ended = CancellationToken::new();
    let mut pace = Pace::new(&state.pace);
    pace.share(state.rates.flow_of_address(opened.address));
    let mut connection = Connection {
        ended: ended.clone(),
        state: state.clone(),
        outbox: outbox.clone(),
        pings,
        signing_in: Arc::new(SigningIn::new(state.auth.clone(), opened.tickets, ended.clone())),
        addresses: HashMap::new(),
        slots: HashMap::new(),
        closed: VecDeque::new(),
        waiting_bytes: 0,
        joining: FuturesUnordered::new(),
        calls: FuturesUnordered::new(),
        signed_in: false,
        refused: 0,
        pace,
        line: opened.line.clone(),
        client: opened.address,
    };
    let end = connection.read(&mut stream, &mut noted).await;
    // The rooms are told before the goodbye, which may take its time.
    drop((connection, noted));
    writer.finish(stream, &outbox, &opened.line, end).await;
}

/// What one address is at.
enum Stage {
    /// Frames came and no token yet, since then.
    Waiting(Instant),
    /// A token is being looked at, or the room opened.
    Joining,
    /// In the room.
    Open(Box<Open>),
}

/// What is known of an address.
struct Attachment {
    stage: Stage,
    /// Frames that wait for the address to be open, in order.
    queue: VecDeque<Bytes>,
}

/// What came of a token.
struct Joined {
    address: Arc<str>,
    outcome: Result<Open, ApiError>,
}

/// The answer to a control request, and the address it goes to.
type Called = Option<(Arc<str>, String)>;

struct Connection {
    state: AppState,
    outbox: Outbox,
    pings: UnderstandsPings,
    signing_in: Arc<SigningIn>,
    addresses: HashMap<Arc<str>, Attachment>,
    slots: HashMap<SlotId, Arc<str>>,
    /// Addresses that were refused or closed, oldest first.
    closed: VecDeque<Arc<str>>,
    waiting_bytes: usize,
    joining: FuturesUnordered<BoxFuture<'static, Joined>>,
    calls: FuturesUnordered<BoxFuture<'static, Called>>,
    signed_in: bool,
    /// How often somebody was refused before anybody signed in.
    refused: usize,
    pace: Pace,
    line: Line,
    /// Where the socket comes from.
    client: ClientAddress,
    /// The session that opened it has ended.
    ended: CancellationToken,
}

impl Connection {
    async fn read(&mut self, stream: &mut SplitStream<WebSocket>, notes: &mut mpsc::Receiver<Note>) -> End {
        let times = self.state.times;
        let (outbox, line) = (self.outbox.clone(), self.line.clone());
        let stop = self.state.sockets.stop.clone();
        let ended = self.ended.clone();
        let sign_in_by = Instant::now() + times.sign_in;
        let mut heard = Instant::now();
        loop {
            let waits_until = self.waiting_since().min().map(|since| since + times.sign_in);
            let step = tokio::select! {
                biased;
                () = stop.cancelled() => return CloseCode::GoingAway.into(),
                () = ended.cancelled() => return CloseCode::NotSignedIn.into(),
                note = notes.recv() => match note {
                    Some(note) => self.take_note(note).await,
                    None => Err(End::Halted),
                },
                Some(joined) = self.joining.next(), if !self.joining.is_empty() => self.joined(joined).await,
                Some(called) = self.calls.next(), if !self.calls.is_empty() => {
                    if let Some((address, text)) = called {
                        self.outbox.send(wire::stateless_frame(&address, &text));
                    }
                    Ok(())
                }
                received = super::receive(stream, &outbox, &line, self.pace.until()) => {
                    heard = Instant::now();
                    match received {
                        Received::Frame(frame) => match self.pace.frame(line.take_bytes()) {
                            Ok(()) => self.hear(&frame).await,
                            Err(end) => Err(end),
                        },
                        Received::Life => self.pace.frame(line.take_bytes()),
                        Received::End(end) => Err(end),
                    }
                }
                () = tokio::time::sleep_until(heard.max(self.pace.until()) + times.silence) => {
                    let sign = super::last_sign(&outbox, &line, heard);
                    heard = sign.unwrap_or(heard);
                    sign.map(drop).ok_or_else(|| CloseCode::Silent.into())
                }
                () = tokio::time::sleep_until(waits_until.unwrap_or(sign_in_by)), if waits_until.is_some() => {
                    self.refuse_late(times.sign_in)
                }
                () = tokio::time::sleep_until(sign_in_by), if !self.signed_in => Err(CloseCode::NotSignedIn.into()),
            };
            if let Err(end) = step {
                return end;
            }
        }
    }

    /// One frame from the client.
    async fn hear(&mut self, frame: &Bytes) -> Result<(), End> {
        match ClientFrame::read(frame) {
            Ok(ClientFrame::Ping) => {
                self.outbox.send(wire::pong_frame());
                Ok(())
            }
            Ok(ClientFrame::Pong) => Ok(()),
            Ok(ClientFrame::Addressed { address, message }) => self.hear_about(address, message, frame).await,
            Err(error) => {
                debug!("a client sent a malformed frame: {error}");
                Err(CloseCode::BadFrame.into())
            }
        }
    }

    async fn hear_about(
        &mut self,
        address: &str,
        message: ClientMessage<'_>,
        frame: &Bytes,
    ) -> Result<(), End> {
        let Some(attachment) = self.addresses.get_mut(address) else {
            return self.hear_from_new(address, message, frame);
        };
        match &attachment.stage {
            Stage::Open(_) => self.hear_open(address, message, frame).await,
            Stage::Waiting(_) if matches!(message, ClientMessage::Auth { .. }) => {
                attachment.stage = Stage::Joining;
                self.start_joining(address, message);
                Ok(())
            }
            Stage::Waiting(_) | Stage::Joining => self.keep_for_later(address, frame),
        }
    }

    /// A frame for an address that is not attached.
    fn hear_from_new(&mut self, address: &str, message: ClientMessage<'_>, frame: &Bytes) -> Result<(), End> {
        let is_auth = matches!(message, ClientMessage::Auth { .. });
        if !is_auth && (matches!(message, ClientMessage::Close) || self.is_closed(address)) {
            return Ok(());
        }
        if let Err(error) = check_name(address) {
            return self.refuse(&Arc::from(address), &error);
        }
        if self.addresses.len() >= self.state.documents.per_socket {
            let error = ApiError::new(ErrorCode::RateLimited, "too many documents on one connection");
            return self.refuse(&Arc::from(address), &error);
        }
        let stage = if is_auth { Stage::Joining } else { Stage::Waiting(Instant::now()) };
        self.addresses.insert(Arc::from(address), Attachment { stage, queue: VecDeque::new() });
        self.closed.retain(|closed| **closed != *address);
        if is_auth {
            self.start_joining(address, message);
            Ok(())
        } else {
            self.keep_for_later(address, frame)
        }
    }

    fn start_joining(&mut self, address: &str, message: ClientMessage<'_>) {
        let ClientMessage::Auth { token, version } = message else { return };
        self.note_version(version);
        let (state, signing_in, outbox) = (self.state.clone(), self.signing_in.clone(), self.outbox.clone());
        let (address, token): (Arc<str>, String) = (Arc::from(address), token.to_owned());
        // Each sign-in counts like a request, before anything is looked up for it.
        let counted = self.state.rates.check_address(self.client);
        self.joining.push(Box::pin(async move {
            let outcome = match counted {
                Ok(()) => attach(&state, &signing_in, &outbox, &address, &token).await,
                Err(error) => Err(error),
            };
            Joined { address, outcome }
        }));
    }

    fn note_version(&self, version: Option<&str>) {
        let major =
            version.and_then(|version| version.split('.').next()).and_then(|major| major.parse::<u32>().ok());
        if major.is_some_and(|major| major >= 4) {
            self.pings.set();
        }
    }

    /// An address is open, or refused. Then what was said meanwhile is handled, in order, up to where it waits for
    /// another token.
    async fn joined(&mut self, joined: Joined) -> Result<(), End> {
        let address = joined.address;
        let Some(attachment) = self.addresses.get_mut(&address) else { return Ok(()) };
        let mut queue = std::mem::take(&mut attachment.queue);
        match joined.outcome {
            // It closed before its note could find the address; what is made of it afresh is a new connection's.
            Ok(open) if open.seat.guard.room().is_closed() => return Err(CloseCode::Internal.into()),
            Ok(open) => {
                self.signed_in = true;
                self.line.signed_in();
                self.pace.share(self.state.rates.flow_of_person(open.access.caller.member.id));
                self.slots.insert(open.seat.slot, address.clone());
                attachment.stage = Stage::Open(Box::new(open));
            }
            Err(error) => {
                self.addresses.remove(&address);
                self.refuse(&address, &error)?;
            }
        }
        while let Some(frame) = queue.pop_front() {
            self.keep_less(kept_bytes(&frame));
            self.hear(&frame).await?;
            if let Some(Attachment { stage: Stage::Waiting(_) | Stage::Joining, queue: later }) =
                self.addresses.get_mut(&address)
            {
                // The rest goes on waiting as it is.
                later.append(&mut queue);
            }
        }
        Ok(())
    }

    /// A frame for an address that is open.
    async fn hear_open(
        &mut self,
        address: &str,
        message: ClientMessage<'_>,
        frame: &Bytes,
    ) -> Result<(), End> {
        let own = |payload: &[u8]| frame.slice_ref(payload);
        let said = match message {
            ClientMessage::Sync(SyncMessage::Step1(have)) => PeerMessage::Step1(own(have)),
            ClientMessage::Sync(SyncMessage::Step2(update)) => PeerMessage::Step2(own(update)),
            ClientMessage::Sync(SyncMessage::Update(update)) if update.len() > limits::UPDATE_BYTES => {
                self.outbox.send(wire::sync_status_frame(address, false));
                self.detach(address, ErrorCode::TooLarge);
                return Ok(());
            }
            ClientMessage::Sync(SyncMessage::Update(update)) => PeerMessage::Update(own(update)),
            ClientMessage::Awareness(presence) => {
                self.pace.presence()?;
                PeerMessage::Presence(own(presence))
            }
            ClientMessage::QueryAwareness => PeerMessage::QueryPresence,
            ClientMessage::Stateless(text) => {
                self.call(address, text);
                return Ok(());
            }
            ClientMessage::Auth { token, version } => {
                self.note_version(version);
                return self.stay(address, token).await;
            }
            ClientMessage::Close => {
                self.forget(address);
                self.remember_closed(Arc::from(address));
                return Ok(());
            }
        };
        if let Some(Attachment { stage: Stage::Open(open), .. }) = self.addresses.get(address)
            && open.seat.guard.say(said).await.is_err()
        {
            // The room closed under us. Whether its document is gone or it comes back, its note says.
            debug!("a room closed while it was spoken to");
        }
        Ok(())
    }

    /// A token for an address that is open: it stays open if the token is still good.
    async fn stay(&mut self, address: &str, token: &str) -> Result<(), End> {
        let Some(Attachment { stage: Stage::Open(open), .. }) = self.addresses.get(address) else {
            return Ok(());
        };
        let project = open.access.project.id;
        let checked = async {
            self.state.rates.check_address(self.client)?;
            let caller = self.signing_in.caller(token).await?;
            if caller.member.id != open.access.caller.member.id {
                return Err(ApiError::new(ErrorCode::NoAccess, "this token is somebody else's"));
            }
            access::enter(&self.state.store, caller, project).await
        };
        match checked.await {
            Ok(access) => {
                let scope = super::scope_in(open.seat.guard.room(), &access, open.target);
                if super::target_is_text(open.target) {
                    // The token may be a weaker or stronger one than before, and the role another.
                    open.seat.guard.limit(scope_of(access.caller.limit())).await;
                    let granted = Some(scope_of(access.granted));
                    open.seat.guard.room().set_scope(access.caller.member.id, granted).await;
                }
                self.outbox.send(wire::authenticated_frame(address, scope));
                if let Some(Attachment { stage: Stage::Open(open), .. }) = self.addresses.get_mut(address) {
                    open.access = access;
                }
            }
            Err(error) => {
                self.forget(address);
                self.refuse(&Arc::from(address), &error)?;
            }
        }
        Ok(())
    }

    /// A control request.
    fn call(&mut self, address: &str, text: &str) {
        let Some(Attachment { stage: Stage::Open(open), .. }) = self.addresses.get(address) else { return };
        let request_id = super::request_id(&self.state);
        let refusal = if open.target != Target::Tree {
            Some(ApiError::new(ErrorCode::NotFound, "control requests go to the address of the project"))
        } else if !self.pace.call() {
            Some(ApiError::new(
                ErrorCode::RateLimited,
                "too many requests on this connection; try again later",
            ))
        } else if self.calls.len() >= CALLS {
            Some(ApiError::busy("too many requests at once on this connection"))
        } else {
            None
        };
        if let Some(error) = refusal {
            if let Some(answer) = rpc::refuse(text, error, &request_id) {
                self.outbox.send(wire::stateless_frame(address, &answer));
            }
            return;
        }
        let (state, access) = (self.state.clone(), open.access.clone());
        let (address, text): (Arc<str>, String) = (Arc::from(address), text.to_owned());
        let span = info_span!("request", request.id = %request_id);
        self.calls.push(Box::pin(
            async move {
                // The role may have changed since the address was opened.
                let answer = match access::enter(&state.store, access.caller, access.project.id).await {
                    Ok(access) => rpc::answer(&state.commands, &access, &text, &request_id).await,
                    Err(error) => rpc::refuse(&text, error, &request_id),
                };
                answer.map(|answer| (address, answer))
            }
            .instrument(span),
        ));
    }

    async fn take_note(&mut self, note: Note) -> Result<(), End> {
        match note {
            Note::Behind(slot) => {
                if let Some(address) = self.slots.get(&slot)
                    && let Some(Attachment { stage: Stage::Open(open), .. }) = self.addresses.get(address)
                {
                    // A room that has closed says so by a note of its own.
                    let _ = open.seat.guard.catch_up().await;
                }
                Ok(())
            }
            Note::Detached { slot, code, reason } => {
                let Some(address) = self.slots.get(&slot).cloned() else { return Ok(()) };
                debug!(code = code.as_str(), "a room let go of a peer: {reason}");
                match code {
                    ErrorCode::Busy if self.state.sockets.stop.is_cancelled() => {
                        Err(CloseCode::GoingAway.into())
                    }
                    // The room failed and comes back afresh; so does every stock provider that reconnects.
                    ErrorCode::Busy | ErrorCode::Internal => Err(CloseCode::Internal.into()),
                    code => {
                        self.detach(&address, code);
                        Ok(())
                    }
                }
            }
        }
    }

    /// Closes an address for the client. The reason is the code, since programs decide from it.
    fn detach(&mut self, address: &str, code: ErrorCode) {
        self.forget(address);
        self.outbox.send(wire::close_frame(address, code.as_str()));
        self.remember_closed(Arc::from(address));
    }

    /// Does not let a client in at an address. A socket nobody has signed in on is not heard without end.
    fn refuse(&mut self, address: &Arc<str>, error: &ApiError) -> Result<(), End> {
        error.log(&super::request_id(&self.state));
        self.outbox.send(wire::denied_frame(address, error.code.as_str()));
        self.remember_closed(address.clone());
        if !self.signed_in {
            self.refused += 1;
            if self.refused > limits::SIGN_IN_REFUSALS {
                return Err(CloseCode::TooMany.into());
            }
        }
        Ok(())
    }

    /// Leaves the room of an address.
    fn forget(&mut self, address: &str) {
        if let Some(Attachment { stage: Stage::Open(open), .. }) = self.addresses.remove(address) {
            self.slots.remove(&open.seat.slot);
        }
    }

    fn is_closed(&self, address: &str) -> bool {
        self.closed.iter().any(|closed| **closed == *address)
    }

    fn remember_closed(&mut self, address: Arc<str>) {
        if self.is_closed(&address) {
            return;
        }
        if self.closed.len() == CLOSED_ADDRESSES {
            self.closed.pop_front();
        }
        self.closed.push_back(address);
    }
}
