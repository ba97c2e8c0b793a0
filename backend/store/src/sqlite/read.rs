//! Reading, on connections that cannot write.

use async_trait::async_trait;
use sqlx::sqlite::{SqliteArguments, SqliteRow};
use sqlx::{Sqlite, SqliteConnection};
use tokio::sync::watch;
use tracing::instrument;

use ensemble_protocol::id::{DocumentId, HunkId, InviteId, MemberId, ProjectId, TokenId, TurnId, Version};

use super::record::{
    document, hunk, invite, ledger_entry, member, membership, owner, project, quarantined, session, token,
    turn, undone_hunk,
};
use super::row::{Columns, store_error, to_micros};
use super::{SqliteStore, log};
use crate::error::StoreError;
use crate::record::{
    ClientRecord, Document, Hash, HunkRecord, Invite, LoadedDocument, Member, Membership, Project,
    Quarantined, ReadableDocument, Recovery, Session, StoredLedgerEntry, StoredUpdate, Token, TurnRecord,
};
use crate::write::{Commit, Write};
use crate::{Health, Store};

const COUNT_QUARANTINE: &str = "select count(*), coalesce(sum(length(bytes)), 0) from quarantine";
const PROJECT: &str = "select id, name, tree, turns, created_at from projects where id = $1";
const PROJECTS_OF: &str = "
    select p.id, p.name, p.tree, p.turns, p.created_at, m.project, m.member, m.role, m.created_at, m.invite
    from memberships m join projects p on p.id = m.project
    where m.member = $1 order by m.created_at desc, p.id desc";
const MEMBER: &str = "select id, name, color, created_at from members where id = $1";
const MEMBERS_OF: &str = "
    select u.id, u.name, u.color, u.created_at, m.project, m.member, m.role, m.created_at, m.invite
    from memberships m join members u on u.id = m.member
    where m.project = $1 order by m.created_at, u.id";
const MEMBERSHIP: &str = "
    select project, member, role, created_at, invite from memberships where project = $1 and member = $2";
const SESSION_BY_HASH: &str = "
    select id, member, hash, created_at, last_seen_at, expires_at from sessions
    where hash = $1 and expires_at > $2";
const SESSIONS_OF: &str = "
    select id, member, hash, created_at, last_seen_at, expires_at from sessions
    where member = $1 and expires_at > $2 order by last_seen_at desc, id desc";
const TOKEN_BY_HASH: &str = "
    select id, hash, member, project, role, name, created_at, expires_at from tokens
    where hash = $1 and (expires_at is null or expires_at > $2)";
const TOKEN: &str = "
    select id, hash, member, project, role, name, created_at, expires_at from tokens
    where id = $1 and (expires_at is null or expires_at > $2)";
const TOKENS_OF: &str = "
    select id, hash, member, project, role, name, created_at, expires_at from tokens
    where member = $1 and (expires_at is null or expires_at > $2)
    order by created_at desc, id desc limit $3";
const INVITE: &str = "
    select id, project, role, hash, created_by, created_at, expires_at, max_uses, uses, revoked_at
    from invites where id = $1";
const INVITE_BY_HASH: &str = "
    select id, project, role, hash, created_by, created_at, expires_at, max_uses, uses, revoked_at
    from invites where hash = $1";
const FIRST_LINK: &str = "
    select invites.id, project, role, hash, created_by, invites.created_at, expires_at, max_uses, uses, revoked_at
    from invites join projects on projects.id = invites.project
    where invites.role = 'owner' and invites.created_at = projects.created_at and invites.revoked_at is null
    limit 1";
const INVITES_OF: &str = "
    select id, project, role, hash, created_by, created_at, expires_at, max_uses, uses, revoked_at
    from invites where project = $1 order by created_at desc, id desc";
const DOCUMENT: &str = "
    select id, project, path, kind, epoch, last_seq, created_at, deleted_at from documents where id = $1";
const DOCUMENTS_OF: &str = "
    select id, project, path, kind, epoch, last_seq, created_at, deleted_at from documents
    where project = $1 and kind = 'text' and deleted_at is null order by path";
const QUARANTINED: &str = "
    select document, hash, bytes, reason, at, member from quarantine where document = $1 order by at, hash";
