//! Who is calling: session cookies, bearer tokens, socket tickets, invite secrets.
//!
//! Secrets are random, opaque and shown once; what is kept is their SHA-256 hash. Tickets live in memory.
//! What a caller may do is decided in [`access`](crate::access).

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ensemble_protocol::error::ErrorCode;
use ensemble_protocol::id::{InviteId, MemberId, ProjectId, Role, SessionId, TokenId};
use ensemble_protocol::limits;
use ensemble_store::{Change, Clock, Hash, Ids, Member, Store, StoreError, Token, Write};
use http::HeaderMap;
use http::header::{AUTHORIZATION, COOKIE};
use parking_lot::Mutex;
use sha2::{Digest as _, Sha256};
use time::OffsetDateTime;
use tokio::sync::OwnedMutexGuard;
use tracing::debug;

use crate::connections::Crowd;
use crate::error::ApiError;
use crate::lifecycle::Tasks;
use crate::sessions::Sockets;

/// How a bearer token begins, so that people and secret scanners know what they found.
const TOKEN_PREFIX: &str = "ens_";
/// How a socket ticket begins.
const TICKET_PREFIX: &str = "tkt_";
/// Bytes of an invite secret: 128 bits cannot be guessed and keep the link short.
const INVITE_SECRET_BYTES: usize = 16;
/// A session is extended when it was last extended longer ago than this, to spare a write per request.
const SESSION_TOUCH: time::Duration = time::Duration::days(1);

/// What the token is called that somebody gets who makes a project.
pub(crate) const MADE_WITH_PROJECT: &str = "made with the project";
/// What the token is called that somebody gets who joins one.
pub(crate) const JOINED_BY_LINK: &str = "joined by a link";
/// Names of tokens that nobody chose; they are called after the person.
pub(crate) const AUTOMATIC_TOKENS: [&str; 2] = [MADE_WITH_PROJECT, JOINED_BY_LINK];

/// How somebody showed who they are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Credential {
    /// A browser's cookie.
    Session(SessionId),
    /// A bearer token, with what it is limited to.
    Token {
        /// Which.
        id: TokenId,
        /// What its owner calls it.
        name: String,
        /// The only project it opens; every project of the member where it is none.
        project: Option<ProjectId>,
        /// The most it may do.
        role: Role,
    },
}

/// Somebody who is signed in.
#[derive(Debug, Clone)]
pub struct Caller {
    /// Who.
    pub member: Member,
    /// By what.
    pub credential: Credential,
}

impl Caller {
    /// The most this caller may do, whatever their role.
    pub const fn limit(&self) -> Role {
        match self.credential {
            Credential::Session(_) => Role::Owner,
            Credential::Token { role, .. } => role,
        }
    }

    /// Refuses a token for one project: it is for that project, so it says nothing about the person's browsers
    /// and other tokens, and leads into no other project.
    pub fn whole(&self) -> Result<(), ApiError> {
        match self.credential {
            Credential::Token { project: Some(_), .. } => {
                Err(ApiError::new(ErrorCode::NoAccess, "a token for one project is for that project alone"))
            }
            _ => Ok(()),
        }
    }
}

/// A secret just made: shown once, then only its hash is known.
#[derive(Clone)]
pub struct NewSecret {
    text: String,
    /// What is kept.
    pub hash: Hash,
}

impl std::fmt::Debug for NewSecret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("NewSecret(..)")
    }
}

impl NewSecret {
    fn new(prefix: &str, bytes: &[u8]) -> Self {
        let text = format!("{prefix}{}", URL_SAFE_NO_PAD.encode(bytes));
        let hash = hash(&text);
        Self { text, hash }
    }

    /// The secret itself, for its owner.
    pub fn reveal(self) -> String {
        self.text
    }

    /// The secret itself, while it is still needed.
    pub fn text(&self) -> &str {
        &self.text
    }
}

