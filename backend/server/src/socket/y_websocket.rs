//! The y-websocket protocol: one document per URL, for any Yjs client.
//!
//! Several messages in a frame are accepted from clients and never sent to them. Close codes 44xx are permanent:
//! a stock client never comes back after one, so nothing temporary has such a code.

use axum::extract::ws::WebSocket;
use axum::extract::{Path, State};
use axum::response::Response;
use bytes::Bytes;
use ensemble_protocol::error::CloseCode;
use ensemble_protocol::lib0::Reader;
use ensemble_protocol::limits;
use ensemble_protocol::sync::{Message as Said, SyncMessage};
use ensemble_sync::peer::Outbox;
use ensemble_sync::room::{Framing, PeerMessage};
use futures_util::StreamExt as _;
use http::Uri;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{Instrument as _, info_span};

use super::{Address, End, KeepAlive, NOTES, Note, Opened, Pace, Received, Seat, Upgrade, Writer};
use crate::access;
use crate::connections::Line;
use crate::error::{ApiError, close_code};
use crate::sessions::Held;
use crate::state::AppState;

/// An awareness update about nobody: what stock clients take as a sign of life.
const NOBODY: [u8; 3] = [1, 1, 0];

struct Nobody;

impl KeepAlive for Nobody {
    fn frame(&self) -> Option<Bytes> {
        Some(Bytes::from_static(&NOBODY))
    }
}

/// `GET /sync/{project}/{document}?token=…`
pub(crate) async fn upgrade(
    State(state): State<AppState>,
    Path((project, document)): Path<(String, String)>,
    uri: Uri,
    upgrade: Upgrade,
) -> Response {
    let address = format!("{project}/{document}");
    let token = token_of(uri.query().unwrap_or_default());
    let served = state.clone();
    super::accept(&state, upgrade, move |socket, opened| {
        let span = info_span!("connection", protocol = "y-websocket");
        async move { serve(socket, served, opened, &address, &token).await }.instrument(span)
    })
}

/// The token in a query. Our tokens have no character that would be escaped.
fn token_of(query: &str) -> String {
    query.split('&').find_map(|pair| pair.strip_prefix("token=")).unwrap_or_default().to_owned()
}

async fn serve(socket: WebSocket, state: AppState, opened: Opened, address: &str, token: &str) {
    let (sink, mut stream) = socket.split();
    let outbox = Outbox::new();
    match take_seat(&state, &opened, address, token, &outbox).await {
        Ok(mut seated) => {
            opened.line.signed_in();
            let (notes, mut noted) = mpsc::channel(NOTES);
            let writer = Writer::start(sink, &outbox, &opened.line, notes, Nobody, &state);
            let end = read(&mut stream, &outbox, &opened.line, &mut noted, &mut seated, &state).await;
            // The room is told before the goodbye, which may take its time.
            drop((seated, noted));
            writer.finish(stream, &outbox, &opened.line, end).await;
        }
        Err(error) => {
            error.log(&super::request_id(&state));
            super::close(sink, stream, &outbox, &opened.line, &error.close_code().into()).await;
        }
    }
}

/// Somebody who was let in.
struct Seated {
    seat: Seat,
    pace: Pace,
    /// What they signed in with has ended.
    ended: CancellationToken,
    _held: Held,
}

async fn take_seat(
    state: &AppState,
    opened: &Opened,
    address: &str,
    token: &str,
    outbox: &Outbox,
) -> Result<Seated, ApiError> {
    let caller = super::sign_in(&state.auth, opened.tickets, token).await?;
    let ended = CancellationToken::new();
    let held = state.auth.hold(&caller, &ended).await?;
    let address = Address::read(address)?;
    let access = access::enter(&state.store, caller, address.project).await?;
    let seat = super::take_seat(state, &access, address.target, &Framing::YWebsocket, outbox, |_| {}).await?;
    let mut pace = Pace::new(&state.pace);
    pace.share(state.rates.flow_of_address(opened.address));
    pace.share(state.rates.flow_of_person(access.caller.member.id));
    Ok(Seated { seat, pace, ended, _held: held })
}

async fn read(
    stream: &mut futures_util::stream::SplitStream<WebSocket>,
    outbox: &Outbox,
    line: &Line,
    notes: &mut mpsc::Receiver<Note>,
    seated: &mut Seated,
    state: &AppState,
) -> End {
    let Seated { seat, pace, ended, .. } = seated;
    let silence = state.times.silence;
    let mut heard = Instant::now();
    // What is still to be said of a frame with several messages.
    let mut rest = Bytes::new();
    loop {
        tokio::select! {
            biased;
            () = state.sockets.stop.cancelled() => return CloseCode::GoingAway.into(),
            () = ended.cancelled() => return CloseCode::NotSignedIn.into(),
            note = notes.recv() => match note {
                None => return End::Halted,
                Some(Note::Behind(_)) => {
                    if seat.guard.catch_up().await.is_err() {
                        return CloseCode::Internal.into();
                    }
                }
                Some(Note::Detached { code, .. }) => return close_code(code).into(),
            },
            () = super::may_read(outbox, pace.until()), if !rest.is_empty() => {
                heard = Instant::now();
                match pace.another() {
                    Ok(()) => match say_first(&rest, seat, pace).await {
                        Ok(left) => rest = left,
                        Err(end) => return end,
                    },
                    Err(end) => return end,
                }
            }
            received = super::receive(stream, outbox, line, pace.until()), if rest.is_empty() => {
                heard = Instant::now();
                let charged = pace.frame(line.take_bytes());
                match (received, charged) {
                    (Received::End(end), _) | (_, Err(end)) => return end,
                    (Received::Life, Ok(())) => {}
                    (Received::Frame(frame), Ok(())) => match say_first(&frame, seat, pace).await {
                        Ok(left) => rest = left,
                        Err(end) => return end,
                    },
                }
            }
            () = tokio::time::sleep_until(heard.max(pace.until()) + silence) => {
                match super::last_sign(outbox, line, heard) {
                    Some(sign) => heard = sign,
                    None => return CloseCode::Silent.into(),
                }
            }
        }
    }
}

/// Passes the first message of a frame to the room, and gives back what follows it.
///
/// The next one waits until the answers to those before it were taken, as if it had come in a frame of its own.
async fn say_first(frame: &Bytes, seat: &Seat, pace: &mut Pace) -> Result<Bytes, End> {
    let mut reader = Reader::new(frame);
    let said = Said::read(&mut reader).map_err(|_| CloseCode::BadFrame)?;
    let own = |payload: &[u8]| frame.slice_ref(payload);
    let message = match said {
        Said::Sync(SyncMessage::Step1(have)) => PeerMessage::Step1(own(have)),
        Said::Sync(SyncMessage::Step2(update)) => PeerMessage::Step2(own(update)),
        Said::Sync(SyncMessage::Update(update)) if update.len() > limits::UPDATE_BYTES => {
            return Err(CloseCode::TooLarge.into());
        }
        Said::Sync(SyncMessage::Update(update)) => PeerMessage::Update(own(update)),
        Said::Awareness(presence) => {
            pace.presence()?;
            PeerMessage::Presence(own(presence))
        }
        Said::QueryAwareness => PeerMessage::QueryPresence,
    };
    let left = own(reader.rest());
    seat.guard.say(message).await.map_err(|_| CloseCode::Internal)?;
    Ok(left)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_token_is_found_in_the_query() {
        assert_eq!(token_of("a=b&token=ens_x&c=d"), "ens_x");
        assert_eq!(token_of("tokens=x"), "");
        assert_eq!(token_of(""), "");
    }
}
