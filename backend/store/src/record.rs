//! What is kept, as values.

use std::fmt;

use bytes::Bytes;
use ensemble_protocol::id::{
    DocumentId, HunkId, InviteId, MemberId, NodeId, PeerId, ProjectId, Role, SessionId, TokenId, TurnId,
    Version,
};
use ensemble_protocol::rest::{HunkState, Review, TurnStatus};
use time::OffsetDateTime;

/// The SHA-256 hash of a secret, or of a text. Secrets themselves are never stored.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Hash(pub [u8; 32]);

impl fmt::Debug for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A hash of a secret opens nothing, but a log is no place for all of it either.
        write!(f, "Hash({:02x}{:02x}..)", self.0[0], self.0[1])
    }
}

/// Makes an enum whose variants are stored as words.
macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $word:literal,)* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum $name {
            $($(#[$variant_doc])* $variant,)*
        }

        impl $name {
            /// The word it is written as, in SQL and on the wire.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $word,)*
                }
            }

            /// Reads the word; `None` when it is another.
            pub fn from_word(word: &str) -> Option<Self> {
                match word {
                    $($word => Some(Self::$variant),)*
                    _ => None,
                }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }
    };
}

/// A set of documents people open together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Project {
    /// Its id.
    pub id: ProjectId,
    /// Its name.
    pub name: String,
    /// The document the file tree, members, agents and settings are replicated in.
    pub tree: DocumentId,
    /// The document the turns are replicated in.
    pub turns: DocumentId,
    /// When it was made.
    pub created_at: OffsetDateTime,
}

/// A person: one per account or guest cookie, across projects.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// Their id.
    pub id: MemberId,
    /// The name others see.
    pub name: String,
    /// The color others see, as `#rrggbb`.
    pub color: String,
    /// When they first came.
    pub created_at: OffsetDateTime,
}

/// What a person may do in a project.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Membership {
    /// The project.
    pub project: ProjectId,
    /// The person.
    pub member: MemberId,
    /// What they may do.
    pub role: Role,
    /// When they joined.
    pub created_at: OffsetDateTime,
    /// The link that gave them the role; none where a person did.
    pub invite: Option<InviteId>,
}

/// A sign-in of a browser.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Session {
    /// Its id.
    pub id: SessionId,
    /// Who is signed in.
    pub member: MemberId,
    /// Hash of the cookie.
    pub hash: Hash,
    /// When it began.
    pub created_at: OffsetDateTime,
    /// When it was last used, as far as that was recorded.
    pub last_seen_at: OffsetDateTime,
    /// When it ends.
    pub expires_at: OffsetDateTime,
}

/// A bearer token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Token {
    /// Its id.
    pub id: TokenId,
    /// Hash of the secret.
    pub hash: Hash,
    /// Whose rights it carries.
    pub member: MemberId,
    /// The only project it opens, or every project of the member.
    pub project: Option<ProjectId>,
    /// The most it may do, however much the member may.
    pub role: Role,
    /// What its owner calls it.
    pub name: String,
    /// When it was made.
    pub created_at: OffsetDateTime,
    /// When it ends, if ever.
    pub expires_at: Option<OffsetDateTime>,
}

/// An invite link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invite {
    /// Its id.
    pub id: InviteId,
    /// The project it opens.
    pub project: ProjectId,
    /// What those who use it may do.
    pub role: Role,
    /// Hash of the secret in the link.
    pub hash: Hash,
    /// Who made it.
    pub created_by: MemberId,
    /// When it was made.
    pub created_at: OffsetDateTime,
    /// When it stops working, if ever.
    pub expires_at: Option<OffsetDateTime>,
    /// How often it may be used, if limited.
    pub max_uses: Option<u32>,
    /// How often it was used.
    pub uses: u32,
    /// When it was revoked, if it was.
    pub revoked_at: Option<OffsetDateTime>,
}

impl Invite {
    /// Whether somebody could use it at this time.
    pub fn works_at(&self, now: OffsetDateTime) -> bool {
        self.revoked_at.is_none()
            && self.expires_at.is_none_or(|end| now < end)
            && self.max_uses.is_none_or(|most| self.uses < most)
    }
}

words! {
    /// What a document is for.
    DocumentKind {
        /// A text people edit.
        Text = "text",
        /// The replica of the file tree.
        Tree = "tree",
        /// The replica of the turns.
        Turns = "turns",
    }
}