const LOAD_FAILURES: &str = "select document, failures from load_failures where document = $1";
const CLIENTS_OF: &str = "
    select document, client, owner_kind, owner, next_clock from clients
    where document = $1 order by client";
const LEDGER_OF_TURN: &str = "
    select document, epoch, seq, turn, member, hunk, kind, client, clock, length, text, of_client, of_clock
    from ledger
    where turn = $1 order by document, epoch, seq, position";
const LEDGER_OF_DOCUMENT: &str = "
    select document, epoch, seq, turn, member, hunk, kind, client, clock, length, text, of_client, of_clock
    from ledger
    where document = $1 order by epoch, seq, position";
const LEDGER_OUTLINE: &str = "
    select document, epoch, seq, turn, member, hunk, kind, client, clock, length, null, of_client, of_clock
    from ledger
    where document = $1 order by epoch, seq, position";
const UNDONE_HUNKS: &str = "
    select turn, hunk from hunks
    where state in ('rejected', 'reverted')
        and turn in (select turn from ledger where document = $1 and turn is not null)";
const TURN: &str = "
    select id, project, agent, member, prompt, status, documents, answer, usage, error_code, error_detail,
        review, node, created_at, finished_at
    from turns where id = $1";
const TURNS_OF: &str = "
    select id, project, agent, member, prompt, status, documents, answer, usage, error_code, error_detail,
        review, node, created_at, finished_at
    from turns where project = $1 and ($2 is null or id < $2) order by id desc limit $3";
const UNFINISHED_TURNS: &str = "
    select id, project, agent, member, prompt, status, documents, answer, usage, error_code, error_detail,
        review, node, created_at, finished_at
    from turns where status in ('queued', 'running') order by id";
const HUNKS_OF: &str = "
    select turn, hunk, document, path, state, anchor, head, inserted, deleted, line, reason from hunks
    where turn = $1 order by hunk";

type Query<'q> = sqlx::query::Query<'q, Sqlite, SqliteArguments>;

fn by_id<'q>(sql: &'static str, id: &'q [u8; 16]) -> Query<'q> {
    sqlx::query(sql).bind(id.as_slice())
}

impl SqliteStore {
    async fn one<T>(
        &self,
        query: Query<'_>,
        record: impl Fn(&SqliteRow) -> Result<T, StoreError> + Send,
    ) -> Result<Option<T>, StoreError> {
        let row = query.fetch_optional(&self.readers).await.map_err(store_error)?;
        row.as_ref().map(record).transpose()
    }

    async fn all<T>(
        &self,
        query: Query<'_>,
        record: impl Fn(&SqliteRow) -> Result<T, StoreError> + Send,
    ) -> Result<Vec<T>, StoreError> {
        let rows = query.fetch_all(&self.readers).await.map_err(store_error)?;
        rows.iter().map(record).collect()
    }

    fn micros_now(&self) -> i64 {
        to_micros(self.clock.now())
    }
}

#[async_trait]
impl Store for SqliteStore {
    #[instrument(name = "store.submit", level = "debug", skip_all)]
    async fn submit(&self, write: Write) -> Result<Commit, StoreError> {
        self.log.submit(write).await
    }

    fn has_room(&self) -> bool {
        self.log.has_room()
    }

    fn recovery(&self) -> Recovery {
        self.recovery
    }

    fn health(&self) -> watch::Receiver<Health> {
        self.log.health()
    }

    #[instrument(name = "store.ping", level = "debug", skip_all)]
    async fn ping(&self) -> Result<(), StoreError> {
        sqlx::query("select 1 from projects limit 1")
            .fetch_optional(&self.readers)
            .await
            .map(drop)
            .map_err(store_error)
    }

    #[instrument(name = "store.close", level = "debug", skip_all)]
    async fn close(&self) {
        self.log.close().await;
        self.readers.close().await;
        // It ends by itself once there is neither a writer nor a reader.
        if let Some(pruner) = self.pruner.lock().await.take()
            && let Err(error) = pruner.await
        {
            tracing::error!(%error, "the housekeeping of the store did not end well");
        }
    }

    #[instrument(name = "store.project.any", level = "debug", skip_all)]
    async fn has_projects(&self) -> Result<bool, StoreError> {
        let found = sqlx::query("select 1 from projects limit 1").fetch_optional(&self.readers).await;
        found.map(|row| row.is_some()).map_err(store_error)
    }