/// The hash a secret is kept as. Secrets are random and long, so that no slow hash is needed.
pub fn hash(secret: &str) -> Hash {
    Hash(Sha256::digest(secret.as_bytes()).into())
}

#[derive(Debug)]
struct Ticket {
    member: MemberId,
    credential: Credential,
    expires_at: OffsetDateTime,
}

/// Tickets that wait to be presented. All live equally long, so the oldest is also the first to expire.
#[derive(Debug, Default)]
struct Tickets {
    waiting: HashMap<Hash, Ticket>,
    order: VecDeque<Hash>,
}

impl Tickets {
    fn forget_expired(&mut self, now: OffsetDateTime) {
        while let Some(first) = self.order.front() {
            if self.waiting.get(first).is_some_and(|ticket| now < ticket.expires_at) {
                break;
            }
            self.waiting.remove(first);
            self.order.pop_front();
        }
    }
}

/// Finds out who is calling.
#[derive(Clone)]
pub struct Auth {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) clock: Arc<dyn Clock>,
    ids: Arc<dyn Ids>,
    tickets: Arc<Mutex<Tickets>>,
    /// The sockets that end with what they signed in with.
    pub(crate) sockets: Arc<Mutex<Sockets>>,
    /// Places for sockets, by person.
    pub(crate) places: Crowd<MemberId>,
    /// The link of the first start.
    first: Arc<FirstLink>,
    /// Sessions that are being noted as used.
    touching: Arc<Mutex<HashSet<SessionId>>>,
    /// What is written without anybody waiting for it.
    tasks: Tasks,
}

/// The link that lets somebody make the first project of a server that is not open.
///
/// The answer to whoever opens it may be lost, and nobody else could let them in. So in the first project it is a
/// link for owners, until somebody was seen: before that, nobody but its owners can be.
#[derive(Debug, Default)]
struct FirstLink {
    /// Printed by this run.
    printed: Mutex<Option<Hash>>,
    /// Held while the project is made, so that there is one.
    making: Arc<tokio::sync::Mutex<()>>,
    /// It has made the project, and leads there until somebody is seen.
    open: Mutex<Option<InviteId>>,
}

impl Auth {
    /// Works on these.
    pub(crate) fn new(
        store: Arc<dyn Store>,
        clock: Arc<dyn Clock>,
        ids: Arc<dyn Ids>,
        places: Crowd<MemberId>,
        tasks: Tasks,
    ) -> Self {
        Self {
            store,
            clock,
            ids,
            tickets: Arc::default(),
            sockets: Arc::default(),
            places,
            first: Arc::default(),
            touching: Arc::default(),
            tasks,
        }
    }

    /// Who sent this request, by bearer token or else by cookie.
    ///
    /// A token that is not valid is refused even beside a valid cookie; an old cookie is as good as none.
    pub async fn caller(&self, headers: &HeaderMap, cookie: &str) -> Result<Option<Caller>, ApiError> {
        if let Some(value) = headers.get(AUTHORIZATION) {
            let token = value
                .to_str()
                .ok()
                .and_then(|text| text.split_once(' '))
                .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
                .map(|(_, token)| token.trim())
                .ok_or_else(|| not_signed_in("the Authorization header has to be `Bearer` and a token"))?;
            return self.bearer(token).await.map(Some);
        }
        match session_cookie(headers, cookie) {
            Some(secret) => self.session(&secret).await,
            None => Ok(None),
        }
    }

    /// The owner of a bearer token.
    pub async fn bearer(&self, token: &str) -> Result<Caller, ApiError> {
        let unknown = || not_signed_in("this token is not valid");
        if token.len() > limits::TOKEN_BYTES || !token.starts_with(TOKEN_PREFIX) {
            return Err(unknown());
        }
        let token = self.store.token_by_hash(hash(token)).await?.ok_or_else(unknown)?;
        let member = self.store.member(token.member).await?.ok_or_else(unknown)?;
        self.close_first_link();
        let Token { id, name, project, role, .. } = token;
        Ok(Caller { member, credential: Credential::Token { id, name, project, role } })
    }