/// One CRDT document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Document {
    /// Its id, never reused.
    pub id: DocumentId,
    /// The project it belongs to.
    pub project: ProjectId,
    /// Its path; empty for replicas.
    pub path: String,
    /// What it is for.
    pub kind: DocumentKind,
    /// Raised when it starts afresh.
    pub epoch: u32,
    /// Number of the last update in the log, 0 before the first.
    pub last_seq: u64,
    /// When it was made.
    pub created_at: OffsetDateTime,
    /// When it was deleted, if it was. Its log is kept.
    pub deleted_at: Option<OffsetDateTime>,
}

impl Document {
    /// The state after the last update in the log.
    pub const fn version(&self) -> Version {
        Version { epoch: self.epoch, seq: self.last_seq }
    }
}

/// Who made an update.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Author {
    /// The person who wrote it; for a turn, who asked for it.
    pub member: Option<MemberId>,
    /// The connection it came over.
    pub connection: Option<PeerId>,
    /// The turn that wrote it, if it was not typed.
    pub turn: Option<TurnId>,
    /// Who handed it in, when that is not who wrote it: a peer giving back what the server had lost.
    pub via: Option<MemberId>,
}

/// Which run of which server committed an update, and as its which one. Never the same twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Stamp {
    /// The run of the server.
    pub node: NodeId,
    /// Counts up within that run.
    pub counter: u64,
}

/// An update in the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredUpdate {
    /// The epoch it belongs to.
    pub epoch: u32,
    /// Its number in the document, from 1, without gaps.
    pub seq: u64,
    /// Who made it.
    pub author: Author,
    /// The bytes, as admitted.
    pub bytes: Bytes,
    /// When it was committed.
    pub at: OffsetDateTime,
    /// The stamp it was committed under.
    pub stamp: Stamp,
}

/// The whole state of a document at some version, so that loading need not read the log from its start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// The epoch it belongs to.
    pub epoch: u32,
    /// The last update that is in it.
    pub seq: u64,
    /// The state, as one update.
    pub bytes: Bytes,
    /// Hash of the text it gives, to compare after decoding.
    pub text_hash: Hash,
    /// When it was made.
    pub created_at: OffsetDateTime,
}

/// Everything a room needs to come to life.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoadedDocument {
    /// The document.
    pub document: Document,
    /// Its newest undamaged snapshot.
    pub snapshot: Option<Snapshot>,
    /// All updates after the snapshot, or all there are: without gaps up to `document.last_seq`.
    pub updates: Vec<StoredUpdate>,
}

/// What can still be read of a document whose log is damaged.
#[derive(Debug)]
pub struct ReadableDocument {
    /// The document.
    pub document: Document,
    /// Its newest undamaged snapshot.
    pub snapshot: Option<Snapshot>,
    /// The updates after the snapshot, without gaps, up to the first damaged one.
    pub updates: Vec<StoredUpdate>,
    /// What ends them: [`StoreError::Corrupt`](crate::StoreError::Corrupt), or `None` when all is well.
    pub damage: Option<crate::StoreError>,
}

/// An update that is not to be applied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Quarantined {
    /// The document it was for.
    pub document: DocumentId,
    /// Who sent it, where that is known.
    pub member: Option<MemberId>,
    /// The hash of its bytes.
    pub hash: Hash,
    /// Its bytes; empty where only the hash is known.
    pub bytes: Bytes,
    /// What it did, or would do, in words.
    pub reason: String,
    /// When it was put away.
    pub at: OffsetDateTime,
}

/// How the last run of a server on this database ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Recovery {
    /// The last run did not close the database: it was killed, it crashed, the power went, or it could
    /// not write what it had. `false` for a new database.
    pub unclean_stop: bool,
    /// When a backup was last restored into this database, if ever. People may hold what is newer than
    /// the backup.
    pub restored_at: Option<OffsetDateTime>,
    /// The server run that had the database last, where it said so.
    pub previous_node: Option<NodeId>,
}

/// Whom a Yjs client id belongs to in a document.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ClientOwner {
    /// A person.
    Member(MemberId),
    /// A turn, which writes under ids of its own.
    Turn(TurnId),
    /// The server itself.
    Server,
    /// Not known yet: a peer gave back what somebody else had typed before a crash. Its owner is whoever
    /// comes back and writes on under it.
    Nobody,
}

