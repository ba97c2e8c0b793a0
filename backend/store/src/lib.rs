//! What is kept.
//!
//! [`Store`] is the contract; [`SqliteStore`] keeps it in one file. Read `record` (what is kept), `write`
//! (what is written), the trait below, then `group_commit` and `sqlite`. `history` packs old log rows,
//! [`backup`] copies a database and puts it back, [`quarantine`] is what was kept aside, `in_flight` remembers across a crash what was being
//! applied. `clock` has the time and the ids everybody is given.
//!
//! The store knows bytes, numbers and rows. What an update means is left to `sync`, who may do what to
//! `server`.

pub mod backup;
mod clock;
mod error;
mod group_commit;
mod history;
mod in_flight;
pub mod migrate;
pub mod quarantine;
mod record;
mod sqlite;
mod write;

use async_trait::async_trait;
use bytes::Bytes;
use ensemble_protocol::id::{DocumentId, HunkId, InviteId, MemberId, ProjectId, TokenId, TurnId, Version};
use time::OffsetDateTime;
use tokio::sync::watch;

pub use ensemble_protocol::rest::{HunkState, Review, TurnStatus};

pub use crate::clock::{Clock, Ids, ManualClock, SeededIds, SystemClock, SystemIds};
pub use crate::error::{Conflict, StoreError};
pub use crate::in_flight::{InFlight, Slot};
pub use crate::record::{
    Author, ClientOwner, ClientRecord, Document, DocumentKind, Hash, HunkRecord, Invite, LedgerActor,
    LedgerEntry, LedgerKind, LoadedDocument, Member, Membership, Project, Quarantined, ReadableDocument,
    Recovery, Session, Snapshot, Stamp, StoredLedgerEntry, StoredUpdate, Token, TurnError, TurnRecord,
};
pub use crate::sqlite::SqliteStore;
pub use crate::write::{Change, ClientAdvance, Commit, Committed, NewSnapshot, NewUpdate, TurnUpdate, Write};

/// Whether writes are being committed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Health {
    /// They are.
    Healthy,
    /// They wait, in order, until the database works again. Reading may go on.
    Degraded {
        /// Since when.
        since: OffsetDateTime,
        /// What the database says.
        why: String,
    },
}