    #[instrument(name = "store.project.find", level = "debug", skip_all)]
    async fn project(&self, id: ProjectId) -> Result<Option<Project>, StoreError> {
        self.one(by_id(PROJECT, id.as_bytes()), |row| project(&mut Columns::new("projects", row))).await
    }

    #[instrument(name = "store.project.list", level = "debug", skip_all)]
    async fn projects_of(&self, member: MemberId) -> Result<Vec<(Project, Membership)>, StoreError> {
        self.all(by_id(PROJECTS_OF, member.as_bytes()), |row| {
            let mut columns = Columns::new("projects", row);
            Ok((project(&mut columns)?, membership(&mut columns)?))
        })
        .await
    }

    #[instrument(name = "store.member.find", level = "debug", skip_all)]
    async fn member(&self, id: MemberId) -> Result<Option<Member>, StoreError> {
        self.one(by_id(MEMBER, id.as_bytes()), |row| member(&mut Columns::new("members", row))).await
    }

    #[instrument(name = "store.member.list", level = "debug", skip_all)]
    async fn members_of(&self, project: ProjectId) -> Result<Vec<(Member, Membership)>, StoreError> {
        self.all(by_id(MEMBERS_OF, project.as_bytes()), |row| {
            let mut columns = Columns::new("members", row);
            Ok((member(&mut columns)?, membership(&mut columns)?))
        })
        .await
    }

    #[instrument(name = "store.membership.find", level = "debug", skip_all)]
    async fn membership(
        &self,
        project: ProjectId,
        member: MemberId,
    ) -> Result<Option<Membership>, StoreError> {
        let query = by_id(MEMBERSHIP, project.as_bytes()).bind(member.as_bytes().as_slice());
        self.one(query, |row| membership(&mut Columns::new("memberships", row))).await
    }

    #[instrument(name = "store.session.find", level = "debug", skip_all)]
    async fn session_by_hash(&self, hash: Hash) -> Result<Option<Session>, StoreError> {
        let query = sqlx::query(SESSION_BY_HASH).bind(hash.0.as_slice()).bind(self.micros_now());
        self.one(query, session).await
    }

    #[instrument(name = "store.session.list", level = "debug", skip_all)]
    async fn sessions_of(&self, member: MemberId) -> Result<Vec<Session>, StoreError> {
        self.all(by_id(SESSIONS_OF, member.as_bytes()).bind(self.micros_now()), session).await
    }

    #[instrument(name = "store.token.find", level = "debug", skip_all)]
    async fn token_by_hash(&self, hash: Hash) -> Result<Option<Token>, StoreError> {
        let query = sqlx::query(TOKEN_BY_HASH).bind(hash.0.as_slice()).bind(self.micros_now());
        self.one(query, token).await
    }

    #[instrument(name = "store.token.read", level = "debug", skip_all)]
    async fn token(&self, id: TokenId) -> Result<Option<Token>, StoreError> {
        self.one(by_id(TOKEN, id.as_bytes()).bind(self.micros_now()), token).await
    }

    #[instrument(name = "store.token.list", level = "debug", skip_all)]
    async fn tokens_of(&self, member: MemberId, limit: u32) -> Result<Vec<Token>, StoreError> {
        let query = by_id(TOKENS_OF, member.as_bytes()).bind(self.micros_now()).bind(i64::from(limit));
        self.all(query, token).await
    }

    #[instrument(name = "store.invite.find", level = "debug", skip_all)]
    async fn invite(&self, id: InviteId) -> Result<Option<Invite>, StoreError> {
        self.one(by_id(INVITE, id.as_bytes()), invite).await
    }

    #[instrument(name = "store.invite.find_by_hash", level = "debug", skip_all)]
    async fn invite_by_hash(&self, hash: Hash) -> Result<Option<Invite>, StoreError> {
        self.one(sqlx::query(INVITE_BY_HASH).bind(hash.0.as_slice()), invite).await
    }

    #[instrument(name = "store.invite.find_first", level = "debug", skip_all)]
    async fn first_link(&self) -> Result<Option<Invite>, StoreError> {
        self.one(sqlx::query(FIRST_LINK), invite).await
    }

