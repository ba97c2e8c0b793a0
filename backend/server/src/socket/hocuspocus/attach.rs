//! From a token to a seat in a room: signing in, entering the project, opening the document.

use std::collections::HashMap;
use std::sync::Arc;

use ensemble_protocol::error::ErrorCode;
use ensemble_protocol::hocuspocus::{SESSION_SEPARATOR, Scope, authenticated_frame};
use ensemble_protocol::limits;
use ensemble_store::Hash;
use ensemble_sync::peer::Outbox;
use ensemble_sync::room::Framing;
use tokio_util::sync::CancellationToken;

use crate::access::{self, Access};
use crate::auth::{self, Auth, Caller};
use crate::error::ApiError;
use crate::sessions::{Held, Key};
use crate::socket::{Address, Seat, Target, Tickets, sign_in, take_seat};
use crate::state::AppState;

/// Tickets one socket may use: a page uses one, and a new one when it asks to stay.
const TICKETS_PER_SOCKET: usize = 8;

/// An address that is open: somebody's seat in its room.
pub(super) struct Open {
    pub(super) seat: Seat,
    pub(super) access: Access,
    pub(super) target: Target,
}

/// Who the tokens of this socket belong to. A ticket is used up by the first socket that shows it, and then
/// good for every address on that socket.
pub(super) struct SigningIn {
    auth: Auth,
    tickets: Tickets,
    used: tokio::sync::Mutex<Vec<(Hash, Caller)>>,
    held: tokio::sync::Mutex<HashMap<Key, Held>>,
    /// A session or token that opened the socket has ended.
    ended: CancellationToken,
}

impl SigningIn {
    pub(super) fn new(auth: Auth, tickets: Tickets, ended: CancellationToken) -> Self {
        Self {
            auth,
            tickets,
            used: tokio::sync::Mutex::default(),
            held: tokio::sync::Mutex::default(),
            ended,
        }
    }

    pub(super) async fn caller(&self, token: &str) -> Result<Caller, ApiError> {
        if !Auth::is_ticket(token) {
            let caller = sign_in(&self.auth, self.tickets, token).await?;
            self.hold(&caller).await?;
            return Ok(caller);
        }
        // Held while redeeming, so that addresses that show the same ticket at once wait for the first.
        let mut used = self.used.lock().await;
        let hash = auth::hash(token);
        if let Some((_, caller)) = used.iter().find(|(known, _)| *known == hash) {
            return Ok(caller.clone());
        }
        let caller = sign_in(&self.auth, self.tickets, token).await?;
        self.hold(&caller).await?;
        if used.len() == TICKETS_PER_SOCKET {
            used.remove(0);
        }
        used.push((hash, caller.clone()));
        Ok(caller)
    }

    /// Ties the socket to what somebody signed in with.
    async fn hold(&self, caller: &Caller) -> Result<(), ApiError> {
        let mut held = self.held.lock().await;
        if held.contains_key(&caller.key()) {
            return Ok(());
        }
        if held.len() >= limits::SIGN_INS_PER_SOCKET {
            return Err(ApiError::new(
                ErrorCode::RateLimited,
                "too many different sign-ins on one connection",
            ));
        }
        held.insert(caller.key(), self.auth.hold(caller, &self.ended).await?);
        Ok(())
    }
}

/// Signs in, enters the project, opens the room, says so, and joins.
pub(super) async fn attach(
    state: &AppState,
    signing_in: &SigningIn,
    outbox: &Outbox,
    address: &Arc<str>,
    token: &str,
) -> Result<Open, ApiError> {
    let caller = signing_in.caller(token).await?;
    let name = address.split(SESSION_SEPARATOR).next().unwrap_or(address);
    let Address { project, target } = Address::read(name)?;
    let access = access::enter(&state.store, caller, project).await?;
    let framing = Framing::Hocuspocus(address.clone());
    let welcome = |scope: Scope| outbox.send(authenticated_frame(address, scope));
    let seat = take_seat(state, &access, target, &framing, outbox, welcome).await?;
    Ok(Open { seat, access, target })
}

/// Refuses names that are empty, blank, or hold more than one separator.
pub(super) fn check_name(address: &str) -> Result<(), ApiError> {
    let mut parts = address.split(SESSION_SEPARATOR);
    let name = parts.next().unwrap_or_default();
    let _session = parts.next();
    if name.trim().is_empty() || parts.next().is_some() {
        return Err(ApiError::new(ErrorCode::DocumentNotFound, "this is no address of a document"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blank_names_are_refused() {
        for name in ["", " ", "\0", "\0s", "a\0b\0c"] {
            assert!(check_name(name).is_err(), "{name:?}");
        }
        for name in ["a", "a\0s", "a/b", "a\0"] {
            assert!(check_name(name).is_ok(), "{name:?}");
        }
    }
}
