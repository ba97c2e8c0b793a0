//! The sessions of browsers, and the sockets that were opened by them and end with them.

use std::collections::HashMap;
use std::sync::Arc;

use ensemble_protocol::error::ErrorCode;
use ensemble_protocol::id::SessionId;
use ensemble_store::{Change, Session, Write};
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

use crate::auth::{Auth, Caller, Credential, not_signed_in};
use crate::error::ApiError;

/// The open sockets of each session.
#[derive(Debug, Default)]
pub(crate) struct Sockets {
    open: HashMap<SessionId, Vec<(u64, CancellationToken)>>,
    next: u64,
}

/// A socket's note with its session; taken away when dropped.
#[derive(Debug)]
pub(crate) struct Held {
    sockets: Arc<Mutex<Sockets>>,
    session: SessionId,
    number: u64,
}

impl Drop for Held {
    fn drop(&mut self) {
        let mut sockets = self.sockets.lock();
        if let Some(open) = sockets.open.get_mut(&self.session) {
            open.retain(|(number, _)| *number != self.number);
            if open.is_empty() {
                sockets.open.remove(&self.session);
            }
        }
    }
}

impl Auth {
    /// The sessions of the caller.
    pub(crate) async fn sessions(&self, caller: &Caller) -> Result<Vec<Session>, ApiError> {
        whole(caller)?;
        Ok(self.store.sessions_of(caller.member.id).await?)
    }

    /// Signs a browser of the caller out: its cookie is no good any more, and its sockets close.
    pub(crate) async fn end_session(&self, caller: &Caller, id: SessionId) -> Result<(), ApiError> {
        if !self.sessions(caller).await?.iter().any(|session| session.id == id) {
            return Err(ApiError::new(ErrorCode::NotFound, "there is no such session"));
        }
        self.store.commit(Write::changes([Change::DeleteSession { id }])).await?;
        let open = self.sockets.lock().open.remove(&id).unwrap_or_default();
        for (_, ended) in open {
            ended.cancel();
        }
        Ok(())
    }

    /// Has a socket told by `ended` when the session that opened it ends; nothing for a bearer token.
    pub(crate) async fn hold(
        &self,
        caller: &Caller,
        ended: &CancellationToken,
    ) -> Result<Option<Held>, ApiError> {
        let Credential::Session(session) = caller.credential else { return Ok(None) };
        let number = {
            let mut sockets = self.sockets.lock();
            sockets.next += 1;
            let number = sockets.next;
            sockets.open.entry(session).or_default().push((number, ended.clone()));
            number
        };
        let held = Held { sockets: self.sockets.clone(), session, number };
        // It may have ended between the ticket and now.
        let sessions = self.store.sessions_of(caller.member.id).await?;
        if sessions.iter().any(|kept| kept.id == session) {
            Ok(Some(held))
        } else {
            Err(not_signed_in("this browser was signed out"))
        }
    }
}

/// A token for one project is for that project, and says nothing about a person's browsers.
fn whole(caller: &Caller) -> Result<(), ApiError> {
    match caller.credential {
        Credential::Token { project: Some(_), .. } => {
            Err(ApiError::new(ErrorCode::NoAccess, "a token for one project does not open this"))
        }
        _ => Ok(()),
    }
}