    async fn session(&self, secret: &str) -> Result<Option<Caller>, ApiError> {
        let Some(session) = self.store.session_by_hash(hash(secret)).await? else { return Ok(None) };
        let Some(member) = self.store.member(session.member).await? else { return Ok(None) };
        let now = self.clock.now();
        if now - session.last_seen_at > SESSION_TOUCH {
            let expires_at = (now + limits::SESSION_LIFE).min(session.created_at + limits::SESSION_MOST);
            self.touch(session.id, expires_at);
        }
        self.close_first_link();
        Ok(Some(Caller { member, credential: Credential::Session(session.id) }))
    }

    /// Notes that a session was used. Nobody waits for it: while nothing can be written, people read on.
    fn touch(&self, id: SessionId, expires_at: OffsetDateTime) {
        {
            let mut touching = self.touching.lock();
            if touching.len() >= limits::SESSIONS_TOUCHED || !touching.insert(id) {
                return;
            }
        }
        let touching = self.touching.clone();
        let written = self.write_unattended(Change::TouchSession { id, expires_at });
        self.tasks.spawn("session.touch", async move {
            written.await;
            touching.lock().remove(&id);
        });
    }

    /// Writes what is written again at the next occasion where it fails, or where the server stops first.
    fn write_unattended(&self, change: Change) -> impl Future<Output = ()> + Send + 'static {
        let (store, stop) = (self.store.clone(), self.tasks.stop.clone());
        async move {
            tokio::select! {
                () = stop.cancelled() => {}
                written = store.commit(Write::changes([change])) => if let Err(error) = written {
                    debug!("something about a sign-in was not written: {error}");
                },
            }
        }
    }

    /// A session for a browser, and the row that keeps it.
    pub fn new_session(&self, member: MemberId) -> (NewSecret, Change) {
        let secret = NewSecret::new("", &self.ids.secret());
        let change = Change::CreateSession {
            id: SessionId::from_uuid(self.ids.uuid()),
            member,
            hash: secret.hash,
            expires_at: self.clock.now() + limits::SESSION_LIFE,
        };
        (secret, change)
    }

    /// A bearer token for one project, and the row that keeps it.
    pub fn new_token(
        &self,
        member: MemberId,
        project: ProjectId,
        role: Role,
        name: &str,
    ) -> (NewSecret, Change) {
        let secret = NewSecret::new(TOKEN_PREFIX, &self.ids.secret());
        let change = Change::CreateToken {
            id: TokenId::from_uuid(self.ids.uuid()),
            hash: secret.hash,
            member,
            project: Some(project),
            role,
            name: name.into(),
            expires_at: None,
        };
        (secret, change)
    }

    /// The secret of an invite link.
    pub fn new_invite_secret(&self) -> NewSecret {
        NewSecret::new("", &self.ids.secret()[..INVITE_SECRET_BYTES])
    }

    /// Makes a ticket for a socket: valid for a short while, for the first socket that presents it.
    pub fn issue_ticket(&self, caller: &Caller) -> Result<(NewSecret, OffsetDateTime), ApiError> {
        let secret = NewSecret::new(TICKET_PREFIX, &self.ids.secret());
        let now = self.clock.now();
        let expires_at = now + limits::TICKET_LIFE;
        let mut tickets = self.tickets.lock();
        tickets.forget_expired(now);
        if tickets.waiting.len() >= limits::TICKETS {
            return Err(ApiError::busy("too many people are connecting at once; try again in half a minute"));
        }
        let ticket = Ticket { member: caller.member.id, credential: caller.credential.clone(), expires_at };
        tickets.waiting.insert(secret.hash, ticket);
        tickets.order.push_back(secret.hash);
        Ok((secret, expires_at))
    }

    /// Whether a text is meant to be a ticket rather than a bearer token.
    pub fn is_ticket(text: &str) -> bool {
        text.starts_with(TICKET_PREFIX)
    }

    /// Takes a ticket, which is then used up, and gives back who it was made for.
    pub async fn redeem(&self, ticket: &str) -> Result<Caller, ApiError> {
        let bad = || ApiError::new(ErrorCode::BadTicket, "this ticket is unknown, used up or too old");
        let now = self.clock.now();
        let ticket = {
            let mut tickets = self.tickets.lock();
            tickets.forget_expired(now);
            tickets.waiting.remove(&hash(ticket)).ok_or_else(bad)?
        };
        let member = self.store.member(ticket.member).await?.ok_or_else(bad)?;
        Ok(Caller { member, credential: ticket.credential })
    }

    /// Makes the secret by which somebody may make the first project.
    pub fn new_first_secret(&self) -> NewSecret {
        let secret = self.new_invite_secret();
        *self.first.printed.lock() = Some(secret.hash);
        secret
    }

    /// Whether this is the secret by which somebody may make the first project. Nobody else makes it while the answer
    /// is held.
    pub(crate) async fn first_link(&self, secret: Hash) -> Option<OwnedMutexGuard<()>> {
        if *self.first.printed.lock() != Some(secret) {
            return None;
        }
        Some(self.first.making.clone().lock_owned().await)
    }

    /// The first project was made, and its owner is let in by the same link until they were seen.
    pub(crate) fn opened_first_link(&self, invite: InviteId) {
        *self.first.open.lock() = Some(invite);
    }

    /// Finds out whether the link of the first start still leads into the first project.
    pub(crate) async fn remember_first_link(&self) -> Result<(), StoreError> {
        *self.first.open.lock() = self.store.first_link().await?.map(|invite| invite.id);
        Ok(())
    }

    /// Somebody is signed in, so that the link of the first start has done what it is for.
    fn close_first_link(&self) {
        let open = self.first.open.lock().take();
        if let Some(id) = open {
            self.tasks.spawn("first-link.revoke", self.write_unattended(Change::RevokeInvite { id }));
        }
    }
}

