//! What is written: rows and updates that are committed together or not at all.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use ensemble_protocol::id::{
    DocumentId, InviteId, MemberId, NodeId, ProjectId, Role, SessionId, TokenId, TurnId, Version,
};
use ensemble_protocol::rest::{Review, TurnStatus};
use time::OffsetDateTime;
use tokio::sync::oneshot;

use crate::error::StoreError;
use crate::record::{
    Author, ClientOwner, DocumentKind, Hash, HunkRecord, LedgerEntry, Stamp, TurnError, TurnRecord,
};

/// One write: all of it is committed, or nothing.
///
/// Changes are made first, in order, then the updates are appended, in order; so an update may be for a
/// document that the same write creates.
#[derive(Debug, Clone, Default)]
pub struct Write {
    /// Rows to change.
    pub changes: Vec<Change>,
    /// Updates to append to documents' logs.
    pub updates: Vec<NewUpdate>,
}

impl Write {
    /// A write of rows alone.
    pub fn changes(changes: impl Into<Vec<Change>>) -> Self {
        Self { changes: changes.into(), updates: Vec::new() }
    }

    /// A write of one update alone.
    pub fn update(update: NewUpdate) -> Self {
        Self { changes: Vec::new(), updates: vec![update] }
    }

    /// Bytes this write takes in a queue, roughly.
    pub fn size_bytes(&self) -> usize {
        let updates: usize = self.updates.iter().map(NewUpdate::size_bytes).sum();
        let changes: usize = self.changes.iter().map(Change::size_bytes).sum();
        updates + changes
    }
}

/// An update to append to a document's log.
#[derive(Debug, Clone)]
pub struct NewUpdate {
    /// The document.
    pub document: DocumentId,
    /// The epoch the update was made in; another one is a conflict.
    pub epoch: u32,
    /// The bytes, as admitted.
    pub bytes: Bytes,
    /// Who made it.
    pub author: Author,
    /// Client ids whose clocks it advances.
    pub clients: Vec<ClientAdvance>,
    /// What turns did in it.
    pub ledger: Vec<LedgerEntry>,
    /// Which update of which server run this is. A stamp that is known is answered with its first
    /// outcome, so a write whose fate is unknown may be sent again.
    pub stamp: Stamp,
}

impl NewUpdate {
    fn size_bytes(&self) -> usize {
        let ledger: usize =
            self.ledger.iter().map(|entry| 64 + entry.text.as_ref().map_or(0, String::len)).sum();
        self.bytes.len() + 32 * self.clients.len() + ledger
    }
}

/// Moves a client's clock from `first` to `next`, which it must stand at.
///
/// A client that is not known stands at 0. `first = next` moves nothing but makes the owner known, so
/// that an id can be reserved before it is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClientAdvance {
    /// The Yjs client id.
    pub client: u64,
    /// Clock of the update's first item of this client.
    pub first: u32,
    /// Clock after the update's last item of this client.
    pub next: u32,
    /// Whom the id belongs to. The first advance settles it; later ones must say the same, also when
    /// somebody else hands the update in (then `Author::via` names them).
    pub owner: ClientOwner,
}