    #[instrument(name = "store.invite.list", level = "debug", skip_all)]
    async fn invites_of(&self, project: ProjectId) -> Result<Vec<Invite>, StoreError> {
        self.all(by_id(INVITES_OF, project.as_bytes()), invite).await
    }

    #[instrument(name = "store.document.find", level = "debug", skip_all)]
    async fn document(&self, id: DocumentId) -> Result<Option<Document>, StoreError> {
        self.one(by_id(DOCUMENT, id.as_bytes()), document).await
    }

    #[instrument(name = "store.document.list", level = "debug", skip_all)]
    async fn documents_of(&self, project: ProjectId) -> Result<Vec<Document>, StoreError> {
        self.all(by_id(DOCUMENTS_OF, project.as_bytes()), document).await
    }

    #[instrument(name = "store.document.load", level = "debug", skip_all)]
    async fn load_document(&self, id: DocumentId) -> Result<Option<LoadedDocument>, StoreError> {
        // One transaction, so that everything is read as it was at one moment.
        let mut transaction = self.readers.begin().await.map_err(store_error)?;
        let row =
            by_id(DOCUMENT, id.as_bytes()).fetch_optional(&mut *transaction).await.map_err(store_error)?;
        let Some(document) = row.as_ref().map(document).transpose()? else {
            return Ok(None);
        };
        let snapshot = log::newest_snapshot(&mut transaction, &document).await?;
        let base = snapshot.as_ref().map_or(0, |snapshot| snapshot.seq);
        let updates = log::updates_after(&mut transaction, &document, base, log::ALL).await?;
        Ok(Some(LoadedDocument { document, snapshot, updates }))
    }

    #[instrument(name = "store.document.load_version", level = "debug", skip_all)]
    async fn load_version(
        &self,
        id: DocumentId,
        version: Version,
        limit: u32,
    ) -> Result<Option<LoadedDocument>, StoreError> {
        let mut transaction = self.readers.begin().await.map_err(store_error)?;
        let row =
            by_id(DOCUMENT, id.as_bytes()).fetch_optional(&mut *transaction).await.map_err(store_error)?;
        let Some(mut document) = row.as_ref().map(document).transpose()? else {
            return Ok(None);
        };
        if document.epoch != version.epoch || document.last_seq < version.seq {
            return Ok(None);
        }
        // As it was then: nothing after it is read.
        document.last_seq = version.seq;
        let below = version.seq.saturating_add(1).cast_signed();
        let snapshot = log::snapshot_below(&mut transaction, &document, below).await?;
        let base = snapshot.as_ref().map_or(0, |snapshot| snapshot.seq);
        let wanted = version.seq - base;
        if wanted > u64::from(limit) {
            return Ok(None);
        }
        let updates = log::updates_after(&mut transaction, &document, base, wanted as usize).await?;
        Ok(Some(LoadedDocument { document, snapshot, updates }))
    }

    #[instrument(name = "store.document.load_readable", level = "debug", skip_all)]
    async fn load_readable(&self, id: DocumentId) -> Result<Option<ReadableDocument>, StoreError> {
        let mut transaction = self.readers.begin().await.map_err(store_error)?;
        let row =
            by_id(DOCUMENT, id.as_bytes()).fetch_optional(&mut *transaction).await.map_err(store_error)?;
        let Some(document) = row.as_ref().map(document).transpose()? else {
            return Ok(None);
        };
        let snapshot = log::newest_snapshot(&mut transaction, &document).await?;
        let base = snapshot.as_ref().map_or(0, |snapshot| snapshot.seq);
        let mut updates = Vec::new();
        let damage = match log::read_updates(&mut transaction, &document, base, log::ALL, &mut updates).await
        {
            Ok(()) => None,
            Err(damage @ StoreError::Corrupt { .. }) => Some(damage),
            Err(error) => return Err(error),
        };
        Ok(Some(ReadableDocument { document, snapshot, updates, damage }))
    }

    #[instrument(name = "store.document.updates", level = "debug", skip_all)]
    async fn updates_after(
        &self,
        document: DocumentId,
        seq: u64,
        limit: u32,
    ) -> Result<Vec<StoredUpdate>, StoreError> {
        let Some(document) = self.document(document).await? else {
            return Err(StoreError::not_found(format!("document `{document}`")));
        };
        // One transaction, for rows move from the log into segments.
        let mut transaction = self.readers.begin().await.map_err(store_error)?;
        log::updates_after(&mut transaction, &document, seq, limit as usize).await
    }