/// The refusal of whoever has to sign in first.
pub(crate) fn not_signed_in(detail: &'static str) -> ApiError {
    ApiError::new(ErrorCode::NotSignedIn, detail)
}

/// The session's secret in a request's cookies.
pub(crate) fn session_cookie(headers: &HeaderMap, name: &str) -> Option<String> {
    headers
        .get_all(COOKIE)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(';'))
        .filter_map(|pair| pair.trim().split_once('='))
        .find(|(key, _)| *key == name)
        .map(|(_, value)| value.to_owned())
}

#[cfg(test)]
mod tests {
    use ensemble_store::{ManualClock, SeededIds, SqliteStore};
    use futures_util::FutureExt as _;

    use super::*;

    async fn auth_at(clock: &Arc<ManualClock>) -> (Auth, Caller) {
        let store = Arc::new(SqliteStore::in_memory_with(clock.clone()).await.unwrap());
        let tasks = Tasks::under(&tokio_util::sync::CancellationToken::new());
        let auth = Auth::new(store, clock.clone(), Arc::new(SeededIds::new(1)), Crowd::new(10, 10), tasks);
        let id = MemberId::from_uuid(auth.ids.uuid());
        let change = Change::CreateMember { id, name: "Ada".into(), color: "#123456".into() };
        auth.store.commit(Write::changes([change])).await.unwrap();
        let member = auth.store.member(id).await.unwrap().unwrap();
        let token = TokenId::from_uuid(auth.ids.uuid());
        let credential =
            Credential::Token { id: token, name: "test".into(), project: None, role: Role::Owner };
        (auth, Caller { member, credential })
    }

