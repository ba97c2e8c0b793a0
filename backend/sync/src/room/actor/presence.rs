//! Who is where: what peers and agents show, and when the others are told.

use ensemble_protocol::error::ErrorCode;
use ensemble_protocol::id::PeerId;
use ensemble_protocol::limits;
use ensemble_store::ClientOwner;
use tokio::time::Instant;

use super::RoomActor;
use crate::admission::Refusal;
use crate::people::Budget;
use crate::room::frames::{self, News};
use crate::room::{AgentPresence, Telling};
use crate::writer::new_client;

impl RoomActor {
    /// Tells everybody's presence to a peer that asks, once until it has taken the answer.
    pub(super) fn query_presence(&mut self, id: PeerId) {
        let Some(peer) = self.peers.get(&id).filter(|peer| !peer.outbox.has_presence()) else { return };
        let Some(everybody) = self.presence.all() else { return };
        let work = (everybody.len() / limits::REPLY_BYTES_PER_WORK) as f64;
        let may = |budget: &mut Budget| {
            let may = budget.may_work();
            budget.work.charge(work);
            may
        };
        if self.registry.people().budget(self.document, peer.identity.member, may) {
            peer.outbox.presence(frames::presence(&peer.framing, &everybody));
        } else {
            self.turn_out(id, ErrorCode::RateLimited, Refusal::TooOften.to_string());
        }
    }

    pub(super) fn hear_presence(&mut self, id: PeerId, bytes: &[u8]) {
        let Some(peer) = self.peers.get_mut(&id) else { return };
        let member = peer.identity.member;
        let owners = &self.owners;
        let announced = &peer.announced;
        let reserved = |client| match owners.get(&client) {
            Some(ClientOwner::Member(owner)) if *owner != member => true,
            Some(ClientOwner::Turn(_) | ClientOwner::Server) => true,
            Some(ClientOwner::Member(_) | ClientOwner::Nobody) | None => {
                announced.len() >= limits::PRESENCE_IDS_PER_PEER && !announced.contains(&client)
            }
        };
        match self.presence.hear(id, &peer.identity, bytes, Instant::now(), reserved) {
            Ok(heard) => {
                peer.announced.extend(heard.announced);
                if let Some(correction) = heard.correction {
                    peer.outbox.reply(frames::presence(&peer.framing, &correction));
                }
                self.schedule_presence();
            }
            Err(error) => {
                let reason = format!("the presence is malformed: {error}");
                self.turn_out(id, ErrorCode::MalformedFrame, reason);
            }
        }
    }

    pub(super) fn show_agent(&mut self, agent: &str, presence: Option<&AgentPresence>) {
        let ids = self.registry.options().ids.clone();
        let owners = &self.owners;
        let fresh = || new_client(&*ids, |client| owners.contains_key(&client));
        self.presence.agent(agent, presence, Instant::now(), fresh);
        if presence.is_some_and(|presence| presence.telling == Telling::Now) {
            self.presence.hurry(agent);
            self.tell_presence();
        } else {
            self.schedule_presence();
        }
    }

    pub(super) fn schedule_presence(&mut self) {
        if self.presence.has_news() && self.presence_due.is_none() {
            let now = Instant::now();
            let next = self.presence_told.map_or(now, |told| told + limits::PRESENCE_INTERVAL);
            self.presence_due = Some(next.max(now));
        }
    }

    pub(super) fn tell_presence(&mut self) {
        let now = Instant::now();
        self.presence_due = None;
        if let Some(payload) = self.presence.take_news(now) {
            self.presence_told = Some(now);
            self.tell(News::Presence(&payload), None);
        }
        if self.presence.has_news() {
            self.presence_due = Some(now + limits::PRESENCE_INTERVAL);
        }
    }
}
