//! Reads, and the edits only the server makes: a turn's, a rejection's, a replica's.

use std::collections::BTreeSet;

use bytes::Bytes;
use ensemble_protocol::id::{MemberId, TurnId};
use ensemble_protocol::limits;
use ensemble_store::{
    Author, Change, ClientAdvance, ClientOwner, Committed, LedgerEntry, LedgerKind, NewUpdate, Write,
};

use super::{Content, Pending, RoomActor, Then, WRITERS};
use crate::admission::Refusal;
use crate::anchor::BaseText;
use crate::error::RoomError;
use crate::index::Stretch;
use crate::ledger;
use crate::registry::Vitals;
use crate::room::{Answer, Rejected, ReplicaWrite, TurnWrite, Written, WrittenEdit};
use crate::update::utf16_prefix;
use crate::writer::{self, EncodedEdit, ServerEdit, new_client};

impl RoomActor {
    pub(super) fn new_update(
        &self,
        bytes: Bytes,
        author: Author,
        clients: Vec<ClientAdvance>,
        ledger: Vec<LedgerEntry>,
    ) -> NewUpdate {
        NewUpdate {
            document: self.document,
            epoch: self.epoch,
            bytes,
            author,
            clients,
            ledger,
            stamp: self.registry.stamp(),
        }
    }

    pub(super) fn read(&mut self, answer: Answer<BaseText>) {
        let base = match &mut self.content {
            Content::Text(text) => BaseText {
                version: self.version,
                text: text.text(),
                runs: text.index().visible_runs().into(),
            },
            // A replica reads as its maps in JSON. It has no units that could be edited.
            Content::Replica(replica) => {
                BaseText { version: self.version, text: replica.canonical().into(), runs: Vec::new().into() }
            }
        };
        let then = Then::Answer(answer, Box::new(base));
        if self.pending.is_empty() {
            self.finish(then, None);
        } else {
            // The version is only known, and only true, once what is in the text is committed.
            self.pending.push_back(Pending { commit: None, bytes: 0, then });
        }
    }

    pub(super) async fn write(&mut self, write: TurnWrite, answer: Answer<Written>) {
        let Content::Text(text) = &mut self.content else {
            let _ = answer.send(Err(RoomError::NotFound(self.document)));
            return;
        };
        let (client, clock) = match self.writers.iter().rev().find(|(turn, _, _)| *turn == write.turn) {
            Some((_, client, clock)) if *clock < limits::WRITER_UNITS => (*client, *clock),
            // A fresh id now and then: yrs slows down in one endless run by one client.
            _ => {
                let owners = &self.owners;
                let taken = |client| owners.contains_key(&client) || self.presence.is_agent(client);
                (new_client(&*self.registry.options().ids, taken), 0)
            }
        };
        let edits: Vec<ServerEdit> = write
            .edits
            .iter()
            .map(|edit| ServerEdit { at: edit.at, insert: edit.insert.clone(), delete: edit.delete.clone() })
            .collect();
        let (admitted, encoded) = match writer::encode(text.index(), client, clock, &edits) {
            Ok(encoded) => encoded,
            Err(refusal) => {
                let _ = answer.send(Err(RoomError::Refused { document: self.document, refusal }));
                return;
            }
        };
        let inserted: u64 = admitted.blocks.iter().map(|block| u64::from(block.units.length)).sum();
        if u64::from(text.index().len()) + inserted > limits::DOCUMENT_UNITS {
            let refusal = Refusal::DocumentTooLarge(limits::DOCUMENT_UNITS);
            let _ = answer.send(Err(RoomError::Refused { document: self.document, refusal }));
            return;
        }
        let mut ledger = Vec::new();
        for (edit, encoded) in write.edits.iter().zip(&encoded) {
            let entry = |kind, client, clock, length, text| LedgerEntry {
                turn: write.turn,
                hunk: Some(edit.hunk),
                kind,
                client,
                clock,
                length,
                text,
            };
            ledger.extend(
                encoded
                    .inserted
                    .map(|units| entry(LedgerKind::Inserted, units.client, units.clock, units.length, None)),
            );
            if !encoded.deleted.is_empty() {
                let texts = texts_of(&text.text(), &encoded.deleted);
                ledger.extend(encoded.deleted.iter().zip(texts).map(|(gone, text)| {
                    let units = gone.units;
                    entry(LedgerKind::Deleted, units.client, units.clock, units.length, Some(text))
                }));
            }
        }
        if write.stop.is_cancelled() {
            let _ = answer.send(Err(RoomError::TurnStopped));
            return;
        }
        let edits = encoded.iter().map(written_edit).collect();
        if admitted.blocks.is_empty() && admitted.deletes.is_empty() {
            let outcome = self.commit_rows(write.changes).await;
            let _ = answer.send(outcome.map(|()| Written { version: None, edits }));
            return;
        }
        let mut clients = Vec::new();
        if inserted > 0 {
            let next = clock + inserted as u32;
            let owner = ClientOwner::Turn(write.turn);
            self.owners.insert(client, owner);
            self.writers.retain(|(turn, held, _)| *turn != write.turn || *held == client);
            match self.writers.iter_mut().find(|(_, held, _)| *held == client) {
                Some(held) => held.2 = next,
                None => self.writers.push_back((write.turn, client, next)),
            }
            if self.writers.len() > WRITERS {
                self.writers.pop_front();
            }
            clients.push(ClientAdvance { client, first: clock, next, owner });
        }
        let bytes: Bytes = admitted.encode().into();
        let author =
            Author { member: Some(write.member), connection: None, turn: Some(write.turn), via: None };
        let update = self.new_update(bytes.clone(), author, clients, ledger);
        self.writing = true;
        let size = bytes.len();
        let write = Write { changes: write.changes, updates: vec![update] };
        self.submit(write, size, Then::Write { admitted, bytes, edits, answer }).await;
    }

