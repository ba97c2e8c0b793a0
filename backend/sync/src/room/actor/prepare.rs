//! A place kept for edits that several rooms commit together.
//!
//! Whoever keeps the place tells the room what to prepare and, once every other room is prepared too, that it is
//! handed to the store. People go on typing meanwhile; other server-made edits and reads wait, as they do while
//! one of those is committed. The place is free again as soon as its keeper is gone, and after
//! [`limits::ROOM_HOLD`] in any case, unless the edits are on their way to the store: then the store's answer
//! ends it.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use ensemble_protocol::limits;
use ensemble_store::{Author, ClientAdvance, ClientOwner, NewUpdate};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

use super::turned::Turned;
use super::{Content, Pending, RoomActor, Then};
use crate::admission::{Admitted, Refusal, grows_too_large};
use crate::error::RoomError;
use crate::registry::Vitals;
use crate::room::frames::News;
use crate::room::{Answer, Order, PreparedEdit, PreparedText, ReplicaEdit, TextEdits};
use crate::writer::new_client;

/// Orders under way to a room: its keeper waits for the answer to each but the last.
const ORDERS: usize = 2;

/// The place, kept.
pub(super) struct Hold {
    orders: mpsc::Receiver<Order>,
    until: Instant,
    made: Option<Made>,
}

/// What was prepared and is not committed yet.
pub(super) enum Made {
    Text { admitted: Admitted<'static>, bytes: Bytes },
    Replica { bytes: Bytes },
}

impl Made {
    fn size(&self) -> usize {
        match self {
            Self::Text { bytes, .. } | Self::Replica { bytes } => bytes.len(),
        }
    }
}

/// The next order of whoever keeps the place; `None` when it is to be free again.
pub(super) async fn next_order(held: &mut Option<Hold>) -> Option<Order> {
    let hold = held.as_mut()?;
    tokio::select! {
        biased;
        order = hold.orders.recv() => order,
        () = sleep_until(hold.until) => {
            // What was said in time counts; nothing more can be said.
            hold.orders.close();
            hold.orders.recv().await
        }
    }
}

impl RoomActor {
    pub(super) fn keep_place(&mut self, answer: Answer<mpsc::Sender<Order>>) {
        let (orders, heard) = mpsc::channel(ORDERS);
        if answer.send(Ok(orders)).is_ok() {
            self.writing = true;
            self.held = Some(Hold { orders: heard, until: Instant::now() + limits::ROOM_HOLD, made: None });
        }
    }

    pub(super) async fn ordered(&mut self, order: Option<Order>) {
        self.active = Instant::now();
        self.vitals(Vitals::begin);
        if self.carry_out(order) {
            self.serve_deferred().await;
        }
        self.vitals(Vitals::rest);
    }

    /// Does what it is told. Answers whether the place is free again.
    fn carry_out(&mut self, order: Option<Order>) -> bool {
        match order {
            Some(Order::Text(edits, answer)) => {
                let prepared = self.prepare_text(&edits);
                let _ = answer.send(prepared);
                false
            }
            Some(Order::Replica(edits, answer)) => {
                let prepared = self.prepare_replica(&edits);
                let _ = answer.send(prepared);
                false
            }
            Some(Order::Commit(commit)) => match self.held.take().and_then(|hold| hold.made) {
                Some(made) => {
                    let bytes = made.size();
                    self.pending_bytes += bytes;
                    self.pending.push_back(Pending {
                        commit: Some(commit),
                        bytes,
                        then: Then::Together(made),
                    });
                    false
                }
                None => self.free(),
            },
            None => {
                if let Some(Hold { made: Some(Made::Replica { .. }), .. }) = self.held.take() {
                    self.discard_draft();
                }
                self.free()
            }
        }
    }

    fn free(&mut self) -> bool {
        self.held = None;
        self.writing = false;
        true
    }

    /// Hears whoever keeps the place to their end, which is bounded. The room is closing.
    pub(super) async fn settle_hold(&mut self) {
        while self.held.is_some() {
            let order = next_order(&mut self.held).await;
            self.carry_out(order);
        }
    }

