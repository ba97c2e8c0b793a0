//! The sessions and tokens people sign in with, and the sockets that were opened by them and end with them.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use ensemble_protocol::error::ErrorCode;
use ensemble_protocol::id::{MemberId, SessionId, TokenId};
use ensemble_protocol::limits;
use ensemble_store::{Change, Session, StoreError, Token, Write};
use parking_lot::Mutex;
use time::OffsetDateTime;
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::auth::{Auth, Caller, Credential, not_signed_in};
use crate::connections::Place;
use crate::error::ApiError;

/// What a socket was opened with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Key {
    /// A browser's session, by way of a ticket.
    Session(SessionId),
    /// A bearer token.
    Token(TokenId),
}

impl Caller {
    /// What they signed in with.
    pub(crate) const fn key(&self) -> Key {
        match self.credential {
            Credential::Session(id) => Key::Session(id),
            Credential::Token { id, .. } => Key::Token(id),
        }
    }
}

/// The open sockets of each session and token.
#[derive(Debug, Default)]
pub(crate) struct Sockets {
    open: HashMap<Key, Opened>,
    next: u64,
}

#[derive(Debug)]
struct Opened {
    /// When it runs out, as far as is known.
    expires_at: Option<OffsetDateTime>,
    /// When it was last known to be good.
    known_at: Instant,
    member: MemberId,
    sockets: Vec<(u64, CancellationToken)>,
}

/// A socket's note with what it was opened with; taken away when dropped.
#[derive(Debug)]
pub(crate) struct Held {
    sockets: Arc<Mutex<Sockets>>,
    key: Key,
    number: u64,
    _place: Place<MemberId>,
}

impl Drop for Held {
    fn drop(&mut self) {
        let mut sockets = self.sockets.lock();
        if let Some(opened) = sockets.open.get_mut(&self.key) {
            opened.sockets.retain(|(number, _)| *number != self.number);
            if opened.sockets.is_empty() {
                sockets.open.remove(&self.key);
            }
        }
    }
}

impl Auth {
    /// The sessions of the caller.
    pub(crate) async fn sessions(&self, caller: &Caller) -> Result<Vec<Session>, ApiError> {
        caller.whole()?;
        Ok(self.store.sessions_of(caller.member.id).await?)
    }

    /// Signs a browser of the caller out: its cookie is no good any more, and its sockets close. To be brought to
    /// its end, even if nobody waits for it: sockets close after the commit.
    pub(crate) async fn end_session(&self, caller: &Caller, id: SessionId) -> Result<(), ApiError> {
        if !self.sessions(caller).await?.iter().any(|session| session.id == id) {
            self.close_sockets_of(caller, Key::Session(id));
            return Err(ApiError::new(ErrorCode::NotFound, "there is no such session"));
        }
        self.store.commit(Write::changes([Change::DeleteSession { id }])).await?;
        self.close_sockets(Key::Session(id));
        Ok(())
    }

    /// The newest tokens of the caller.
    pub(crate) async fn tokens(&self, caller: &Caller) -> Result<Vec<Token>, ApiError> {
        caller.whole()?;
        Ok(self.store.tokens_of(caller.member.id, limits::TOKENS_LISTED).await?)
    }

    /// Makes a token of the caller useless, and closes its sockets. To be brought to its end as well.
    pub(crate) async fn end_token(&self, caller: &Caller, id: TokenId) -> Result<(), ApiError> {
        // A token may end itself, whatever else it may: it is then worth nothing to whoever has it.
        if caller.key() != Key::Token(id) {
            caller.whole()?;
        }
        let token = self.store.token(id).await?.filter(|token| token.member == caller.member.id);
        if token.is_none() {
            self.close_sockets_of(caller, Key::Token(id));
            return Err(ApiError::new(ErrorCode::NotFound, "there is no such token"));
        }
        self.store.commit(Write::changes([Change::DeleteToken { id }])).await?;
        self.close_sockets(Key::Token(id));
        Ok(())
    }

    /// Closes what is left open of the caller's by a session or token that is gone already.
    fn close_sockets_of(&self, caller: &Caller, key: Key) {
        let is_theirs =
            self.sockets.lock().open.get(&key).is_some_and(|opened| opened.member == caller.member.id);
        if is_theirs {
            self.close_sockets(key);
        }
    }

    fn close_sockets(&self, key: Key) {
        let opened = self.sockets.lock().open.remove(&key);
        for (_, ended) in opened.into_iter().flat_map(|opened| opened.sockets) {
            ended.cancel();
        }
    }

    /// Has a socket told by `ended` when the session or token that opened it ends, and takes a place among the
    /// sockets of its person.
    pub(crate) async fn hold(&self, caller: &Caller, ended: &CancellationToken) -> Result<Held, ApiError> {
        let (key, member) = (caller.key(), caller.member.id);
        let place = self.places.enter(Some(member)).map_err(|_| {
            ApiError::new(ErrorCode::RateLimited, "as many connections of this person are open as may be")
        })?;
        let number = {
            let mut sockets = self.sockets.lock();
            sockets.next += 1;
            let number = sockets.next;
            let opened = sockets.open.entry(key).or_insert_with(|| Opened {
                expires_at: None,
                known_at: Instant::now(),
                member,
                sockets: Vec::new(),
            });
            opened.sockets.push((number, ended.clone()));
            number
        };
        let held = Held { sockets: self.sockets.clone(), key, number, _place: place };
        // It may have ended between the sign-in and now.
        let life = self.life_of(member, key).await?;
        let expires_at = life.ok_or_else(|| not_signed_in("this sign-in has ended"))?;
        if let Some(opened) = self.sockets.lock().open.get_mut(&key) {
            opened.expires_at = expires_at;
        }
        Ok(held)
    }

