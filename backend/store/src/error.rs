//! What can go wrong, said in terms of what the caller can do about it.

use std::path::PathBuf;

use ensemble_protocol::id::{DocumentId, TurnId};

use crate::record::ClientOwner;

type Cause = Box<dyn std::error::Error + Send + Sync>;

/// Why something could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The write names something that is not there (a lookup answers `None` instead).
    #[error("{what} does not exist")]
    NotFound {
        /// What is missing, ready to be read by a person.
        what: String,
    },
    /// The write does not fit what is there. Nothing of it was written. Sending it again as it is will
    /// not help; what is there has to be read first.
    #[error("{what}")]
    Conflict {
        /// What it collided with.
        what: Conflict,
    },
    /// The database cannot work at the moment: disk full, input or output failed, locked.
    /// The same call may succeed later.
    #[error("the database is not available: {why}")]
    Unavailable {
        /// What the database said.
        why: String,
        /// The cause, where there is one.
        #[source]
        source: Option<Cause>,
    },
    /// A stored row makes no sense or its checksum is wrong. Reading it again will not help.
    #[error("row {id} of `{table}` is damaged")]
    Corrupt {
        /// Table the row is in.
        table: &'static str,
        /// Its key, as far as it could be read.
        id: String,
    },
    /// The database refused a value. This is a mistake in the program, not in the data.
    #[error("the database refused the write: {why}")]
    Refused {
        /// What the database said.
        why: String,
        /// The cause.
        #[source]
        source: Option<Cause>,
    },
    /// The store was closed. Nothing more is taken.
    #[error("the store is closed")]
    Closed,
    /// Another process has this database open.
    #[error("the database `{}` is in use by another process; stop it, or give this one a data folder of its own", path.display())]
    InUse {
        /// The database file.
        path: PathBuf,
    },
    /// The database was written by a newer program, which this one does not understand.
    #[error(
        "the database has the migration {version}, which this program does not know: it was written by a newer version of Ensemble; install that one, or restore a backup"
    )]
    NewerSchema {
        /// First unknown migration.
        version: i64,
    },
    /// A migration could not be applied. The database is as it was before it.
    #[error("migration {version} could not be applied: {why}")]
    Migration {
        /// The migration, 0 when it could not be told.
        version: i64,
        /// What went wrong.
        why: String,
        /// The cause, where there is one.
        #[source]
        source: Option<Cause>,
    },
}

impl StoreError {
    /// Whether the same call may succeed later.
    pub fn is_unavailable(&self) -> bool {
        matches!(self, Self::Unavailable { .. })
    }

    /// What the write collided with, when that is why it failed.
    pub fn conflict(&self) -> Option<&Conflict> {
        match self {
            Self::Conflict { what } => Some(what),
            _ => None,
        }
    }

    pub(crate) fn not_found(what: impl Into<String>) -> Self {
        Self::NotFound { what: what.into() }
    }

    pub(crate) fn corrupt(table: &'static str, id: impl Into<String>) -> Self {
        Self::Corrupt { table, id: id.into() }
    }
}

impl From<Conflict> for StoreError {
    fn from(what: Conflict) -> Self {
        Self::Conflict { what }
    }
}

/// What a write collided with.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Conflict {
    /// A live document of the project has this path.
    #[error("there is already a document at this path")]
    PathTaken,
    /// The client's clock in the database is not where the update starts. Somebody else's commit, or an
    /// earlier copy of this update, came first.
    #[error("client {client} of document `{document}` is at clock {next_clock}, not at {first}")]
    ClientClock {
        /// The document.
        document: DocumentId,
        /// The Yjs client id.
        client: u64,
        /// Where the update starts.
        first: u32,
        /// Where the client is.
        next_clock: u32,
    },
    /// The client id belongs to somebody else in this document.
    #[error("client {client} of document `{document}` belongs to somebody else")]
    ClientOwned {
        /// The document.
        document: DocumentId,
        /// The Yjs client id.
        client: u64,
        /// Whom it belongs to.
        owner: ClientOwner,
    },
    /// The document is in another epoch.
    #[error("document `{document}` is in epoch {epoch}")]
    Epoch {
        /// The document.
        document: DocumentId,
        /// The epoch it is in.
        epoch: u32,
    },
    /// The invite is expired, used up or revoked.
    #[error("the invite is expired, used up or revoked")]
    InviteInvalid,
    /// The turn is over, and only its review may change.
    #[error("turn `{turn}` is over")]
    TurnFinished {
        /// The turn.
        turn: TurnId,
    },
    /// Only a part of the write's updates was committed before, under the same stamps.
    #[error("a part of this write was committed before")]
    Stamp,
    /// Something with this id or this secret exists.
    #[error("there is already a row like this in `{table}`")]
    Exists {
        /// The table.
        table: &'static str,
    },
}
