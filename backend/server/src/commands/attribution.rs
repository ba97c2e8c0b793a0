//! Who wrote every character of a document.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use ensemble_protocol::id::{DocumentId, MemberId, TurnId};
use ensemble_protocol::rest;
use ensemble_store::ClientOwner;
use ensemble_sync::ledger::{Ledger, Writer, attribute};

use super::Commands;
use crate::access::{Access, Action};
use crate::error::ApiError;

impl Commands {
    /// Who wrote a document's text, span by span.
    pub async fn attribution(&self, access: &Access, id: DocumentId) -> Result<rest::Attribution, ApiError> {
        access.authorize(Action::Read)?;
        let read = self.read_base(access, id).await?;
        // Read after the text: all of it is committed, and so is whose it is.
        let ledger = self.store.ledger_outline(id).await?.into_iter().map(|stored| stored.entry).collect();
        let owners: HashMap<u64, ClientOwner> = self
            .store
            .clients_of(id)
            .await?
            .into_iter()
            .map(|client| (client.client, client.owner))
            .collect();
        let first = self.store.history(id, 1, 1).await?;
        let maker = first.first().and_then(|update| update.author.member);
        let spans = attribute(&read.runs, &Ledger::new(ledger), |client| owners.get(&client).copied(), maker);

        let mut turn_ids: BTreeSet<TurnId> = BTreeSet::new();
        let mut member_ids: BTreeSet<MemberId> = BTreeSet::new();
        let spans = spans
            .into_iter()
            .map(|span| {
                let (by, member, turn, hunk) = match span.writer {
                    Writer::Person(member) => (rest::WrittenBy::Person, member, None, None),
                    Writer::Turn(turn, hunk) => (rest::WrittenBy::Turn, None, Some(turn), hunk),
                };
                turn_ids.extend(turn);
                member_ids.extend(member);
                let (start, length) = (span.start, span.units.length);
                let (client, clock) = (span.units.client, span.units.clock);
                rest::AttributedSpan { start, length, by, member, turn, hunk, client, clock }
            })
            .collect();
        let mut turns = BTreeMap::new();
        for id in turn_ids {
            if let Some(turn) = self.store.turn(id).await? {
                member_ids.insert(turn.by);
                let created_at = turn.created_at.into();
                let (agent, prompt, by) = (turn.agent, turn.prompt, turn.by);
                turns.insert(id.to_string(), rest::AttributedTurn { agent, prompt, by, created_at });
            }
        }
        let mut members = BTreeMap::new();
        for id in member_ids {
            if let Some(member) = self.store.member(id).await? {
                let (name, color) = (member.name, member.color);
                members.insert(id.to_string(), rest::AttributedMember { name, color });
            }
        }
        Ok(rest::Attribution { version: read.version, spans, turns, members })
    }
}
