//! People with an editor of their own: a second implementation of the protocol, on yrs.

use bytes::Bytes;
use ensemble_protocol::hocuspocus::Scope;
use ensemble_protocol::id::{MemberId, PeerId};
use ensemble_protocol::lib0::Reader;
use ensemble_protocol::sync::{Message, SyncMessage, read_presence};
use ensemble_store::Ids;
use ensemble_sync::peer::{Outbox, Outgoing};
use ensemble_sync::room::{Framing, Identity, Join, PeerGuard, PeerMessage, Room};
use serde_json::Value;
use std::collections::HashMap;
use yrs::updates::decoder::Decode as _;
use yrs::updates::encoder::Encode as _;
use yrs::{
    ClientID, Doc, GetString as _, OffsetKind, Options, ReadTxn as _, Text as _, TextRef, Transact as _,
};

use super::eventually;

/// A connection to a room and what is known over it.
struct Peer {
    guard: PeerGuard,
    outbox: Outbox,
    doc: Doc,
    presence: HashMap<u64, Value>,
    heard: usize,
    /// Lines the agent said it is at, from 0, and changes of others that were not announced so.
    span: Option<std::ops::Range<usize>>,
    unannounced: Vec<String>,
}

impl Peer {
    async fn join(room: Room, member: MemberId, ids: &dyn Ids, scope: Scope) -> Self {
        let outbox = Outbox::new();
        let identity = Identity { member, name: "Ada".into(), color: "#30bced".into() };
        let peer = PeerId::from_uuid(ids.uuid());
        let framing = Framing::YWebsocket;
        let guard = room.join(Join { peer, identity, scope, framing, outbox: outbox.slot() }).await.unwrap();
        let doc = Doc::with_options(Options {
            client_id: ClientID::new(ids.random_u64() >> 32),
            offset_kind: OffsetKind::Utf16,
            ..Options::default()
        });
        let mut peer = Self {
            guard,
            outbox,
            doc,
            presence: HashMap::new(),
            heard: 0,
            span: None,
            unannounced: Vec::new(),
        };
        let vector = peer.doc.transact().state_vector().encode_v1();
        peer.guard.say(PeerMessage::Step1(Bytes::from(vector))).await.unwrap();
        // What the room lacks: nothing.
        peer.guard.say(PeerMessage::Step2(Bytes::from_static(&[0, 0]))).await.unwrap();
        let mut synced = false;
        while !synced {
            let mut batch = Vec::new();
            peer.outbox.take(&mut batch).await;
            synced = peer.hear(batch);
        }
        peer
    }

    /// Takes what has come, and tells whether a step 2 was in it.
    fn hear(&mut self, batch: Vec<Outgoing>) -> bool {
        let mut synced = false;
        for outgoing in batch {
            let Outgoing::Frame(frame) = outgoing else {
                panic!("an attentive peer is not behind: {outgoing:?}")
            };
            match Message::read(&mut Reader::new(&frame)) {
                Ok(Message::Sync(SyncMessage::Step2(update))) => {
                    synced = true;
                    self.apply(update);
                }
                Ok(Message::Sync(SyncMessage::Update(update))) => {
                    self.heard += 1;
                    let before = self.text();
                    self.apply(update);
                    self.compare(&before);
                }
                Ok(Message::Awareness(bytes)) => {
                    for entry in read_presence(bytes).unwrap() {
                        match serde_json::from_str(entry.state).unwrap() {
                            Value::Null => self.presence.remove(&entry.client),
                            state => {
                                if state["status"] == "writing" {
                                    self.span = self.lines_of(&state["cursor"]);
                                }
                                self.presence.insert(entry.client, state)
                            }
                        };
                    }
                }
                _ => {}
            }
        }
        synced
    }

    fn apply(&self, update: &[u8]) {
        let update = yrs::Update::decode_v1(update).unwrap();
        self.doc.transact_mut().apply_update(update).unwrap();
    }

    fn text(&self) -> String {
        let transaction = self.doc.transact();
        transaction.get_text("content").map(|text| text.get_string(&transaction)).unwrap_or_default()
    }

    /// The lines between the ends of a cursor.
    fn lines_of(&self, cursor: &Value) -> Option<std::ops::Range<usize>> {
        let transaction = self.doc.transact();
        let text: Vec<u16> =
            transaction.get_text("content")?.get_string(&transaction).encode_utf16().collect();
        let line = |end: &str| {
            let place: yrs::StickyIndex = serde_json::from_value(cursor[end].clone()).ok()?;
            let offset = place.get_offset(&transaction)?.index as usize;
            Some(text[..offset].iter().filter(|unit| **unit == u16::from(b'\n')).count())
        };
        Some(line("anchor")?..line("head")?)
    }