    #[instrument(name = "store.quarantine.list", level = "debug", skip_all)]
    async fn quarantined(&self, document: DocumentId) -> Result<Vec<Quarantined>, StoreError> {
        self.all(by_id(QUARANTINED, document.as_bytes()), quarantined).await
    }

    #[instrument(name = "store.load_failures.count", level = "debug", skip_all)]
    async fn load_failures(&self, document: DocumentId) -> Result<u32, StoreError> {
        let failures = self.one(by_id(LOAD_FAILURES, document.as_bytes()), |row| {
            let mut columns = Columns::new("load_failures", row);
            let _document = columns.bytes()?;
            columns.number()
        });
        failures.await.map(Option::unwrap_or_default)
    }

    #[instrument(name = "store.document.clients", level = "debug", skip_all)]
    async fn clients_of(&self, document: DocumentId) -> Result<Vec<ClientRecord>, StoreError> {
        self.all(by_id(CLIENTS_OF, document.as_bytes()), |row| {
            let mut columns = Columns::new("clients", row);
            let _document = columns.bytes()?;
            Ok(ClientRecord {
                client: columns.client()?,
                owner: owner(&mut columns)?,
                next_clock: columns.number()?,
            })
        })
        .await
    }

    #[instrument(name = "store.ledger.of_turn", level = "debug", skip_all)]
    async fn ledger_of_turn(&self, turn: TurnId) -> Result<Vec<StoredLedgerEntry>, StoreError> {
        self.all(by_id(LEDGER_OF_TURN, turn.as_bytes()), ledger_entry).await
    }

    #[instrument(name = "store.ledger.of_document", level = "debug", skip_all)]
    async fn ledger_of_document(&self, document: DocumentId) -> Result<Vec<StoredLedgerEntry>, StoreError> {
        self.all(by_id(LEDGER_OF_DOCUMENT, document.as_bytes()), ledger_entry).await
    }

    #[instrument(name = "store.ledger.outline", level = "debug", skip_all)]
    async fn ledger_outline(&self, document: DocumentId) -> Result<Vec<StoredLedgerEntry>, StoreError> {
        self.all(by_id(LEDGER_OUTLINE, document.as_bytes()), ledger_entry).await
    }

    #[instrument(name = "store.ledger.undone", level = "debug", skip_all)]
    async fn undone_hunks(&self, document: DocumentId) -> Result<Vec<(TurnId, HunkId)>, StoreError> {
        self.all(by_id(UNDONE_HUNKS, document.as_bytes()), undone_hunk).await
    }

    #[instrument(name = "store.turn.find", level = "debug", skip_all)]
    async fn turn(&self, id: TurnId) -> Result<Option<TurnRecord>, StoreError> {
        self.one(by_id(TURN, id.as_bytes()), turn).await
    }

    #[instrument(name = "store.turn.list", level = "debug", skip_all)]
    async fn turns_of(
        &self,
        project: ProjectId,
        limit: u32,
        before: Option<TurnId>,
    ) -> Result<Vec<TurnRecord>, StoreError> {
        let query = by_id(TURNS_OF, project.as_bytes())
            .bind(before.as_ref().map(|id| id.as_bytes().as_slice()))
            .bind(limit);
        self.all(query, turn).await
    }

    #[instrument(name = "store.turn.hunks", level = "debug", skip_all)]
    async fn hunks_of(&self, turn: TurnId) -> Result<Vec<HunkRecord>, StoreError> {
        self.all(by_id(HUNKS_OF, turn.as_bytes()), hunk).await
    }

    #[instrument(name = "store.turn.unfinished", level = "debug", skip_all)]
    async fn unfinished_turns(&self) -> Result<Vec<TurnRecord>, StoreError> {
        self.all(sqlx::query(UNFINISHED_TURNS), turn).await
    }
}

/// How many updates are kept aside, and their bytes.
pub(crate) async fn count_quarantine(connection: &mut SqliteConnection) -> Result<(u64, u64), StoreError> {
    let row = sqlx::query(COUNT_QUARANTINE).fetch_one(connection).await.map_err(store_error)?;
    let mut columns = Columns::new("quarantine", &row);
    Ok((columns.number()?, columns.number()?))
}