    fn prepare_text(&mut self, edits: &TextEdits) -> Result<(Option<NewUpdate>, PreparedText), RoomError> {
        let document = self.document;
        let refused = |refusal| RoomError::Refused { document, refusal };
        let hold = self.held.as_ref().filter(|hold| hold.made.is_none());
        let (Content::Text(text), Some(_)) = (&mut self.content, hold) else {
            return Err(RoomError::NotFound(document));
        };
        let owners = &self.owners;
        let taken = |client| owners.contains_key(&client) || self.presence.is_agent(client);
        let client = new_client(&*self.registry.options().ids, taken);
        let index = text.index();
        let turned = Turned::new(index, client, 0, &edits.edits).map_err(refused)?;
        let inserted = turned.inserted();
        if grows_too_large(index, &turned.admitted) {
            return Err(refused(Refusal::DocumentTooLarge(limits::DOCUMENT_UNITS)));
        }
        let places: Option<Vec<u32>> = edits.edits.iter().map(|edit| index.offset(edit.at)).collect();
        let places = places.ok_or_else(|| refused(Refusal::UnknownPlace))?;
        let now = text.text();
        let mut ledger = turned.ledger(edits.turn, &edits.edits, || Arc::clone(&now));
        let prepared = turned
            .written()
            .zip(&turned.encoded)
            .zip(places)
            .map(|((written, encoded), at)| PreparedEdit {
                written,
                at,
                deleted: encoded.deleted.iter().map(|gone| stretch(gone.offset, gone.units.length)).collect(),
            })
            .collect();
        let prepared = PreparedText { edits: prepared, text: now };
        let also = self.also_unwanted(edits.turn, turned.done(&edits.edits));
        ledger.extend(also);
        let admitted = turned.admitted;
        if admitted.blocks.is_empty() && admitted.deletes.is_empty() && ledger.is_empty() {
            return Ok((None, prepared));
        }
        self.traces.extend(&ledger);
        let mut clients = Vec::new();
        if inserted > 0 {
            let owner = ClientOwner::Turn(edits.turn);
            self.owners.insert(client, owner);
            clients.push(ClientAdvance { client, first: 0, next: inserted as u32, owner });
        }
        let bytes: Bytes = admitted.encode().into();
        let author =
            Author { member: Some(edits.member), connection: None, turn: Some(edits.turn), via: None };
        let update = self.new_update(bytes.clone(), author, clients, ledger);
        if let Some(hold) = &mut self.held {
            hold.made = Some(Made::Text { admitted, bytes });
        }
        Ok((Some(update), prepared))
    }

    fn prepare_replica(&mut self, edits: &[ReplicaEdit]) -> Result<Option<NewUpdate>, RoomError> {
        let hold = self.held.as_ref().filter(|hold| hold.made.is_none());
        let (Content::Replica(replica), Some(_)) = (&mut self.content, hold) else {
            return Err(RoomError::NotFound(self.document));
        };
        if edits.is_empty() {
            return Ok(None);
        }
        let (bytes, (client, first, next)) = replica.edit(edits);
        let owner = ClientOwner::Server;
        self.owners.insert(client, owner);
        let clients =
            if next > first { vec![ClientAdvance { client, first, next, owner }] } else { Vec::new() };
        let update = self.new_update(bytes.clone(), Author::default(), clients, Vec::new());
        if let Some(hold) = &mut self.held {
            hold.made = Some(Made::Replica { bytes });
        }
        Ok(Some(update))
    }

    /// What was prepared is committed: it enters the live document and goes out.
    pub(super) fn apply_made(&mut self, made: Made) {
        match made {
            Made::Text { admitted, bytes } => self.apply_own(&admitted, &bytes),
            Made::Replica { bytes } => {
                self.writing = false;
                if let Content::Replica(replica) = &mut self.content {
                    replica.apply(&bytes);
                }
                self.changed();
                self.updates_since_snapshot += 1;
                self.tell(News::Update(&bytes), None);
            }
        }
    }
}

fn stretch(offset: u32, length: u32) -> Range<u32> {
    offset..offset + length
}
