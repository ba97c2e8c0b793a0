//! Reads, and the edits only the server makes: a turn's and a replica's. Reviews are in [`super::review`].

use bytes::Bytes;
use ensemble_protocol::limits;
use ensemble_store::{Author, ClientAdvance, ClientOwner, Committed, LedgerEntry, NewUpdate, Write};

use super::turned::Turned;
use super::{Content, Pending, RoomActor, Then, WRITERS};
use crate::admission::{Refusal, grows_too_large};
use crate::anchor::BaseText;
use crate::error::RoomError;
use crate::index::Stretch;
use crate::room::{Answer, ReplicaWrite, TurnWrite, Written};
use crate::update::utf16_prefix;
use crate::writer::new_client;

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
        if self.pending.len() >= limits::ROOM_UNCOMMITTED {
            // Each keeps a whole text until it is answered. What is saved can be read from the store.
            let _ = answer.send(Err(self.busy()));
            return;
        }
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
        let turned = match Turned::new(text.index(), client, clock, &write.edits) {
            Ok(turned) => turned,
            Err(refusal) => {
                let _ = answer.send(Err(RoomError::Refused { document: self.document, refusal }));
                return;
            }
        };
        let inserted = turned.inserted();
        if grows_too_large(text.index(), &turned.admitted) {
            let refusal = Refusal::DocumentTooLarge(limits::DOCUMENT_UNITS);
            let _ = answer.send(Err(RoomError::Refused { document: self.document, refusal }));
            return;
        }
        let mut ledger = turned.ledger(write.turn, &write.edits, || text.text());
        let also = self.also_unwanted(write.turn, turned.done(&write.edits));
        ledger.extend(also);
        if write.stop.is_cancelled() {
            let _ = answer.send(Err(RoomError::TurnStopped));
            return;
        }
        let edits = turned.written().collect();
        let admitted = turned.admitted;
        if admitted.blocks.is_empty() && admitted.deletes.is_empty() && ledger.is_empty() {
            let told = move |done: Result<(), RoomError>| {
                let _ = answer.send(done.map(|()| Written { version: None, edits }));
            };
            return self.submit_rows(write.changes, Box::new(told)).await;
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
        self.traces.extend(&ledger);
        let bytes: Bytes = admitted.encode().into();
        let author =
            Author { member: Some(write.member), connection: None, turn: Some(write.turn), via: None };
        let update = self.new_update(bytes.clone(), author, clients, ledger);
        self.writing = true;
        let size = bytes.len();
        let write = Write { changes: write.changes, updates: vec![update] };
        self.submit(write, size, Then::Write { admitted, bytes, edits, answer }).await;
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
}

/// The texts of stretches, in their order, in one walk over the text. They may overlap.
pub(super) fn texts_of(text: &str, stretches: &[Stretch]) -> Vec<String> {
    let mut order: Vec<usize> = (0..stretches.len()).collect();
    order.sort_unstable_by_key(|at| stretches[*at].offset);
    let mut texts = vec![String::new(); stretches.len()];
    let (mut bytes, mut units) = (0, 0);
    for at in order {
        let stretch = &stretches[at];
        let (skip, halved) = utf16_prefix(&text[bytes..], stretch.offset - units);
        let start = bytes + skip;
        let (length, _) = utf16_prefix(&text[start..], stretch.units.length);
        text[start..start + length].clone_into(&mut texts[at]);
        #[cfg(test)]
        WALKED.set(WALKED.get() + skip + length);
        // Two edits may want the same units gone, so the next one may begin inside of this one.
        (bytes, units) = (start, stretch.offset - u32::from(halved));
    }
    texts
}

#[cfg(test)]
thread_local! {
    static WALKED: std::cell::Cell<usize> = const { std::cell::Cell::new(0) };
}

/// Bytes of texts this thread has walked over.
#[cfg(test)]
pub(super) fn walked() -> usize {
    WALKED.get()
}