    /// Notes a change that begins or ends outside the lines the agent said it is at.
    fn compare(&mut self, before: &str) {
        let after = self.text();
        let (old, new): (Vec<&str>, Vec<&str>) = (before.lines().collect(), after.lines().collect());
        let first = old.iter().zip(&new).take_while(|(old, new)| old == new).count();
        let last = old.iter().rev().zip(new.iter().rev()).take_while(|(old, new)| old == new).count();
        let last = old.len().saturating_sub(last).max(first);
        // A caret at the end of a line, or at the start of the next, is at the same place.
        let fits = self.span.as_ref().is_some_and(|span| span.start <= first + 1 && last <= span.end + 1);
        if before != after && !fits {
            self.unannounced.push(format!("lines {first}..{last} at {:?}", self.span));
        }
    }

    fn listen(&mut self) {
        let mut batch = Vec::new();
        self.outbox.try_take(&mut batch);
        self.hear(batch);
    }
}

/// Somebody who types in a text.
pub struct Person {
    peer: Peer,
    content: TextRef,
}

impl Person {
    pub async fn join(room: Room, member: MemberId, ids: &dyn Ids) -> Self {
        let peer = Peer::join(room, member, ids, Scope::ReadWrite).await;
        let content = peer.doc.get_or_insert_text("content");
        Self { peer, content }
    }

    /// The text as this person sees it.
    pub fn sees(&mut self) -> String {
        self.peer.listen();
        self.content.get_string(&self.peer.doc.transact())
    }

    /// Changes of others the agent did not announce before.
    pub fn unannounced(&mut self) -> Vec<String> {
        self.peer.listen();
        self.peer.unannounced.clone()
    }

    /// How many updates of others came.
    pub fn updates(&mut self) -> usize {
        self.peer.listen();
        self.peer.heard
    }

    /// Types right behind the first place these words stand at.
    pub async fn type_after(&mut self, words: &str, typed: &str) {
        let text = self.sees();
        let at = text.find(words).unwrap_or_else(|| panic!("{words:?} stands in\n{text}")) + words.len();
        let at = text[..at].encode_utf16().count() as u32;
        self.change(|content, transaction| content.insert(transaction, at, typed)).await;
    }

    /// Types at this share of the text, from 0 to 1, and never inside a character.
    pub async fn type_somewhere(&mut self, share: f64, typed: &str) {
        let text = self.sees();
        let before = (text.chars().count() as f64 * share) as usize;
        let at: usize = text.chars().take(before).map(char::len_utf16).sum();
        self.change(|content, transaction| content.insert(transaction, at as u32, typed)).await;
    }

    /// Deletes the first place these words stand at.
    pub async fn delete(&mut self, words: &str) {
        let text = self.sees();
        let at = text.find(words).unwrap_or_else(|| panic!("{words:?} stands in\n{text}"));
        let at = text[..at].encode_utf16().count() as u32;
        let length = words.encode_utf16().count() as u32;
        self.change(|content, transaction| content.remove_range(transaction, at, length)).await;
    }

    /// Replaces words where they stand between others, in one step. Answers whether they do.
    pub async fn replace(&mut self, before: &str, words: &str, after: &str, typed: &str) -> bool {
        let text = self.sees();
        let Some(at) = text.find(&format!("{before}{words}{after}")) else { return false };
        let at = text[..at + before.len()].encode_utf16().count() as u32;
        let length = words.encode_utf16().count() as u32;
        self.change(|content, transaction| {
            content.remove_range(transaction, at, length);
            content.insert(transaction, at, typed);
        })
        .await;
        true
    }

    async fn change(&mut self, change: impl FnOnce(&TextRef, &mut yrs::TransactionMut<'_>)) {
        let update = {
            let mut transaction = self.peer.doc.transact_mut();
            change(&self.content, &mut transaction);
            transaction.encode_update_v1()
        };
        self.peer.guard.say(PeerMessage::Update(update.into())).await.unwrap();
    }

    pub async fn wait_for(&mut self, words: &str) {
        let shared = std::cell::RefCell::new(self);
        eventually(words, async || shared.borrow_mut().sees().contains(words).then_some(())).await;
    }

    /// The agent's presence, if it is here.
    pub fn agent(&mut self) -> Option<Value> {
        self.peer.listen();
        self.peer.presence.values().find(|state| state["user"]["kind"] == "agent").cloned()
    }

    pub async fn wait_for_agent(&mut self, what: &str, is: impl Fn(Option<&Value>) -> bool) -> Option<Value> {
        let shared = std::cell::RefCell::new(self);
        eventually(what, async || {
            let agent = shared.borrow_mut().agent();
            is(agent.as_ref()).then_some(agent)
        })
        .await
    }
}

/// Somebody who looks at a replica.
pub struct Replica {
    peer: Peer,
}

impl Replica {
    pub async fn join(room: Room, member: MemberId, ids: &dyn Ids) -> Self {
        Self { peer: Peer::join(room, member, ids, Scope::ReadOnly).await }
    }

    /// The turns, by id.
    pub fn turns(&mut self) -> Value {
        use yrs::types::ToJson as _;
        self.peer.listen();
        let map = self.peer.doc.get_or_insert_map("turns");
        let any = map.to_json(&self.peer.doc.transact());
        serde_json::to_value(any).unwrap()
    }
}
