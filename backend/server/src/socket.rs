//! What both kinds of sockets have in common: the upgrade, signing in, a seat in a room, reading, close codes.
//!
//! A connection signs in, resolves addresses to rooms, and from then on knows only frames: it decodes them and
//! passes them to the room, takes from the outbox and sends. Rooms never wait for a socket.

pub(crate) mod hocuspocus;
mod pace;
mod writer;
pub(crate) mod y_websocket;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::extract::ws::{Message, WebSocket, WebSocketUpgrade};
use axum::extract::{Extension, FromRequestParts};
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use ensemble_protocol::error::{CloseCode, ErrorCode};
use ensemble_protocol::hocuspocus::Scope;
use ensemble_protocol::id::{DocumentId, PeerId, ProjectId};
use ensemble_protocol::limits;
use ensemble_sync::RoomError;
use ensemble_sync::peer::{Outbox, OutboxSlot, SlotId};
use ensemble_sync::room::{Framing, Identity, Join, PeerGuard, Room};
use futures_util::StreamExt as _;
use futures_util::stream::SplitStream;
use http::HeaderMap;
use http::header::{CONTENT_LENGTH, TRANSFER_ENCODING};
use http::request::Parts;
use tokio::time::{Instant, sleep_until};

use self::pace::Pace;
use self::writer::{KeepAlive, Writer, close};
use crate::access::{self, Access, scope_of};
use crate::auth::{Auth, Caller};
use crate::connections::{Line, Place};
use crate::error::ApiError;
use crate::middleware::foreign_origin;
use crate::rates::Address as ClientAddress;
use crate::site::Origin;
use crate::state::AppState;

/// Notes from the writer to the reader; a document has at most two under way.
const NOTES: usize = 2 * limits::DOCUMENTS_PER_SOCKET;
/// A room may close between finding and joining it; so often it is opened again.
const REOPENINGS: usize = 3;
/// The last part of the address of the turns.
const TURNS: &str = "turns";

/// Which document an address names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Target {
    /// The tree, with members and agents.
    Tree,
    /// The turns.
    Turns,
    /// A text.
    Text(DocumentId),
}

/// A document's address: `{project}`, `{project}/turns` or `{project}/{document}`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Address {
    project: ProjectId,
    target: Target,
}

impl Address {
    fn read(text: &str) -> Result<Self, ApiError> {
        let missing = |code, what| ApiError::new(code, what);
        let (project, rest) = match text.split_once('/') {
            Some((project, rest)) => (project, Some(rest)),
            None => (text, None),
        };
        let project = project
            .parse()
            .map_err(|_| missing(ErrorCode::ProjectNotFound, "this address names no project"))?;
        let target = match rest {
            None => Target::Tree,
            Some(TURNS) => Target::Turns,
            Some(document) => Target::Text(
                document
                    .parse()
                    .map_err(|_| missing(ErrorCode::DocumentNotFound, "this address names no document"))?,
            ),
        };
        Ok(Self { project, target })
    }
}

/// How a socket may sign in, from what its upgrade said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Tickets {
    /// A page of ours: tickets and bearer tokens.
    Accepted,
    /// A program: bearer tokens only, since a ticket belongs to a page.
    Refused,
}

/// A request for a WebSocket.
pub(crate) struct Upgrade {
    /// The upgrade, or why the request is none.
    asked: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
    headers: HeaderMap,
    line: Line,
    address: ClientAddress,
}

impl FromRequestParts<AppState> for Upgrade {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Self, ApiError> {
        let Extension(line) =
            Extension::<Line>::from_request_parts(parts, state).await.map_err(ApiError::internal)?;
        let address = ClientAddress::from_request_parts(parts, state).await?;
        let asked = WebSocketUpgrade::from_request_parts(parts, state).await;
        Ok(Self { asked, headers: parts.headers.clone(), line, address })
    }
}

/// What a socket knows of the connection it is on.
struct Opened {
    tickets: Tickets,
    line: Line,
    address: ClientAddress,
    /// A place among the sockets of its address, where connections come from proxies and have none themselves.
    _place: Option<Place<ClientAddress>>,
}

