//! Reviews: making the document what the ledger's rule says.

use std::collections::BTreeSet;

use bytes::Bytes;
use ensemble_protocol::id::{HunkId, MemberId, TurnId};
use ensemble_protocol::limits;
use ensemble_store::{
    Author, Change, ClientAdvance, ClientOwner, LedgerActor, LedgerEntry, LedgerKind, Write,
};
use tokio_util::sync::CancellationToken;

use super::edits::texts_of;
use super::{Content, RoomActor, Then};
use crate::admission::{Refusal, grows_too_large};
use crate::anchor::UnitRange;
use crate::error::RoomError;
use crate::ledger::{Asked, HunkOf, Ledger, Step, range_of, reconcile};
use crate::registry::Vitals;
use crate::room::{AnchoredEdit, Answer, Message, ReviewWrite, Reviewed, Verdict};
use crate::units::UnitSet;
use crate::writer::{self, EncodedEdit, ServerEdit, new_client};

/// What a room keeps in mind of its ledger, to notice who wants gone what is gone already.
///
/// It holds ranges without texts, joined where they touch: about 20 bytes for each gap between what turns and
/// reviews have deleted, of which there are at most as many as the ledger has entries.
#[derive(Debug, Default)]
pub(super) struct Traces {
    /// Units a turn or a review took away and no person has wanted gone since. It may have too many, of a write
    /// that failed.
    taken: UnitSet,
    /// Units that have come back under other ids.
    returned: UnitSet,
}

impl Traces {
    pub(super) fn of<'l>(ledger: impl IntoIterator<Item = &'l LedgerEntry>) -> Self {
        let mut traces = Self::default();
        traces.extend(ledger);
        traces
    }

    pub(super) fn extend<'l>(&mut self, ledger: impl IntoIterator<Item = &'l LedgerEntry>) {
        for entry in ledger {
            let units = range_of(entry);
            match (entry.kind, entry.by, entry.of) {
                (LedgerKind::Deleted | LedgerKind::Withdrawn, ..) => self.taken.insert(units),
                (LedgerKind::AlsoDeleted, LedgerActor::Member(_), _) => self.taken.remove(units),
                (LedgerKind::Restored, _, Some((client, clock))) => {
                    self.returned.insert(UnitRange { client, clock, length: units.length });
                }
                _ => {}
            }
        }
    }
}

/// Why a document is compared with the rule.
struct Cause {
    member: Option<MemberId>,
    changes: Vec<Change>,
    stop: CancellationToken,
    answer: Option<Answer<Reviewed>>,
}

impl Cause {
    fn fail(self, error: RoomError) {
        match self.answer {
            Some(answer) => drop(answer.send(Err(error))),
            None => {
                tracing::error!(error = &error as &dyn std::error::Error, "a document could not be settled");
            }
        }
    }
}

impl RoomActor {
    /// What of these units was taken away before, joined where it touches; none where that is in more than `most`
    /// places.
    pub(super) fn taken_before(&self, units: &[UnitRange], most: usize) -> Option<Vec<UnitRange>> {
        let mut taken: Vec<UnitRange> = Vec::new();
        for part in units.iter().flat_map(|range| self.traces.taken.common(*range)) {
            let full = taken.len() == most;
            match taken.last_mut() {
                Some(last)
                    if last.client == part.client && (last.clock..=last.end()).contains(&part.clock) =>
                {
                    last.length = last.end().max(part.end()) - last.clock;
                }
                _ if full => return None,
                _ => taken.push(part),
            }
        }
        Some(taken)
    }

