//! What waits for the database, and what happens after: acknowledgements, own edits, snapshots.

use std::sync::Arc;

use bytes::Bytes;
use ensemble_protocol::limits;
use ensemble_protocol::sync::SyncMessage;
use ensemble_store::{Change, Committed, Hash, NewSnapshot, Store, StoreError, Write};

use super::compare::{Kind, Reload, reload};
use super::{Content, Pending, RoomActor, RowsTold, Then};
use crate::admission::Admitted;
use crate::document::text_hash;
use crate::error::RoomError;
use crate::registry::Vitals;
use crate::room::Written;
use crate::room::frames::{self, News};
use crate::writer::new_client;

impl RoomActor {
    /// Hands a write to the store. Waits while the store's queue is full, unless the room is stopped.
    pub(super) async fn submit(&mut self, write: Write, bytes: usize, then: Then) {
        // A room that was replaced while it stalled must not write beside the one that took its place.
        self.vitals(Vitals::rest);
        if self.is_replaced() {
            return self.fail(then, StoreError::Closed);
        }
        let stop = self.stop.clone();
        let store = self.registry.options().store.clone();
        let submitted = tokio::select! {
            biased;
            submitted = store.submit(write) => submitted,
            () = stop.cancelled() => Err(StoreError::Closed),
        };
        self.vitals(Vitals::begin);
        match submitted {
            Ok(commit) => {
                self.pending_bytes += bytes;
                self.pending.push_back(Pending { commit: Some(commit), bytes, then });
            }
            Err(error) => self.fail(then, error),
        }
    }

    /// The first of what is pending was committed, or not.
    pub(super) async fn committed(&mut self, outcome: Result<Option<Committed>, StoreError>) {
        let Some(done) = self.pending.pop_front() else { return };
        self.pending_bytes -= done.bytes;
        self.bytes_since_snapshot += done.bytes;
        match outcome {
            Ok(committed) => self.finish(done.then, committed),
            Err(error) => self.fail(done.then, error),
        }
        // What only waited for its turn is answered in the same breath. After a failure it speaks of text that is
        // not in the log: nobody is told so, and who reads is told that the room has closed.
        while let Some(next) = self.pending.pop_front_if(|next| next.commit.is_none()) {
            if !self.failed {
                self.finish(next.then, None);
            }
        }
        self.serve_deferred().await;
        self.take_waiting().await;
        // What was served has begun something; from here on the actor waits.
        self.vitals(Vitals::rest);
    }

    /// Hands in rows that change no text, if any. Server-made edits behind them wait, since what those do may
    /// depend on them.
    pub(super) async fn submit_rows(&mut self, changes: Vec<Change>, told: RowsTold) {
        if changes.is_empty() {
            return told(Ok(()));
        }
        self.writing = true;
        self.submit(Write::changes(changes), 0, Then::Rows(told)).await;
    }

    /// Handles what waited for a server-made edit, until there is another one.
    pub(super) async fn serve_deferred(&mut self) {
        while !self.writing
            && !self.failed
            && let Some(message) = self.deferred.pop_front()
        {
            self.serve(message).await;
        }
    }

    /// Whether everything in the log up to the version is in the document.
    pub(super) fn is_whole(&self) -> bool {
        self.rows == self.version.seq
    }