/// Takes the upgrade, unless a page of another site asks for it.
fn accept<F>(
    state: &AppState,
    Upgrade { asked, headers, line, address }: Upgrade,
    serve: impl FnOnce(WebSocket, Opened) -> F + Send + 'static,
) -> Response
where
    F: Future<Output = ()> + Send + 'static,
{
    let tickets = match state.site.origin(&headers) {
        Origin::Foreign => return foreign_origin().into_response(),
        Origin::Ours => Tickets::Accepted,
        Origin::None => Tickets::Refused,
    };
    let bad = |why| ApiError::new(ErrorCode::BadRequest, why).into_response();
    let Ok(upgrade) = asked else { return bad("this address takes WebSockets only") };
    if state.sockets.stop.is_cancelled() {
        return ApiError::busy("the server is stopping").into_response();
    }
    let place = if state.rates.is_proxied() {
        match state.socket_places.enter(Some(address)) {
            Ok(place) => Some(place),
            Err(full) => return ApiError::busy(full.to_string()).into_response(),
        }
    } else {
        None
    };
    let has_body = headers.contains_key(TRANSFER_ENCODING)
        || headers.get(CONTENT_LENGTH).is_some_and(|length| length != "0");
    if has_body || !line.becomes_socket() {
        return bad("nothing may come after the request for a WebSocket before its answer");
    }
    let opened = Opened { tickets, line, address, _place: place };
    // The tracker waits for it when the server stops.
    let token = state.sockets.tracker.token();
    upgrade
        .read_buffer_size(limits::SOCKET_READ_BUFFER)
        .max_message_size(limits::MESSAGE_BYTES)
        .max_frame_size(limits::MESSAGE_BYTES)
        .on_upgrade(move |socket| async move {
            serve(socket, opened).await;
            drop(token);
        })
}

/// Finds out whose token or ticket this is.
async fn sign_in(auth: &Auth, tickets: Tickets, token: &str) -> Result<Caller, ApiError> {
    if token.is_empty() {
        return Err(crate::auth::not_signed_in("a token is needed"));
    }
    if token.len() > limits::TOKEN_BYTES {
        return Err(crate::auth::not_signed_in("this token is not valid"));
    }
    if !Auth::is_ticket(token) {
        return auth.bearer(token).await;
    }
    match tickets {
        Tickets::Accepted => auth.redeem(token).await,
        Tickets::Refused => {
            Err(ApiError::new(ErrorCode::BadTicket, "tickets are for pages; send a bearer token instead"))
        }
    }
}

/// Opens the room of an address for somebody who may enter its project.
async fn open_room(state: &AppState, access: &Access, target: Target) -> Result<Room, ApiError> {
    let id = match target {
        Target::Tree => access.project.tree,
        Target::Turns => access.project.turns,
        Target::Text(id) => id,
    };
    state.commands.may_open(id)?;
    match target {
        Target::Tree => state.commands.open_tree(&access.project).await,
        Target::Turns => Ok(state.rooms.open(access.project.turns).await?),
        Target::Text(id) => {
            // Only texts of this very project: replicas and other projects have other addresses.
            state.commands.text_document(&access.project, id).await?;
            Ok(state.rooms.open(id).await?)
        }
    }
}

/// What a peer may do in the room of an address.
fn scope_in(room: &Room, access: &Access, target: Target) -> Scope {
    match target {
        Target::Tree | Target::Turns => Scope::ReadOnly,
        // A damaged document is open for reading, whatever somebody may do elsewhere.
        Target::Text(_) if room.is_damaged() => Scope::ReadOnly,
        Target::Text(_) => access.scope(),
    }
}

const fn target_is_text(target: Target) -> bool {
    matches!(target, Target::Text(_))
}

/// A peer in its room, with the name of its slot in the socket's outbox.
struct Seat {
    guard: PeerGuard,
    slot: SlotId,
}