/// What is kept, and the promises about it.
///
/// - **Committed means on disk.** An answer comes only after the commit, and a crash at any moment loses
///   nothing that was answered.
/// - **All or nothing.** A [`Write`] is committed whole or not at all, and one that conflicts disturbs no
///   other.
/// - **Gapless.** The updates of a document are numbered from 1 in the order of their commits.
/// - **First in, first out.** Writes are committed in the order [`submit`](Store::submit) took them.
/// - **Once.** A write that is sent again under the same stamps is answered with its first outcome.
/// - While the database cannot write, nothing is refused and nothing forgotten: writes wait in a bounded
///   queue, [`health`](Store::health) says so, and `submit` waits when the queue is full.
#[async_trait]
pub trait Store: Send + Sync + 'static {
    /// Hands in a write, and gives back its answer to wait for.
    ///
    /// Waits while the queue is full. Dropped before it returns, nothing was handed in.
    async fn submit(&self, write: Write) -> Result<Commit, StoreError>;

    /// Whether [`submit`](Store::submit) would take a write at once, with some to spare for whoever else asks.
    fn has_room(&self) -> bool;

    /// Hands in a write and waits for its answer, which takes as long as the database does.
    ///
    /// Once handed in, dropping this future does not take the write back.
    async fn commit(&self, write: Write) -> Result<Committed, StoreError> {
        self.submit(write).await?.await
    }

    /// Keeps a snapshot, and of the document's snapshots the newest three.
    async fn put_snapshot(&self, snapshot: NewSnapshot) -> Result<(), StoreError> {
        self.commit(Write::changes([Change::PutSnapshot(snapshot)])).await.map(drop)
    }

    /// Keeps aside an update that is not applied, and of all documents' only as many as [`quarantine`] says.
    async fn put_quarantine(
        &self,
        document: DocumentId,
        member: Option<MemberId>,
        hash: Hash,
        bytes: Bytes,
        reason: &str,
    ) -> Result<(), StoreError> {
        let change = Change::Quarantine { document, member, hash, bytes, reason: reason.to_owned() };
        self.commit(Write::changes([change])).await.map(drop)
    }

    /// Counts a failed attempt to load a document, and tells how many there were in a row.
    async fn note_load_failure(&self, document: DocumentId) -> Result<u32, StoreError> {
        self.commit(Write::changes([Change::NoteLoadFailure { document }])).await?;
        self.load_failures(document).await
    }

    /// Forgets failed attempts to load a document.
    async fn clear_load_failures(&self, document: DocumentId) -> Result<(), StoreError> {
        self.commit(Write::changes([Change::ClearLoadFailures { document }])).await.map(drop)
    }

    /// How the last run of a server on this database ended, as it was found at opening.
    fn recovery(&self) -> Recovery;

    /// Whether writes are being committed, now and from now on.
    fn health(&self) -> watch::Receiver<Health>;

    /// Whether the database answers a read.
    async fn ping(&self) -> Result<(), StoreError>;

    /// Commits what was handed in, then takes nothing more.
    ///
    /// Where the database cannot write it gives up after a few seconds; what was not committed is then
    /// answered with [`StoreError::Unavailable`].
    async fn close(&self);

    /// Whether there is any project.
    async fn has_projects(&self) -> Result<bool, StoreError>;

    /// A project.
    async fn project(&self, id: ProjectId) -> Result<Option<Project>, StoreError>;

    /// The projects of a person, the newest membership first.
    async fn projects_of(&self, member: MemberId) -> Result<Vec<(Project, Membership)>, StoreError>;

    /// A person.
    async fn member(&self, id: MemberId) -> Result<Option<Member>, StoreError>;

    /// The people of a project, in the order they joined.
    async fn members_of(&self, project: ProjectId) -> Result<Vec<(Member, Membership)>, StoreError>;

    /// What a person may do in a project.
    async fn membership(
        &self,
        project: ProjectId,
        member: MemberId,
    ) -> Result<Option<Membership>, StoreError>;

    /// The session with this hash, unless it is over.
    async fn session_by_hash(&self, hash: Hash) -> Result<Option<Session>, StoreError>;

    /// The sign-ins of a person that are not over, the last used first.
    async fn sessions_of(&self, member: MemberId) -> Result<Vec<Session>, StoreError>;

    /// The token with this hash, unless it is over.
    async fn token_by_hash(&self, hash: Hash) -> Result<Option<Token>, StoreError>;

    /// A token, unless it is over.
    async fn token(&self, id: TokenId) -> Result<Option<Token>, StoreError>;

    /// Up to `limit` tokens of a person that are not over, newest first.
    async fn tokens_of(&self, member: MemberId, limit: u32) -> Result<Vec<Token>, StoreError>;

    /// An invite, whether or not it still works.
    async fn invite(&self, id: InviteId) -> Result<Option<Invite>, StoreError>;

    /// The invite with this hash, whether or not it still works.
    async fn invite_by_hash(&self, hash: Hash) -> Result<Option<Invite>, StoreError>;

    /// The link for owners that was made in one commit with its project, unless it is revoked.
    async fn first_link(&self) -> Result<Option<Invite>, StoreError>;

    /// The invites of a project, newest first.
    async fn invites_of(&self, project: ProjectId) -> Result<Vec<Invite>, StoreError>;

    /// A document, also a deleted one.
    async fn document(&self, id: DocumentId) -> Result<Option<Document>, StoreError>;

    /// The live texts of a project, by path. Replicas are not among them.
    async fn documents_of(&self, project: ProjectId) -> Result<Vec<Document>, StoreError>;

    /// A document's newest undamaged snapshot and all updates after it, read at one moment; also of a
    /// deleted document.
    ///
    /// A damaged snapshot is passed over for an older one and more of the log. A damaged update, or a
    /// missing one, is [`StoreError::Corrupt`].
    async fn load_document(&self, id: DocumentId) -> Result<Option<LoadedDocument>, StoreError>;

    /// A document as it was at a version: its newest undamaged snapshot up to there, and the updates after
    /// that up to the version, read at one moment.
    ///
    /// `None` where there is no such document or version, and where more than `limit` updates would have to
    /// be read. Damage is answered as by [`load_document`](Self::load_document).
    async fn load_version(
        &self,
        id: DocumentId,
        version: Version,
        limit: u32,
    ) -> Result<Option<LoadedDocument>, StoreError>;

    /// What can be read of a document whose log is damaged: its newest undamaged snapshot and what
    /// follows it up to the first damaged or missing update.
    ///
    /// For opening it read-only when [`load_document`](Self::load_document) says
    /// [`StoreError::Corrupt`], or when loading it ends in a crash.
    async fn load_readable(&self, id: DocumentId) -> Result<Option<ReadableDocument>, StoreError>;

    /// Up to `limit` updates of the document's epoch with numbers above `seq`, in order, wherever they
    /// are kept.
    async fn updates_after(
        &self,
        document: DocumentId,
        seq: u64,
        limit: u32,
    ) -> Result<Vec<StoredUpdate>, StoreError>;

    /// Up to `limit` updates of the document's epoch from the number `from_seq` on, in order, from the
    /// live log and from history segments alike. Numbers begin at 1.
    async fn history(
        &self,
        document: DocumentId,
        from_seq: u64,
        limit: u32,
    ) -> Result<Vec<StoredUpdate>, StoreError> {
        self.updates_after(document, from_seq.saturating_sub(1), limit).await
    }

    /// The updates of a document that are not to be applied, the oldest first.
    async fn quarantined(&self, document: DocumentId) -> Result<Vec<Quarantined>, StoreError>;

    /// How often in a row a document could not be loaded.
    async fn load_failures(&self, document: DocumentId) -> Result<u32, StoreError>;

    /// The client ids used or reserved in a document, by id.
    async fn clients_of(&self, document: DocumentId) -> Result<Vec<ClientRecord>, StoreError>;

    /// What a turn did, in the order it was committed within each document; reviews included.
    async fn ledger_of_turn(&self, turn: TurnId) -> Result<Vec<StoredLedgerEntry>, StoreError>;

    /// What the ledger says of a document, in the order it was committed.
    async fn ledger_of_document(&self, document: DocumentId) -> Result<Vec<StoredLedgerEntry>, StoreError>;

    /// The same without the texts.
    async fn ledger_outline(&self, document: DocumentId) -> Result<Vec<StoredLedgerEntry>, StoreError>;

    /// The hunks that count as never written, of the turns that wrote in a document: the rejected ones and those
    /// that were taken back while their turn was at work.
    async fn undone_hunks(&self, document: DocumentId) -> Result<Vec<(TurnId, HunkId)>, StoreError>;

    /// A turn.
    async fn turn(&self, id: TurnId) -> Result<Option<TurnRecord>, StoreError>;

    /// Up to `limit` turns of a project, newest first; with `before`, only those older than that one.
    async fn turns_of(
        &self,
        project: ProjectId,
        limit: u32,
        before: Option<TurnId>,
    ) -> Result<Vec<TurnRecord>, StoreError>;

    /// The hunks of a turn, in order.
    async fn hunks_of(&self, turn: TurnId) -> Result<Vec<HunkRecord>, StoreError>;

    /// Turns that are not over, oldest first: after a start, those a server left behind.
    async fn unfinished_turns(&self) -> Result<Vec<TurnRecord>, StoreError>;
}