    pub(super) fn finish(&mut self, then: Then, committed: Option<Committed>) {
        let before = (self.version, self.rows);
        if let Some(version) = committed.as_ref().and_then(|committed| committed.versions.last()) {
            // A command may append to other documents first; the room's own update is the last. What several
            // rooms commit together may be told of after what was handed in behind it.
            self.version = self.version.max(*version);
            self.rows += 1;
        }
        match then {
            Then::Acknowledge { peer, status, echo, .. } => {
                if let Some(peer) = self.peers.get(&peer) {
                    if status && let Some(frame) = frames::status(&peer.framing, true) {
                        peer.outbox.reply(frame);
                    }
                    if let Some(echo) = echo {
                        peer.outbox.reply(frames::sync(&peer.framing, SyncMessage::Update(&echo)));
                    }
                }
                if committed.is_some() {
                    self.updates_since_snapshot += 1;
                }
            }
            Then::Answer(answer, mut base) => {
                base.version = self.version;
                let _ = answer.send(Ok(*base));
            }
            Then::Snapshot { bytes, hash } => {
                self.snapshot_pending = false;
                if self.is_whole() {
                    self.spawn_snapshot(bytes, hash);
                } else {
                    tracing::error!(document.id = %self.document, "the log has what the room has not seen");
                    self.failed = true;
                }
            }
            Then::Write { admitted, bytes, edits, answer } => {
                self.apply_own(&admitted, &bytes);
                let _ = answer.send(Ok(Written { version: Some(self.version), edits }));
            }
            Then::Review { admitted, bytes, reviewed, answer } => {
                self.apply_own(&admitted, &bytes);
                if let Some(answer) = answer {
                    let _ = answer.send(Ok(reviewed));
                }
            }
            Then::Rows(told) => {
                self.writing = false;
                told(Ok(()));
            }
            Then::Together(made) => self.apply_made(made),
            Then::Replica { bytes, answer } => {
                self.writing = false;
                let Some(committed) = committed else { return };
                if let Content::Replica(replica) = &mut self.content
                    && bytes[..] != [0, 0]
                {
                    replica.apply(&bytes);
                    self.changed();
                    self.updates_since_snapshot += 1;
                    self.tell(News::Update(&bytes), None);
                } else {
                    (self.version, self.rows) = before;
                }
                let _ = answer.send(Ok(committed));
            }
        }
    }

    /// Server-made edits enter the live document and go out once they are committed.
    pub(super) fn apply_own(&mut self, admitted: &Admitted<'_>, bytes: &Bytes) {
        self.writing = false;
        if let Content::Text(text) = &mut self.content {
            text.apply(admitted, bytes);
        }
        self.changed();
        self.updates_since_snapshot += 1;
        self.tell(News::Update(bytes), None);
    }

    /// A write was not committed. A server-made one leaves no trace; a person's is in the live document
    /// already, so the room has to be made anew from the log, and peers bring back what stands.
    pub(super) fn fail(&mut self, then: Then, error: StoreError) {
        let document = self.document;
        match then {
            Then::Acknowledge { .. } | Then::Snapshot { .. } => {
                if !self.failed {
                    tracing::error!(document.id = %document, %error, "an update could not be committed");
                }
                self.failed = true;
            }
            Then::Answer(answer, _) => drop(answer.send(Err(RoomError::store(document, error)))),
            Then::Write { answer, .. } => {
                self.writing = false;
                // Its clocks are used up as far as this room knows; a fresh id is the simple way on.
                self.writers.clear();
                let _ = answer.send(Err(RoomError::of_write(document, error)));
            }
            Then::Review { answer, .. } => {
                self.writing = false;
                if let Some(answer) = answer {
                    let _ = answer.send(Err(RoomError::of_write(document, error)));
                }
            }
            Then::Rows(told) => {
                self.writing = false;
                told(Err(RoomError::of_write(document, error)));
            }
            Then::Together(_) => {
                // Nobody knows what became of it: only the log does.
                self.failed |= matches!(error, StoreError::Closed);
                self.writing = false;
                self.discard_draft();
            }
            Then::Replica { answer, .. } => {
                self.writing = false;
                self.discard_draft();
                let _ = answer.send(Err(RoomError::store(document, error)));
            }
        }
    }

    /// Forgets what a replica's draft has and the log has not.
    pub(super) fn discard_draft(&mut self) {
        let owners = &self.owners;
        let client = new_client(&*self.registry.options().ids, |client| owners.contains_key(&client));
        if let Content::Replica(replica) = &mut self.content {
            replica.discard_draft(client);
        }
    }