/// A change of rows.
#[derive(Debug, Clone)]
pub enum Change {
    /// Makes a person known.
    CreateMember {
        /// Their id.
        id: MemberId,
        /// The name others see.
        name: String,
        /// The color others see, as `#rrggbb`.
        color: String,
    },
    /// Gives a person another name.
    RenameMember {
        /// The person.
        id: MemberId,
        /// The new name.
        name: String,
    },
    /// Signs a browser in.
    CreateSession {
        /// Its id.
        id: SessionId,
        /// Who is signed in.
        member: MemberId,
        /// Hash of the cookie.
        hash: Hash,
        /// When it ends.
        expires_at: OffsetDateTime,
    },
    /// Records that a session was used, and lets it last longer.
    TouchSession {
        /// The session.
        id: SessionId,
        /// When it ends now.
        expires_at: OffsetDateTime,
    },
    /// Signs a browser out. No harm if it is signed out already.
    DeleteSession {
        /// The session.
        id: SessionId,
    },
    /// Makes a bearer token.
    CreateToken {
        /// Its id.
        id: TokenId,
        /// Hash of the secret.
        hash: Hash,
        /// Whose rights it carries.
        member: MemberId,
        /// The only project it opens, or every project of the member.
        project: Option<ProjectId>,
        /// The most it may do.
        role: Role,
        /// What its owner calls it.
        name: String,
        /// When it ends, if ever.
        expires_at: Option<OffsetDateTime>,
    },
    /// Makes a token useless. No harm if it is gone already.
    DeleteToken {
        /// The token.
        id: TokenId,
    },
    /// Makes a project and the documents of its two replicas, in epoch 1.
    CreateProject {
        /// Its id.
        id: ProjectId,
        /// Its name.
        name: String,
        /// Id for the replica of the file tree.
        tree: DocumentId,
        /// Id for the replica of the turns.
        turns: DocumentId,
    },
    /// Gives a project another name.
    RenameProject {
        /// The project.
        id: ProjectId,
        /// The new name.
        name: String,
    },
    /// Lets a person into a project, or changes what they may do there.
    PutMembership {
        /// The project.
        project: ProjectId,
        /// The person.
        member: MemberId,
        /// What they may do.
        role: Role,
        /// The link that gives them the role; none where a person does, and the link they came by is forgotten.
        invite: Option<InviteId>,
    },
    /// Takes a person out of a project. No harm if they are out already.
    DeleteMembership {
        /// The project.
        project: ProjectId,
        /// The person.
        member: MemberId,
    },
    /// Makes an invite link.
    CreateInvite {
        /// Its id.
        id: InviteId,
        /// The project it opens.
        project: ProjectId,
        /// What those who use it may do.
        role: Role,
        /// Hash of the secret in the link.
        hash: Hash,
        /// Who made it.
        created_by: MemberId,
        /// When it stops working, if ever.
        expires_at: Option<OffsetDateTime>,
        /// How often it may be used, if limited.
        max_uses: Option<u32>,
    },
    /// Uses an invite once. A conflict when it is expired, used up or revoked at the time of the commit.
    UseInvite {
        /// The invite.
        id: InviteId,
    },
    /// Makes an invite useless. No harm if it is already.
    RevokeInvite {
        /// The invite.
        id: InviteId,
    },
    /// Makes a document. A conflict when a live document of the project has the path.
    CreateDocument {
        /// Its id, never used before.
        id: DocumentId,
        /// The project.
        project: ProjectId,
        /// Its path; empty for replicas, of which a project has one each.
        path: String,
        /// What it is for.
        kind: DocumentKind,
        /// Its epoch, from 1.
        epoch: u32,
    },
    /// Gives a document another path. A conflict when a live document of the project has it.
    RenameDocument {
        /// The document.
        id: DocumentId,
        /// The new path.
        path: String,
    },
    /// Takes a document out of its project. Its path becomes free; its log is kept.
    DeleteDocument {
        /// The document.
        id: DocumentId,
    },
    /// Puts a deleted document back at its path, with all that was in it. A conflict when a live document of the
    /// project has the path by now.
    RestoreDocument {
        /// The document.
        id: DocumentId,
    },
    /// Records a turn. Its times are taken as they are, so that its replica can say the same.
    CreateTurn(Box<TurnRecord>),
    /// Changes a turn that is not over; of one that is over only its review.
    UpdateTurn {
        /// The turn.
        id: TurnId,
        /// What is new.
        update: Box<TurnUpdate>,
    },
    /// Records a hunk, or what became of it.
    PutHunk(Box<HunkRecord>),
    /// Keeps a snapshot, and of the document's snapshots the newest three.
    PutSnapshot(NewSnapshot),
    /// Keeps aside an update that is not applied. No harm if it is already. Where more are kept than
    /// [`quarantine`](crate::quarantine) says, the oldest go.
    Quarantine {
        /// The document it is for.
        document: DocumentId,
        /// Who sent it, where that is known.
        member: Option<MemberId>,
        /// The hash of its bytes.
        hash: Hash,
        /// Its bytes; empty where only the hash is known.
        bytes: Bytes,
        /// What it did, in words.
        reason: String,
    },
    /// Counts a failed attempt to load a document.
    NoteLoadFailure {
        /// The document.
        document: DocumentId,
    },
    /// Forgets the failed attempts: the document was loaded. No harm if there were none.
    ClearLoadFailures {
        /// The document.
        document: DocumentId,
    },
    /// Says which run of a server has the database, for [`Recovery::previous_node`] of the next.
    ///
    /// [`Recovery::previous_node`]: crate::Recovery::previous_node
    AnnounceNode {
        /// The run.
        node: NodeId,
    },
}