    /// When a session or token ends, if ever; nothing if it has.
    async fn life_of(
        &self,
        member: MemberId,
        key: Key,
    ) -> Result<Option<Option<OffsetDateTime>>, StoreError> {
        match key {
            Key::Session(id) => {
                let sessions = self.store.sessions_of(member).await?;
                let session = sessions.into_iter().find(|session| session.id == id);
                Ok(session.map(|session| Some(session.expires_at)))
            }
            Key::Token(id) => Ok(self.store.token(id).await?.map(|token| token.expires_at)),
        }
    }

    /// What is to be looked at: what has run out by now, and some of what was not looked at for so long.
    fn due(&self, recheck: Duration) -> Vec<(Key, MemberId)> {
        let now = self.clock.now();
        let sockets = self.sockets.lock();
        let (mut over, mut old) = (Vec::new(), Vec::new());
        for (key, opened) in &sockets.open {
            if opened.expires_at.is_some_and(|at| at <= now) {
                over.push((*key, opened.member));
            } else if opened.known_at.elapsed() >= recheck && old.len() < limits::SIGN_IN_RECHECKS {
                old.push((*key, opened.member));
            }
        }
        over.append(&mut old);
        over
    }

    /// Closes the sockets of sessions and tokens that run out, until told to stop. Those that are gone for any other
    /// reason are found too, each within about the time of a recheck.
    pub(crate) async fn close_expired(self, every: Duration, recheck: Duration, stop: CancellationToken) {
        let mut ticks = tokio::time::interval(every);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = ticks.tick() => {}
                () = stop.cancelled() => return,
            }
            for (key, member) in self.due(recheck) {
                // A session that was used meanwhile lasts longer.
                match self.life_of(member, key).await {
                    Ok(None) => self.close_sockets(key),
                    Ok(Some(expires_at)) => {
                        if let Some(opened) = self.sockets.lock().open.get_mut(&key) {
                            opened.expires_at = expires_at;
                            opened.known_at = Instant::now();
                        }
                    }
                    Err(error) => warn!("it could not be read whether a sign-in has ended: {error}"),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use ensemble_store::{SqliteStore, Store as _, SystemClock, SystemIds};

    use super::*;
    use crate::connections::Crowd;
    use crate::lifecycle::Tasks;

    /// [A16] A token that is gone, whoever took it away, has no sockets for long; one that is not keeps them.
    #[tokio::test]
    async fn what_is_gone_has_no_sockets_for_long() {
        let store = Arc::new(SqliteStore::in_memory().await.unwrap());
        let stop = CancellationToken::new();
        let auth = Auth::new(
            store.clone(),
            Arc::new(SystemClock),
            Arc::new(SystemIds),
            Crowd::new(10, 10),
            Tasks::under(&stop),
        );
        let uuid = || ensemble_store::Ids::uuid(&SystemIds);
        let id = MemberId::from_uuid(uuid());
        let mut changes = vec![Change::CreateMember { id, name: "Ada".into(), color: "#123456".into() }];
        let tokens = [TokenId::from_uuid(uuid()), TokenId::from_uuid(uuid())];
        changes.extend(tokens.iter().map(|token| Change::CreateToken {
            id: *token,
            hash: crate::auth::hash(&token.to_string()),
            member: id,
            project: None,
            role: ensemble_protocol::id::Role::Owner,
            name: "test".into(),
            expires_at: None,
        }));
        store.commit(Write::changes(changes)).await.unwrap();
        let member = store.member(id).await.unwrap().unwrap();
        let mut held = Vec::new();
        for token in tokens {
            let credential = Credential::Token {
                id: token,
                name: "test".into(),
                project: None,
                role: ensemble_protocol::id::Role::Owner,
            };
            let (caller, ended) = (Caller { member: member.clone(), credential }, CancellationToken::new());
            held.push((auth.hold(&caller, &ended).await.unwrap(), ended));
        }
        store.commit(Write::changes([Change::DeleteToken { id: tokens[0] }])).await.unwrap();
        let often = Duration::from_millis(5);
        let looking = tokio::spawn(auth.clone().close_expired(often, often, stop.clone()));
        tokio::time::timeout(Duration::from_secs(20), held[0].1.cancelled()).await.expect("it is closed");
        // The other was looked at again by now, and its turn comes every time.
        let before = Instant::now();
        let again = async {
            while auth.sockets.lock().open[&Key::Token(tokens[1])].known_at <= before {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), again).await.expect("it is looked at");
        assert!(!held[1].1.is_cancelled());
        stop.cancel();
        looking.await.unwrap();
    }
}