    /// Waits until no session is being noted as used.
    async fn touched(auth: &Auth) {
        while !auth.touching.lock().is_empty() {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn a_ticket_is_taken_once_and_not_late() {
        let clock = Arc::new(ManualClock::default());
        let (auth, caller) = auth_at(&clock).await;
        let (ticket, _) = auth.issue_ticket(&caller).unwrap();
        assert_eq!(auth.redeem(ticket.text()).await.unwrap().member.id, caller.member.id);
        assert_eq!(auth.redeem(ticket.text()).await.unwrap_err().code, ErrorCode::BadTicket);

        let (late, _) = auth.issue_ticket(&caller).unwrap();
        clock.advance(limits::TICKET_LIFE);
        assert_eq!(auth.redeem(late.text()).await.unwrap_err().code, ErrorCode::BadTicket);
        assert!(auth.tickets.lock().waiting.is_empty() && auth.tickets.lock().order.is_empty());
    }

    #[tokio::test]
    async fn a_session_lasts_while_it_is_used() {
        let clock = Arc::new(ManualClock::default());
        let (auth, caller) = auth_at(&clock).await;
        let (secret, change) = auth.new_session(caller.member.id);
        auth.store.commit(Write::changes([change])).await.unwrap();
        let mut headers = HeaderMap::new();
        headers.insert(COOKIE, format!("ensemble={}", secret.text()).parse().unwrap());
        for _ in 0..3 {
            clock.advance(limits::SESSION_LIFE.mul_f64(0.9));
            assert!(auth.caller(&headers, "ensemble").await.unwrap().is_some(), "it was extended");
            touched(&auth).await;
        }
        clock.advance(limits::SESSION_LIFE);
        assert!(auth.caller(&headers, "ensemble").await.unwrap().is_none(), "it is over");
    }

    #[tokio::test]
    async fn a_session_does_not_last_for_ever() {
        let clock = Arc::new(ManualClock::default());
        let (auth, caller) = auth_at(&clock).await;
        let (secret, change) = auth.new_session(caller.member.id);
        auth.store.commit(Write::changes([change])).await.unwrap();
        let mut headers = HeaderMap::new();
        headers.insert(COOKIE, format!("ensemble={}", secret.text()).parse().unwrap());
        let step = limits::SESSION_LIFE / 2;
        let mut lived = step;
        clock.advance(step);
        while auth.caller(&headers, "ensemble").await.unwrap().is_some() {
            touched(&auth).await;
            clock.advance(step);
            lived += step;
            assert!(lived <= limits::SESSION_MOST + step, "it is extended for ever");
        }
        assert!(lived >= limits::SESSION_MOST, "it lasted as long as it may: {lived:?}");
    }

    #[tokio::test]
    async fn only_the_first_secret_makes_the_first_project() {
        let (auth, _) = auth_at(&Arc::new(ManualClock::default())).await;
        assert!(auth.first_link(hash("anything")).await.is_none());
        let secret = auth.new_first_secret();
        assert!(auth.first_link(hash("anything")).await.is_none());
        let making = auth.first_link(secret.hash).await;
        assert!(making.is_some());
        assert!(auth.first_link(secret.hash).now_or_never().is_none(), "one after the other");
        drop(making);
        assert!(auth.first_link(secret.hash).await.is_some());
    }

    #[test]
    fn the_cookie_is_found_among_others() {
        let mut headers = HeaderMap::new();
        headers.append(COOKIE, "a=1; ensemble=two".parse().unwrap());
        headers.append(COOKIE, "__Host-ensemble=three".parse().unwrap());
        assert_eq!(session_cookie(&headers, "ensemble").as_deref(), Some("two"));
        assert_eq!(session_cookie(&headers, "__Host-ensemble").as_deref(), Some("three"));
        assert_eq!(session_cookie(&headers, "b"), None);
    }

    /// [A8] A secret prints nothing of itself, and only its hash is kept.
    #[test]
    fn a_secret_prints_nothing_of_itself() {
        let secret = NewSecret::new(TOKEN_PREFIX, &[7; 32]);
        assert!(secret.text().starts_with(TOKEN_PREFIX));
        assert_eq!(format!("{secret:?}"), "NewSecret(..)");
        assert_eq!(secret.hash, hash(&secret.clone().reveal()));
    }
}