    pub(super) fn wants_snapshot(&self) -> bool {
        self.updates_since_snapshot >= limits::SNAPSHOT_UPDATES
            || self.bytes_since_snapshot >= limits::SNAPSHOT_BYTES
    }

    pub(super) fn snapshot(&mut self) -> (Bytes, Hash) {
        match &mut self.content {
            Content::Text(text) => (text.diff(&[]), text_hash(&text.text())),
            Content::Replica(replica) => (replica.diff(&[]), text_hash(&replica.canonical())),
        }
    }

    /// A snapshot is of the text as it is now, and counts once all of that is committed.
    pub(super) fn plan_snapshot(&mut self) {
        let (bytes, hash) = self.snapshot();
        self.updates_since_snapshot = 0;
        self.bytes_since_snapshot = 0;
        // It is compared before it is kept.
        self.uncompared = None;
        let then = Then::Snapshot { bytes, hash };
        if self.pending.is_empty() {
            self.finish(then, None);
        } else {
            self.snapshot_pending = true;
            self.pending.push_back(Pending { commit: None, bytes: 0, then });
        }
    }

    pub(super) fn spawn_snapshot(&self, bytes: Bytes, hash: Hash) {
        let snapshot = self.new_snapshot(bytes, hash);
        let store = self.registry.options().store.clone();
        let (kind, differs) = (self.kind(), self.differs.clone());
        self.registry.tasks().spawn(async move {
            if keep(store, snapshot, kind).await == Reload::Differs {
                differs.notify_one();
            }
        });
    }

    /// Where it differs, the room is closing anyway and is made again from the log.
    pub(super) async fn keep_snapshot(&self, bytes: Bytes, hash: Hash) {
        let snapshot = self.new_snapshot(bytes, hash);
        keep(self.registry.options().store.clone(), snapshot, self.kind()).await;
    }

    pub(super) fn new_snapshot(&self, bytes: Bytes, text_hash: Hash) -> NewSnapshot {
        NewSnapshot {
            document: self.document,
            epoch: self.version.epoch,
            seq: self.version.seq,
            bytes,
            text_hash,
        }
    }
}

/// Keeps a snapshot that, loaded on its own, gives what it was made of. Without one, loading takes longer.
async fn keep(store: Arc<dyn Store>, snapshot: NewSnapshot, kind: Kind) -> Reload {
    let document = snapshot.document;
    if reload(kind, snapshot.bytes.clone(), snapshot.text_hash).await == Reload::Differs {
        tracing::error!(document.id = %document, "a snapshot does not give its document and was not kept");
        return Reload::Differs;
    }
    if let Err(error) = store.put_snapshot(snapshot).await {
        tracing::warn!(document.id = %document, %error, "a snapshot was not kept");
    }
    Reload::Same
}

#[cfg(test)]
impl RoomActor {
    /// Hands "hello" to the store behind much else, and dies before it is committed.
    pub(crate) fn die_handing_in(&mut self) {
        const HELLO: &[u8] = b"\x01\x01\x09\x00\x04\x01\x07content\x05hello\x00";
        let filler = (0..30_u8).map(|number| {
            Write::changes([Change::Quarantine {
                document: self.document,
                member: None,
                hash: ensemble_store::Hash([number; 32]),
                bytes: vec![number; 1024 * 1024].into(),
                reason: "filler".into(),
            }])
        });
        let author = ensemble_store::Author::default();
        let update = self.new_update(Bytes::from_static(HELLO), author, Vec::new(), Vec::new());
        let writes: Vec<Write> =
            filler.chain([Write { changes: Vec::new(), updates: vec![update] }]).collect();
        let store = self.registry.options().store.clone();
        tokio::task::block_in_place(|| {
            tokio::runtime::Handle::current().block_on(async {
                for write in writes {
                    drop(store.submit(write).await.expect("the store takes it"));
                }
            });
        });
        panic!("a fault on purpose");
    }
}