/// Joins the room of an address. `welcome` is called after everything that may take long or fail usually.
async fn take_seat(
    state: &AppState,
    access: &Access,
    target: Target,
    framing: &Framing,
    outbox: &Outbox,
    welcome: impl Fn(Scope),
) -> Result<Seat, ApiError> {
    let member = &access.caller.member;
    for attempt in 0..REOPENINGS {
        let room = open_room(state, access, target).await?;
        let scope = scope_in(&room, access, target);
        if attempt == 0 {
            welcome(scope);
        }
        let outbox_slot: OutboxSlot = outbox.slot();
        let slot = outbox_slot.id();
        let join = Join {
            peer: PeerId::from_uuid(state.ids.uuid()),
            identity: Identity { member: member.id, name: member.name.clone(), color: member.color.clone() },
            scope,
            framing: framing.clone(),
            outbox: outbox_slot,
        };
        match room.join(join).await {
            Ok(guard) => {
                if target_is_text(target) {
                    // A raise of the role is told to all of a person's peers; a limited token stays limited.
                    guard.limit(scope_of(access.caller.limit())).await;
                }
                // What changed since the role was read was told to those in the room then, not to this one.
                let membership = state.store.membership(access.project.id, member.id).await?;
                let granted = membership.ok_or_else(access::not_in_project)?.role;
                if target_is_text(target) && granted != access.granted {
                    guard.room().set_scope(member.id, Some(scope_of(granted))).await;
                }
                return Ok(Seat { guard, slot });
            }
            Err(RoomError::Closed(_)) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Err(ApiError::busy("the document is being closed; try again"))
}

/// What the writer has to tell the reader, who holds the seats.
enum Note {
    /// The socket has drained and this document wants what was dropped.
    Behind(SlotId),
    /// A room let go of its peer.
    Detached { slot: SlotId, code: ErrorCode, reason: String },
}

/// Why a connection ended.
#[derive(Debug, Clone, PartialEq, Eq)]
enum End {
    /// The other side went, or the connection broke.
    Gone,
    /// We close it.
    Close(CloseCode),
    /// The other half of this connection came to its end first and says why.
    Halted,
}

impl From<CloseCode> for End {
    fn from(code: CloseCode) -> Self {
        Self::Close(code)
    }
}

/// What the reader gets from the socket.
enum Received {
    Frame(Bytes),
    /// A WebSocket ping or pong: a sign of life and nothing else.
    Life,
    End(End),
}

/// Waits until the answers so far were taken and the pace allows for another message. Cancel-safe.
async fn may_read(outbox: &Outbox, until: Instant) {
    outbox.wait_for_room().await;
    if Instant::now() < until {
        sleep_until(until).await;
    }
}

/// When there was a last sign of life from a socket that was last heard then; nothing if it has been silent since.
fn last_sign(outbox: &Outbox, line: &Line, heard: Instant) -> Option<Instant> {
    if !outbox.has_room() {
        // It is not being listened to. Whether it takes what it asked for is up to the writer.
        return Some(Instant::now());
    }
    // Something may be on its way, only not complete; how long that may take is up to the line.
    Some(line.heard()).filter(|sign| *sign > heard)
}

/// Takes the next message, when the pace allows for it. Cancel-safe.
async fn receive(
    stream: &mut SplitStream<WebSocket>,
    outbox: &Outbox,
    line: &Line,
    until: Instant,
) -> Received {
    may_read(outbox, until).await;
    match stream.next().await {
        Some(Ok(Message::Binary(bytes))) => Received::Frame(bytes),
        Some(Ok(Message::Ping(_) | Message::Pong(_))) => Received::Life,
        Some(Ok(Message::Text(_))) => Received::End(CloseCode::BadFrame.into()),
        Some(Ok(Message::Close(_))) | None => Received::End(End::Gone),
        Some(Err(error)) => Received::End(match line.fault() {
            Some(fault) => fault.close_code().into(),
            None if is_too_large(error) => CloseCode::TooLarge.into(),
            None => End::Gone,
        }),
    }
}

/// Whether reading failed because a message was over the limit.
fn is_too_large(error: axum::Error) -> bool {
    // The library's error type is not named here: axum brings its own copy and only its text says which it is.
    let text = error.into_inner().to_string();
    text.contains("Space limit exceeded") || text.contains("too long") || text.contains("too large")
}

/// A flag that says that a client understands pings.
#[derive(Debug, Default, Clone)]
struct UnderstandsPings(Arc<AtomicBool>);

impl UnderstandsPings {
    fn set(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    fn get(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// A fresh name for something a client asked for over a socket.
fn request_id(state: &AppState) -> Arc<str> {
    ensemble_protocol::id::encode_uuid(state.ids.uuid()).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_name_trees_turns_and_texts() {
        let project = "AZrK0AAAcACAAAAAAAAAAQ";
        let document = "AZrK0AAAcACAAAAAAAAAAg";
        let read = |text: &str| Address::read(text).map(|address| address.target).map_err(|error| error.code);
        assert_eq!(read(project), Ok(Target::Tree));
        assert_eq!(read(&format!("{project}/turns")), Ok(Target::Turns));
        assert_eq!(read(&format!("{project}/{document}")), Ok(Target::Text(document.parse().unwrap())));
        for (text, code) in [
            (String::new(), ErrorCode::ProjectNotFound),
            ("x".into(), ErrorCode::ProjectNotFound),
            (format!("{project}/"), ErrorCode::DocumentNotFound),
            (format!("{project}/x"), ErrorCode::DocumentNotFound),
            (format!("{project}/{document}/x"), ErrorCode::DocumentNotFound),
        ] {
            assert_eq!(read(&text), Err(code), "{text}");
        }
    }
}