impl fmt::Display for ClientOwner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Member(member) => write!(f, "member {member}"),
            Self::Turn(turn) => write!(f, "turn {turn}"),
            Self::Server => f.write_str("server"),
            Self::Nobody => f.write_str("nobody"),
        }
    }
}

/// A Yjs client id that has been used, or reserved, in a document.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClientRecord {
    /// The client id.
    pub client: u64,
    /// Whom it belongs to.
    pub owner: ClientOwner,
    /// The clock its next item will have.
    pub next_clock: u32,
}

words! {
    /// What a ledger entry says happened.
    LedgerKind {
        /// The turn inserted this range of ids.
        Inserted = "inserted",
        /// The turn deleted this range of ids; the entry keeps their text.
        Deleted = "deleted",
        /// A review took this range away; the entry keeps its text.
        Withdrawn = "withdrawn",
        /// A review put text back, as this new range of ids, which stands for an older one.
        Restored = "restored",
        /// Somebody wanted this range gone that a turn or a review had taken away before.
        AlsoDeleted = "also_deleted",
    }
}

/// Who did what a ledger entry says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LedgerActor {
    /// A turn; for a review, the turn that was reviewed.
    Turn(TurnId),
    /// A person, who wanted something gone that a turn had taken away.
    Member(MemberId),
}

/// What was done to one range of ids of a document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LedgerEntry {
    /// Who did it.
    pub by: LedgerActor,
    /// The hunk of the turn, where it was one.
    pub hunk: Option<HunkId>,
    /// What happened.
    pub kind: LedgerKind,
    /// Client id of the range.
    pub client: u64,
    /// First clock of the range.
    pub clock: u32,
    /// How many ids, that is UTF-16 units.
    pub length: u32,
    /// The text that was there, for what was deleted.
    pub text: Option<String>,
    /// For what came back: client and first clock of the range it stands for, never itself one that came back.
    pub of: Option<(u64, u32)>,
}

impl LedgerEntry {
    /// The turn, where one did it.
    pub const fn turn(&self) -> Option<TurnId> {
        match self.by {
            LedgerActor::Turn(turn) => Some(turn),
            LedgerActor::Member(_) => None,
        }
    }
}

/// A ledger entry, and where it stands in the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredLedgerEntry {
    /// The document.
    pub document: DocumentId,
    /// The update it was committed with; for an entry that grew, the first one.
    pub version: Version,
    /// What happened.
    pub entry: LedgerEntry,
}

/// Why a turn failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TurnError {
    /// A stable word.
    pub code: String,
    /// What to tell a person.
    pub detail: String,
}

/// One prompt given to an agent and everything it did.
#[derive(Debug, Clone, PartialEq)]
pub struct TurnRecord {
    /// Its id.
    pub id: TurnId,
    /// The project.
    pub project: ProjectId,
    /// The agent's id, as in the tree replica.
    pub agent: String,
    /// Who asked.
    pub by: MemberId,
    /// What was asked.
    pub prompt: String,
    /// How far it is.
    pub status: TurnStatus,
    /// Documents it was shown or wrote to.
    pub documents: Vec<DocumentId>,
    /// What the model said beside its edits.
    pub answer: String,
    /// What it cost, as the model reported it.
    pub usage: Option<serde_json::Value>,
    /// Why it failed, if it did.
    pub error: Option<TurnError>,
    /// What people said to its edits.
    pub review: Review,
    /// The server run that works on it.
    pub node: NodeId,
    /// When it was asked.
    pub created_at: OffsetDateTime,
    /// When it was over.
    pub finished_at: Option<OffsetDateTime>,
}

/// One located piece of a turn's answer.
#[derive(Debug, Clone, PartialEq)]
pub struct HunkRecord {
    /// The turn.
    pub turn: TurnId,
    /// Its number in the turn.
    pub hunk: HunkId,
    /// The document, where it names one that exists.
    pub document: Option<DocumentId>,
    /// The path the model named.
    pub path: String,
    /// What became of it.
    pub state: HunkState,
    /// Where it begins, as a Yjs RelativePosition in JSON.
    pub anchor: Option<serde_json::Value>,
    /// Where it ends, as a Yjs RelativePosition in JSON.
    pub head: Option<serde_json::Value>,
    /// UTF-16 units inserted.
    pub inserted: u32,
    /// UTF-16 units deleted.
    pub deleted: u32,
    /// Line it begins at when it was applied, from 1.
    pub line: Option<u32>,
    /// Why it was missed.
    pub reason: Option<String>,
}
