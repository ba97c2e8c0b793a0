//! What goes out, and when: writes, the agent's presence, and the mirror in the replica of the turns.

use ensemble_protocol::id::HunkId;
use ensemble_protocol::limits;
use ensemble_store::{Change, TurnUpdate};
use ensemble_sync::room::{ReplicaWrite, Telling, TurnWrite};
use tokio::time::Instant;

use super::{Applier, Finished, MIRROR_INTERVAL, MIRRORED_HUNKS, WriteJob, presence, write_to};
use crate::replica;

impl Applier {
    /// Starts everything that is due.
    pub(super) fn flush(&mut self, now: Instant) {
        for at in 0..self.writers.len() {
            let writer = &mut self.writers[at];
            if writer.is_waiting() && !writer.is_writing() && writer.due <= now {
                let batch = writer.begin_write(&self.hunks, now);
                let write = TurnWrite {
                    turn: self.job.turn,
                    member: self.job.member,
                    edits: batch.edits.clone(),
                    changes: batch.changes.clone(),
                    stop: self.job.stop.clone(),
                };
                let room = writer.room.clone();
                let (rooms, store) = (self.job.rooms.clone(), self.job.store.clone());
                let job = WriteJob { store, rooms, known: writer.tally };
                let announced = writer.announce(&batch, now).map(|span| {
                    presence(&self.job.agent, self.job.turn, "writing", Some(span), Telling::Now)
                });
                self.under_way.push(Box::pin(async move {
                    let mut batch = batch;
                    if let Some(presence) = announced {
                        // The room takes one message after the other, so everybody sees where before what.
                        let agent = presence.agent.clone();
                        room.set_agent(&agent, Some(presence)).await;
                    }
                    let result = write_to(&job, room, write, &mut batch).await;
                    Finished::Wrote { writer: at, batch, result }
                }));
            }
            let writer = &mut self.writers[at];
            if writer.sight.stale && !writer.sight.telling && writer.sight.due <= now {
                writer.sight.stale = false;
                writer.sight.telling = true;
                writer.sight.seen = true;
                writer.sight.due = now + limits::PRESENCE_ENTRY_INTERVAL;
                let (status, cursor) = (writer.sight.status, writer.sight.cursor);
                writer.sight.told = cursor.map(|cursor| (cursor, now));
                let presence = presence(&self.job.agent, self.job.turn, status, cursor, Telling::Soon);
                let (room, agent) = (writer.room.clone(), self.job.agent.id.clone());
                self.under_way.push(Box::pin(async move {
                    room.set_agent(&agent, Some(presence)).await;
                    Finished::Seen { writer: at }
                }));
            }
        }
        if self.has_news() && !self.mirroring && self.mirror_due <= now {
            self.mirror(now);
        }
    }

    /// When something is due next that is not under way.
    pub(super) fn next_due(&self) -> Option<Instant> {
        let writes = self
            .writers
            .iter()
            .filter(|writer| writer.is_waiting() && !writer.is_writing())
            .map(|writer| writer.due);
        let sights = self
            .writers
            .iter()
            .filter(|writer| writer.sight.stale && !writer.sight.telling)
            .map(|writer| writer.sight.due);
        let mirror = (self.has_news() && !self.mirroring).then_some(self.mirror_due);
        writes.chain(sights).chain(mirror).min()
    }

    fn has_news(&self) -> bool {
        self.hunks.is_dirty() || self.documents_are_new || self.told < self.answer.trim_end().len()
    }

    /// Tells the replica of the turns what is new.
    fn mirror(&mut self, now: Instant) {
        let turn = self.job.turn;
        let records = self.hunks.take_dirty(MIRRORED_HUNKS);
        let end = self.answer.trim_end().len();
        let text = &self.answer[self.told..end];
        let mut write = ReplicaWrite::default();
        if self.documents_are_new {
            let update = TurnUpdate { documents: Some(self.job.documents.clone()), ..TurnUpdate::default() };
            write.edits.extend(replica::updated(turn, &update));
            write.changes.push(Change::UpdateTurn { id: turn, update: Box::new(update) });
            self.documents_are_new = false;
        }
        if !text.is_empty() {
            write.edits.push(replica::answered(turn, text));
        }
        write.edits.extend(records.iter().map(replica::hunk));
        let hunks: Vec<HunkId> = records.iter().map(|record| record.hunk).collect();
        write.changes.extend(records.into_iter().map(|record| Change::PutHunk(Box::new(record))));
        let sent = text.len();
        self.told = end;
        self.mirroring = true;
        self.mirror_due = now + MIRROR_INTERVAL;
        let turns = self.job.turns.clone();
        self.under_way.push(Box::pin(async move {
            let result = turns.commit(write).await;
            Finished::Mirrored { sent, hunks, result }
        }));
    }
}