    pub(super) async fn reject(
        &mut self,
        turn: TurnId,
        member: MemberId,
        changes: Vec<Change>,
        answer: Answer<Rejected>,
    ) {
        let store = self.registry.options().store.clone();
        self.vitals(Vitals::rest);
        let entries = store.ledger_of_document(self.document).await;
        self.vitals(Vitals::begin);
        let entries = match entries {
            Ok(entries) => entries,
            Err(error) => {
                let _ = answer.send(Err(RoomError::store(self.document, error)));
                return;
            }
        };
        let Content::Text(text) = &mut self.content else {
            let _ = answer.send(Err(RoomError::NotFound(self.document)));
            return;
        };
        // A turn is rejected when the ledger says that something of it was taken back.
        let rejected: BTreeSet<TurnId> = entries
            .iter()
            .filter(|stored| matches!(stored.entry.kind, LedgerKind::Withdrawn | LedgerKind::Restored))
            .map(|stored| stored.entry.turn)
            .collect();
        let edits = if rejected.contains(&turn) {
            Vec::new()
        } else {
            ledger::reject(text.index(), &entries, turn, &rejected)
        };
        let owners = &self.owners;
        let client = new_client(&*self.registry.options().ids, |client| owners.contains_key(&client));
        let (admitted, encoded) = match writer::encode(text.index(), client, 0, &edits) {
            Ok(encoded) => encoded,
            Err(refusal) => {
                let _ = answer.send(Err(RoomError::Refused { document: self.document, refusal }));
                return;
            }
        };
        let mut outcome = Rejected::default();
        let mut ledger = Vec::new();
        for edit in &encoded {
            let entry = |kind, client, clock, length| LedgerEntry {
                turn,
                hunk: None,
                kind,
                client,
                clock,
                length,
                text: None,
            };
            if let Some(units) = edit.inserted {
                outcome.restored += units.length;
                ledger.push(entry(LedgerKind::Restored, units.client, units.clock, units.length));
            }
            for gone in &edit.deleted {
                outcome.withdrawn += gone.units.length;
                ledger.push(entry(
                    LedgerKind::Withdrawn,
                    gone.units.client,
                    gone.units.clock,
                    gone.units.length,
                ));
            }
        }
        if ledger.is_empty() {
            let done = self.commit_rows(changes).await;
            let _ = answer.send(done.map(|()| outcome));
            return;
        }
        let mut clients = Vec::new();
        if outcome.restored > 0 {
            self.owners.insert(client, ClientOwner::Server);
            clients.push(ClientAdvance {
                client,
                first: 0,
                next: outcome.restored,
                owner: ClientOwner::Server,
            });
        }
        let bytes: Bytes = admitted.encode().into();
        let author = Author { member: Some(member), connection: None, turn: None, via: None };
        let update = self.new_update(bytes.clone(), author, clients, ledger);
        self.writing = true;
        let size = bytes.len();
        let then = Then::Reject { admitted, bytes, rejected: outcome, answer };
        self.submit(Write { changes, updates: vec![update] }, size, then).await;
    }

    pub(super) async fn edit_replica(&mut self, write: ReplicaWrite, answer: Answer<Committed>) {
        let Content::Replica(replica) = &mut self.content else {
            let _ = answer.send(Err(RoomError::NotFound(self.document)));
            return;
        };
        let (bytes, (client, first, next)) = replica.edit(&write.edits);
        let mut updates = write.updates;
        if !write.edits.is_empty() {
            let owner = ClientOwner::Server;
            self.owners.insert(client, owner);
            let clients =
                if next > first { vec![ClientAdvance { client, first, next, owner }] } else { Vec::new() };
            updates.push(self.new_update(bytes.clone(), Author::default(), clients, Vec::new()));
        }
        self.writing = true;
        let size = bytes.len();
        self.submit(Write { changes: write.changes, updates }, size, Then::Replica { bytes, answer }).await;
    }

    pub(super) async fn commit_rows(&mut self, changes: Vec<Change>) -> Result<(), RoomError> {
        if changes.is_empty() {
            return Ok(());
        }
        let store = self.registry.options().store.clone();
        self.vitals(Vitals::rest);
        let committed = store.commit(Write::changes(changes)).await;
        self.vitals(Vitals::begin);
        committed.map(drop).map_err(|error| RoomError::store(self.document, error))
    }
}

pub(super) fn written_edit(encoded: &EncodedEdit) -> WrittenEdit {
    WrittenEdit {
        end: encoded.end,
        inserted: encoded.inserted.map_or(0, |units| units.length),
        deleted: encoded.deleted.iter().map(|gone| gone.units.length).sum(),
        missing: encoded.missing,
    }
}

/// The texts of stretches, in their order, in one walk over the text.
pub(super) fn texts_of(text: &str, stretches: &[Stretch]) -> Vec<String> {
    let mut order: Vec<usize> = (0..stretches.len()).collect();
    order.sort_unstable_by_key(|at| stretches[*at].offset);
    let mut texts = vec![String::new(); stretches.len()];
    let (mut bytes, mut units) = (0, 0);
    for at in order {
        let stretch = &stretches[at];
        let (skip, _) = utf16_prefix(&text[bytes..], stretch.offset - units);
        let start = bytes + skip;
        let (length, _) = utf16_prefix(&text[start..], stretch.units.length);
        text[start..start + length].clone_into(&mut texts[at]);
        bytes = start + length;
        units = stretch.offset + stretch.units.length;
    }
    texts
}
