//! Comparing the live text with what a reload gives, off the actor, so that nobody waits for it.
//!
//! It is done before a snapshot is kept, when a document with news is quiet for a while, and before its room closes.
//! The two never differ; where they do, memory is wrong or something got past admission. Then the room is made again
//! from its log, which is not touched.

use bytes::Bytes;
use ensemble_protocol::limits;
use ensemble_store::Hash;
use tokio::time::Instant;

use super::{Content, RoomActor};
use crate::document::{ReplicaDocument, snapshot_is_good, text_hash};

/// What is reloaded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// A text.
    Text,
    /// A replica.
    Replica,
}

/// What a reload gave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reload {
    /// The same.
    Same,
    /// Something else, or nothing.
    Differs,
}

impl RoomActor {
    pub(super) fn kind(&self) -> Kind {
        match self.content {
            Content::Text(_) => Kind::Text,
            Content::Replica(_) => Kind::Replica,
        }
    }

    /// Something was written.
    pub(super) fn changed(&mut self) {
        self.changes += 1;
        self.uncompared = Some(Instant::now());
    }

    /// Compares, where something was written since the last time and nothing for a while. With many documents that
    /// become quiet at once it comes to each in its turn.
    pub(super) fn compare_when_quiet(&mut self) {
        let quiet = self.uncompared.is_some_and(|since| since.elapsed() >= limits::COMPARE_QUIET);
        if !quiet || !self.pending.is_empty() || self.writing {
            return;
        }
        let Some(turn) = self.registry.turn_to_compare() else { return };
        self.uncompared = None;
        let (bytes, hash) = self.snapshot();
        let (kind, differs, document) = (self.kind(), self.differs.clone(), self.document);
        let consistent = self.is_consistent();
        self.registry.tasks().spawn(async move {
            if !consistent || reload(kind, bytes, hash).await == Reload::Differs {
                tracing::error!(document.id = %document, "the live document is not what a reload gives");
                differs.notify_one();
            }
            drop(turn);
        });
    }

    /// Compares before the room closes. Where the two differ it is made again from the log anyway.
    pub(super) async fn compare_at_last(&mut self) {
        self.uncompared = None;
        let (bytes, hash) = self.snapshot();
        if !self.is_consistent() || reload(self.kind(), bytes, hash).await == Reload::Differs {
            tracing::error!(document.id = %self.document, "the live document was not what a reload gives");
        }
    }

    /// As if memory had changed by itself, a while ago.
    #[cfg(test)]
    pub(crate) fn garble(&mut self) {
        if let Content::Text(text) = &mut self.content {
            text.garble();
        }
        self.uncompared = Instant::now().checked_sub(limits::COMPARE_QUIET);
    }

    fn is_consistent(&self) -> bool {
        match &self.content {
            Content::Text(text) => text.is_consistent(),
            Content::Replica(_) => true,
        }
    }

    /// Ends the room, so that it is made again from the log, unless that was done not long ago and did not help.
    pub(super) fn rebuild(&mut self) {
        let document = self.document;
        if self.registry.may_rebuild(document) {
            tracing::error!(document.id = %document, "a document is made again from its log");
            self.failed = true;
        } else {
            tracing::error!(document.id = %document, "a document was made again from its log and differs still");
        }
    }
}

/// Loads a document's state on its own and compares what comes of it.
pub(super) async fn reload(kind: Kind, bytes: Bytes, hash: Hash) -> Reload {
    let good = tokio::task::spawn_blocking(move || match kind {
        Kind::Text => snapshot_is_good(&bytes, hash),
        Kind::Replica => {
            let mut replica = ReplicaDocument::new(2);
            replica.load(0, &bytes).is_ok() && text_hash(&replica.canonical()) == hash
        }
    });
    match good.await {
        Ok(true) => Reload::Same,
        // The program ends; nothing was compared.
        Err(error) if error.is_cancelled() => Reload::Same,
        Ok(false) | Err(_) => Reload::Differs,
    }
}