impl Change {
    fn size_bytes(&self) -> usize {
        /// What a row takes apart from its long texts.
        const ROW_BYTES: usize = 256;
        ROW_BYTES
            + match self {
                Self::CreateTurn(turn) => turn.prompt.len() + turn.answer.len(),
                Self::UpdateTurn { update, .. } => update.answer.as_ref().map_or(0, String::len),
                Self::PutSnapshot(snapshot) => snapshot.bytes.len(),
                Self::Quarantine { bytes, reason, .. } => bytes.len() + reason.len(),
                Self::CreateMember { name, .. }
                | Self::RenameMember { name, .. }
                | Self::CreateProject { name, .. }
                | Self::RenameProject { name, .. }
                | Self::CreateToken { name, .. } => name.len(),
                _ => 0,
            }
    }
}

/// What is new about a turn. What is `None` stays as it is.
#[derive(Debug, Clone, Default)]
pub struct TurnUpdate {
    /// How far it is.
    pub status: Option<TurnStatus>,
    /// All of what the model said so far.
    pub answer: Option<String>,
    /// Documents it was shown or wrote to.
    pub documents: Option<Vec<DocumentId>>,
    /// What it cost.
    pub usage: Option<serde_json::Value>,
    /// Why it failed.
    pub error: Option<TurnError>,
    /// When it was over.
    pub finished_at: Option<OffsetDateTime>,
    /// What people said to it.
    pub review: Option<Review>,
}

/// The state of a document at a version, checked by whoever made it.
#[derive(Debug, Clone)]
pub struct NewSnapshot {
    /// The document.
    pub document: DocumentId,
    /// Its epoch.
    pub epoch: u32,
    /// The last update that is in it.
    pub seq: u64,
    /// The state, as one update.
    pub bytes: Bytes,
    /// Hash of the text it gives.
    pub text_hash: Hash,
}

/// What a commit made of a write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Committed {
    /// The version after each update, in order.
    pub versions: Vec<Version>,
    /// The time it was committed, which its rows carry.
    pub at: OffsetDateTime,
}

/// The answer to a write that waits in the queue.
///
/// Dropping it does not take the write back.
#[derive(Debug)]
#[must_use = "a write is acknowledged only by its answer"]
pub struct Commit(oneshot::Receiver<Result<Committed, StoreError>>);

impl Commit {
    /// The two ends of an answer.
    ///
    /// An end that is dropped unanswered reads as [`StoreError::Closed`]: nobody knows what became of
    /// the write, and sending it again under the same stamps is safe.
    pub fn channel() -> (oneshot::Sender<Result<Committed, StoreError>>, Self) {
        let (sender, receiver) = oneshot::channel();
        (sender, Self(receiver))
    }
}

impl Future for Commit {
    type Output = Result<Committed, StoreError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.0).poll(context).map(|answer| answer.unwrap_or(Err(StoreError::Closed)))
    }
}