    /// Entries that say who else wants gone what was taken away before.
    ///
    /// Where some of it has come back under other ids, the room is told to look at it again.
    pub(super) fn also_deleted(
        &mut self,
        by: LedgerActor,
        hunk: Option<HunkId>,
        taken: Vec<UnitRange>,
    ) -> Vec<LedgerEntry> {
        if taken.is_empty() {
            return Vec::new();
        }
        let entries: Vec<LedgerEntry> = taken
            .iter()
            .map(|range| LedgerEntry {
                by,
                hunk,
                kind: LedgerKind::AlsoDeleted,
                client: range.client,
                clock: range.clock,
                length: range.length,
                text: None,
                of: None,
            })
            .collect();
        self.traces.extend(&entries);
        let is_back = |range: &UnitRange| {
            self.traces.returned.touches(*range)
                || self.owners.get(&range.client).is_some_and(|owner| *owner == ClientOwner::Server)
        };
        if taken.iter().any(is_back) {
            self.deferred.push_back(Message::Settle(taken));
        }
        entries
    }

    /// What of a turn's edits others had taken away before: their hunks, too, want it gone.
    pub(super) fn also_unwanted<'e>(
        &mut self,
        turn: TurnId,
        edits: impl Iterator<Item = (&'e AnchoredEdit, &'e EncodedEdit)>,
    ) -> Vec<LedgerEntry> {
        let mut entries = Vec::new();
        for (edit, encoded) in edits.filter(|(_, encoded)| encoded.missing > 0) {
            let found: UnitSet = encoded.deleted.iter().map(|gone| gone.units).collect();
            let missing: Vec<UnitRange> =
                edit.delete.iter().flat_map(|range| found.lacking(*range)).collect();
            let missing = self.taken_before(&missing, usize::MAX).unwrap_or_default();
            entries.extend(self.also_deleted(LedgerActor::Turn(turn), Some(edit.hunk), missing));
        }
        entries
    }

    /// Decides about hunks of a turn.
    pub(super) async fn review(&mut self, review: ReviewWrite, answer: Answer<Reviewed>) {
        let ReviewWrite { turn, hunks, verdict, everything, member, changes, stop } = review;
        let cause = Cause { member: Some(member), changes, stop, answer: Some(answer) };
        let (ledger, mut undone) = match self.read_ledger().await {
            Ok(read) => read,
            Err(error) => return cause.fail(error),
        };
        let hunks: BTreeSet<HunkOf> = hunks.into_iter().map(|hunk| (turn, hunk)).collect();
        match verdict {
            Verdict::Undo => undone.extend(&hunks),
            Verdict::Keep => undone.retain(|hunk| !hunks.contains(hunk)),
        }
        let asked = if everything { Asked::Everything } else { Asked::Hunks(&hunks) };
        self.reconcile(&ledger, asked, &undone, cause).await;
    }

    /// Looks again at units somebody wanted gone when they had come back under other ids.
    pub(super) async fn settle(&mut self, units: Vec<UnitRange>) {
        let cause = Cause { member: None, changes: Vec::new(), stop: CancellationToken::new(), answer: None };
        match self.read_ledger().await {
            Ok((ledger, undone)) => self.reconcile(&ledger, Asked::Units(&units), &undone, cause).await,
            Err(error) => cause.fail(error),
        }
    }

    /// The ledger with what is on its way to it, and the hunks that count as never written.
    async fn read_ledger(&mut self) -> Result<(Ledger, BTreeSet<HunkOf>), RoomError> {
        let store = self.registry.options().store.clone();
        let document = self.document;
        // What is committed while this is read is then there twice, which says the same.
        let under_way: Vec<LedgerEntry> = self
            .pending
            .iter()
            .filter_map(|pending| match &pending.then {
                Then::Acknowledge { ledger, .. } => Some(ledger.clone()),
                _ => None,
            })
            .flatten()
            .collect();
        self.vitals(Vitals::rest);
        let read = async {
            let entries = store.ledger_of_document(document).await?;
            Ok((entries, store.undone_hunks(document).await?))
        };
        let read = read.await;
        self.vitals(Vitals::begin);
        let (entries, undone) = read.map_err(|error| RoomError::store(document, error))?;
        let entries = entries.into_iter().map(|stored| stored.entry).chain(under_way).collect();
        Ok((Ledger::new(entries), undone.into_iter().collect()))
    }

    async fn reconcile(
        &mut self,
        ledger: &Ledger,
        asked: Asked<'_>,
        undone: &BTreeSet<HunkOf>,
        cause: Cause,
    ) {
        let document = self.document;
        let Content::Text(text) = &mut self.content else {
            return cause.fail(RoomError::NotFound(document));
        };
        let steps = reconcile(text.index(), ledger, asked, undone);
        let edits: Vec<ServerEdit> = steps.iter().map(Step::edit).collect();
        let owners = &self.owners;
        let taken = |client| owners.contains_key(&client) || self.presence.is_agent(client);
        let client = new_client(&*self.registry.options().ids, taken);
        let (admitted, encoded) = match writer::encode(text.index(), client, 0, &edits) {
            Ok(encoded) => encoded,
            Err(refusal) => return cause.fail(RoomError::Refused { document, refusal }),
        };
        if grows_too_large(text.index(), &admitted) {
            let refusal = Refusal::DocumentTooLarge(limits::DOCUMENT_UNITS);
            return cause.fail(RoomError::Refused { document, refusal });
        }
        let stretches: Vec<_> = encoded.iter().flat_map(|edit| edit.deleted.iter().copied()).collect();
        let mut texts = if stretches.is_empty() {
            Vec::new().into_iter()
        } else {
            texts_of(&text.text(), &stretches).into_iter()
        };
        let mut reviewed = Reviewed::default();
        let mut entries = Vec::new();
        let mut note = |(turn, hunk): HunkOf, kind, units: UnitRange, text, of: Option<UnitRange>| {
            entries.push(LedgerEntry {
                by: LedgerActor::Turn(turn),
                hunk: Some(hunk),
                kind,
                client: units.client,
                clock: units.clock,
                length: units.length,
                text,
                of: of.map(|of| (of.client, of.clock)),
            });
        };
        for (step, encoded) in steps.iter().zip(&encoded) {
            match step {
                Step::Withdraw { hunk, .. } => {
                    for gone in &encoded.deleted {
                        reviewed.withdrawn += gone.units.length;
                        note(*hunk, LedgerKind::Withdrawn, gone.units, texts.next(), None);
                    }
                }
                Step::Restore { parts, .. } => {
                    let Some(units) = encoded.inserted else { continue };
                    reviewed.restored += units.length;
                    let mut clock = units.clock;
                    for part in parts {
                        let now = UnitRange { client: units.client, clock, length: part.of.length };
                        note(part.hunk, LedgerKind::Restored, now, None, Some(part.of));
                        let stood = part.stood;
                        let before =
                            UnitRange { client: stood.client, clock: stood.clock, length: now.length };
                        reviewed.copies.push((before, now));
                        clock = now.end();
                    }
                    debug_assert_eq!(clock, units.end(), "what came back stands for all it is");
                }
            }
        }
        let Cause { member, changes, stop, answer } = cause;
        if stop.is_cancelled() {
            if let Some(answer) = answer {
                let _ = answer.send(Err(RoomError::TurnStopped));
            }
            return;
        }
        if entries.is_empty() {
            let told = move |done: Result<(), RoomError>| {
                if let Some(answer) = answer {
                    let _ = answer.send(done.map(|()| reviewed));
                }
            };
            return self.submit_rows(changes, Box::new(told)).await;
        }
        let mut clients = Vec::new();
        if reviewed.restored > 0 {
            let owner = ClientOwner::Server;
            self.owners.insert(client, owner);
            clients.push(ClientAdvance { client, first: 0, next: reviewed.restored, owner });
        }
        self.traces.extend(&entries);
        let bytes: Bytes = admitted.encode().into();
        let author = Author { member, connection: None, turn: None, via: None };
        let update = self.new_update(bytes.clone(), author, clients, entries);
        self.writing = true;
        let size = bytes.len();
        let then = Then::Review { admitted, bytes, reviewed, answer };
        self.submit(Write { changes, updates: vec![update] }, size, then).await;
    }
}
