//! Who is here and where, agents included.
//!
//! The rules of y-protocols' awareness, with what it leaves open closed: an entry belongs to the connection that
//! announced it, nobody writes another's, its name is the signed-in person's, and it dies with the socket.
//! Removals are told like everything else. News is gathered and told at most every
//! [`limits::PRESENCE_INTERVAL`], one entry at most every [`limits::PRESENCE_ENTRY_INTERVAL`].
//!
//! Format: <https://github.com/yjs/y-protocols/blob/master/awareness.js>.

use std::collections::{BTreeMap, HashMap};

use ensemble_protocol::id::PeerId;
use ensemble_protocol::lib0::DecodeError;
use ensemble_protocol::limits;
use ensemble_protocol::sync::{PresenceEntry, read_presence, write_presence};
use serde_json::{Map, Value, json};
use tokio::time::Instant;

use crate::room::{AgentPresence, Identity};

/// Who an entry belongs to.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Holder {
    Peer(PeerId),
    Agent(String),
    /// Gone; only the clock is kept, so that a stale message cannot bring it back.
    Nobody,
}

#[derive(Debug)]
struct Entry {
    holder: Holder,
    /// The person, also after they left, so that their next connection may take the id over.
    member: Option<ensemble_protocol::id::MemberId>,
    clock: u64,
    /// JSON, or `null`.
    state: String,
    renewed: Instant,
    told: Option<Instant>,
    news: bool,
}

/// Everybody's presence in one room.
#[derive(Debug, Default)]
pub struct Presence {
    entries: BTreeMap<u64, Entry>,
    agents: HashMap<String, u64>,
    has_news: bool,
}

/// What came of a peer's presence message.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Heard {
    /// Clocks the peer has to pass before others hear it: an awareness update for it alone.
    pub correction: Option<Vec<u8>>,
    /// Client ids it announced as its own.
    pub announced: Vec<u64>,
}

impl Presence {
    /// Takes a peer's message. Entries that are not its own are left out.
    pub fn hear(
        &mut self,
        peer: PeerId,
        identity: &Identity,
        bytes: &[u8],
        now: Instant,
        reserved: impl Fn(u64) -> bool,
    ) -> Result<Heard, DecodeError> {
        let mut heard = Heard::default();
        let mut corrections: Vec<(u64, u64)> = Vec::new();
        let mut made = false;
        for entry in read_presence(bytes)? {
            if entry.clock > limits::PRESENCE_CLOCK_MAX {
                return Err(DecodeError::TooLarge("the clock of a presence entry"));
            }
            let held = self.entries.get(&entry.client);
            let known = held.map(|held| held.clock);
            let mine = match held.map(|held| (&held.holder, held.member)) {
                // A connection has one entry: one message does not make several.
                None => !made && !reserved(entry.client),
                Some((Holder::Peer(holder), _)) if *holder == peer => true,
                // A tab that comes back keeps its id, while its old socket may not be known to be dead yet.
                Some((Holder::Peer(_) | Holder::Nobody, member)) => member == Some(identity.member),
                Some((Holder::Agent(_), _)) => false,
            };
            if !mine {
                continue;
            }
            let removal = entry.state == "null";
            let state = if removal { "null".to_owned() } else { stamped(entry.state, identity)? };
            let present = held.is_some_and(|held| held.state != "null");
            let returns = held.is_some_and(|held| held.holder == Holder::Nobody);
            let newer = match known {
                None => true,
                Some(known) => entry.clock > known || (entry.clock == known && removal && present),
            };
            if !newer {
                if returns && !removal {
                    corrections.push((entry.client, known.unwrap_or(0)));
                    heard.announced.push(entry.client);
                }
                continue;
            }
            if known.is_none() && removal {
                continue;
            }
            made |= known.is_none();
            heard.announced.push(entry.client);
            self.drop_others_of(peer, entry.client, now);
            self.put(entry.client, Holder::Peer(peer), Some(identity.member), entry.clock, state, now);
        }
        if !corrections.is_empty() {
            let entries = corrections.iter().map(|(client, clock)| PresenceEntry {
                client: *client,
                clock: *clock,
                state: "null",
            });
            heard.correction = Some(write_presence(entries));
        }
        Ok(heard)
    }

    /// A peer has one entry; an earlier one under another id leaves when a new one is announced.
    fn drop_others_of(&mut self, peer: PeerId, keep: u64, now: Instant) {
        let others: Vec<u64> = self
            .entries
            .iter()
            .filter(|(client, entry)| entry.holder == Holder::Peer(peer) && **client != keep)
            .map(|(client, _)| *client)
            .collect();
        for client in others {
            self.remove(client, now);
        }
    }

    fn put(
        &mut self,
        client: u64,
        holder: Holder,
        member: Option<ensemble_protocol::id::MemberId>,
        clock: u64,
        state: String,
        now: Instant,
    ) {
        let told = self.entries.get(&client).and_then(|entry| entry.told);
        let holder = if state == "null" { Holder::Nobody } else { holder };
        self.entries.insert(client, Entry { holder, member, clock, state, renewed: now, told, news: true });
        self.has_news = true;
    }

    fn remove(&mut self, client: u64, now: Instant) {
        if let Some(entry) = self.entries.get(&client)
            && entry.state != "null"
        {
            let (member, clock) = (entry.member, entry.clock + 1);
            self.put(client, Holder::Nobody, member, clock, "null".into(), now);
        }
    }

    /// Removes a peer's entries.
    pub fn leave(&mut self, peer: PeerId, now: Instant) {
        let clients: Vec<u64> = self
            .entries
            .iter()
            .filter(|(_, entry)| entry.holder == Holder::Peer(peer))
            .map(|(client, _)| *client)
            .collect();
        for client in clients {
            self.remove(client, now);
        }
    }

    /// Shows, moves or removes an agent, under an id of its own for as long as it is there.
    pub fn agent(
        &mut self,
        agent: &str,
        presence: Option<&AgentPresence>,
        now: Instant,
        fresh: impl FnOnce() -> u64,
    ) {
        let Some(presence) = presence else {
            if let Some(client) = self.agents.remove(agent) {
                self.remove(client, now);
            }
            return;
        };
        let client = *self.agents.entry(agent.to_owned()).or_insert_with(fresh);
        let cursor = presence.cursor.map(|(anchor, head)| {
            json!({ "anchor": anchor.to_relative_position(), "head": head.to_relative_position() })
        });
        let state = json!({
            "user": {
                "id": presence.agent,
                "name": presence.name,
                "color": presence.color,
                "kind": "agent",
            },
            "turn": presence.turn,
            "status": presence.status,
            "cursor": cursor,
        })
        .to_string();
        // Whoever announces what is seen already says nothing new.
        if self.entries.get(&client).is_some_and(|entry| entry.state == state) {
            return;
        }
        // JavaScript peers take an unknown clock for 0, so the first state has 1.
        let clock = self.entries.get(&client).map_or(1, |entry| entry.clock + 1);
        self.put(client, Holder::Agent(agent.to_owned()), None, clock, state, now);
    }

    /// Lets an agent's entry be told though it was told a moment ago.
    pub fn hurry(&mut self, agent: &str) {
        if let Some(entry) = self.agents.get(agent).and_then(|client| self.entries.get_mut(client)) {
            entry.told = None;
        }
    }

    /// The person who shows this id now.
    pub fn holder(&self, client: u64) -> Option<ensemble_protocol::id::MemberId> {
        self.entries
            .get(&client)
            .filter(|entry| matches!(entry.holder, Holder::Peer(_)))
            .and_then(|entry| entry.member)
    }

    /// Forgets the clocks of those who left the longest ago, where more have left than anybody needs to know.
    fn forget_gone(&mut self) {
        let mut gone: Vec<(Instant, u64)> = self
            .entries
            .iter()
            .filter(|(_, entry)| entry.holder == Holder::Nobody && !entry.news)
            .map(|(client, entry)| (entry.renewed, *client))
            .collect();
        if gone.len() > limits::PRESENCE_GONE {
            gone.sort_unstable();
            for (_, client) in &gone[..gone.len() - limits::PRESENCE_GONE] {
                self.entries.remove(client);
            }
        }
    }

    /// Whether this id is an agent's presence.
    pub fn is_agent(&self, client: u64) -> bool {
        self.agents.values().any(|held| *held == client)
    }

    /// Removes entries nobody renewed. Agents' stay, since the server removes them itself, and are renewed for
    /// clients that forget what they do not hear of.
    pub fn expire(&mut self, now: Instant) {
        for entry in self.entries.values_mut() {
            if matches!(entry.holder, Holder::Agent(_)) && now - entry.renewed >= limits::PRESENCE_RENEWAL {
                entry.clock += 1;
                entry.renewed = now;
                entry.news = true;
                self.has_news = true;
            }
        }
        let expired: Vec<u64> = self
            .entries
            .iter()
            .filter(|(_, entry)| {
                matches!(entry.holder, Holder::Peer(_)) && now - entry.renewed >= limits::PRESENCE_EXPIRY
            })
            .map(|(client, _)| *client)
            .collect();
        for client in expired {
            self.remove(client, now);
        }
        // Clocks of those who left are kept long enough for stale messages to die out.
        self.entries.retain(|_, entry| {
            entry.holder != Holder::Nobody || entry.news || now - entry.renewed < 2 * limits::PRESENCE_EXPIRY
        });
    }

    /// Whether there is something to tell.
    pub fn has_news(&self) -> bool {
        self.has_news
    }

    /// What is to be told now: an awareness update; what was told too recently waits for the next time.
    pub fn take_news(&mut self, now: Instant) -> Option<Vec<u8>> {
        let mut due = Vec::new();
        let mut waiting = false;
        for (client, entry) in &mut self.entries {
            if !entry.news {
                continue;
            }
            if entry.told.is_some_and(|told| now - told < limits::PRESENCE_ENTRY_INTERVAL)
                && entry.state != "null"
            {
                waiting = true;
                continue;
            }
            entry.news = false;
            entry.told = Some(now);
            due.push(*client);
        }
        self.has_news = waiting;
        if due.is_empty() {
            return None;
        }
        let news = write_presence(due.iter().map(|client| self.entry(*client)));
        if self.entries.len() > limits::PRESENCE_GONE {
            self.forget_gone();
        }
        Some(news)
    }

    /// Everybody who is here, as an awareness update; `None` when nobody is.
    pub fn all(&self) -> Option<Vec<u8>> {
        let here: Vec<u64> = self
            .entries
            .iter()
            .filter(|(_, entry)| entry.state != "null")
            .map(|(client, _)| *client)
            .collect();
        if here.is_empty() {
            None
        } else {
            Some(write_presence(here.iter().map(|client| self.entry(*client))))
        }
    }

    /// How many are here.
    pub fn len(&self) -> usize {
        self.entries.values().filter(|entry| entry.state != "null").count()
    }

    /// Whether nobody is here.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn entry(&self, client: u64) -> PresenceEntry<'_> {
        let entry = &self.entries[&client];
        PresenceEntry { client, clock: entry.clock, state: &entry.state }
    }
}

/// A state with the person's own id and name in it, whatever it said.
fn stamped(state: &str, identity: &Identity) -> Result<String, DecodeError> {
    // Depth is bounded by serde_json before anything is built; ours is stricter and checked after.
    let Ok(Value::Object(mut state)) = serde_json::from_str::<Value>(state) else {
        return Err(DecodeError::NotAllowed("a presence state is a JSON object or null"));
    };
    if state.values().any(|value| depth(value) > limits::PRESENCE_DEPTH) {
        return Err(DecodeError::TooLarge("nesting of a presence state"));
    }
    let mut user = match state.remove("user") {
        Some(Value::Object(user)) => user,
        _ => Map::new(),
    };
    user.insert("id".into(), json!(identity.member));
    user.insert("name".into(), json!(identity.name));
    user.insert("kind".into(), json!("person"));
    for (key, color) in [("color", identity.color.clone()), ("colorLight", format!("{}33", identity.color))] {
        let given = user.get(key).and_then(Value::as_str).is_some_and(is_color);
        if !given {
            user.insert(key.into(), json!(color));
        }
    }
    state.insert("user".into(), Value::Object(user));
    Ok(Value::Object(state).to_string())
}

/// Whether a text is `#` and three to eight hexadecimal digits: what browsers put into styles.
fn is_color(text: &str) -> bool {
    text.strip_prefix('#').is_some_and(|digits| {
        (3..=8).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_hexdigit())
    })
}

fn depth(value: &Value) -> usize {
    match value {
        Value::Array(items) => 1 + items.iter().map(depth).max().unwrap_or(0),
        Value::Object(fields) => 1 + fields.values().map(depth).max().unwrap_or(0),
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use ensemble_protocol::id::{MemberId, TurnId};
    use uuid::Uuid;

    use super::*;
    use crate::anchor::Anchor;
    use crate::room::Telling;

    fn peer(number: u128) -> PeerId {
        PeerId::from_uuid(Uuid::from_u128(number))
    }

    fn identity(number: u128, name: &str) -> Identity {
        Identity {
            member: MemberId::from_uuid(Uuid::from_u128(number)),
            name: name.into(),
            color: "#336699".into(),
        }
    }

    fn message(client: u64, clock: u64, state: &str) -> Vec<u8> {
        write_presence([PresenceEntry { client, clock, state }].into_iter())
    }

    fn told(presence: &mut Presence, now: Instant) -> Vec<(u64, u64, Value)> {
        let Some(bytes) = presence.take_news(now) else { return Vec::new() };
        read_presence(&bytes)
            .unwrap()
            .iter()
            .map(|entry| (entry.client, entry.clock, serde_json::from_str(entry.state).unwrap()))
            .collect()
    }

    fn spark() -> AgentPresence {
        AgentPresence {
            agent: "agent".into(),
            name: "Spark".into(),
            color: "#00aa88".into(),
            turn: TurnId::from_uuid(Uuid::from_u128(9)),
            status: "writing",
            cursor: None,
            telling: Telling::Soon,
        }
    }

    /// [P1] Presence carries the name of whoever is signed in.
    #[tokio::test(start_paused = true)]
    async fn a_name_is_the_signed_in_persons() {
        let mut presence = Presence::default();
        let now = Instant::now();
        let state = r##"{"user":{"name":"Teacher","id":"x","kind":"agent","color":"#ff0000","avatar":1},"cursor":null}"##;
        presence.hear(peer(1), &identity(7, "Ada"), &message(5, 0, state), now, |_| false).unwrap();
        let told = told(&mut presence, now);
        let user = &told[0].2["user"];
        assert_eq!((user["name"].as_str(), user["kind"].as_str()), (Some("Ada"), Some("person")));
        assert_eq!((user["color"].as_str(), user["avatar"].as_u64()), (Some("#ff0000"), Some(1)));
    }

    /// [P2] Nobody speaks for another.
    #[tokio::test(start_paused = true)]
    async fn nobody_speaks_for_another_and_entries_die_with_their_peer() {
        let mut presence = Presence::default();
        let now = Instant::now();
        presence.hear(peer(1), &identity(1, "Ada"), &message(5, 1, "{}"), now, |_| false).unwrap();
        presence.hear(peer(2), &identity(2, "Eve"), &message(5, 9, "null"), now, |_| false).unwrap();
        presence.hear(peer(2), &identity(2, "Eve"), &message(6, 1, "{}"), now, |client| client == 6).unwrap();
        assert_eq!(presence.len(), 1);
        told(&mut presence, now);
        presence.leave(peer(1), now);
        assert_eq!(told(&mut presence, now), [(5, 2, Value::Null)]);
        assert!(presence.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn a_tab_that_comes_back_is_told_which_clock_to_pass() {
        let mut presence = Presence::default();
        let now = Instant::now();
        let ada = identity(1, "Ada");
        presence.hear(peer(1), &ada, &message(5, 3, "{}"), now, |_| false).unwrap();
        presence.leave(peer(1), now);
        let heard = presence.hear(peer(2), &ada, &message(5, 3, "{}"), now, |_| false).unwrap();
        let correction = heard.correction.unwrap();
        let entries = read_presence(&correction).unwrap();
        assert_eq!((entries[0].client, entries[0].clock, entries[0].state), (5, 4, "null"));
        presence.hear(peer(2), &ada, &message(5, 5, "{}"), now, |_| false).unwrap();
        assert_eq!(presence.len(), 1);
    }

    /// [P3] An entry is told at most ten times a second.
    #[tokio::test(start_paused = true)]
    async fn one_entry_is_told_at_most_ten_times_a_second() {
        let mut presence = Presence::default();
        let ada = identity(1, "Ada");
        let mut times = 0;
        for clock in 0..100 {
            let now = Instant::now();
            presence.hear(peer(1), &ada, &message(5, clock, "{}"), now, |_| false).unwrap();
            times += told(&mut presence, now).len();
            tokio::time::advance(std::time::Duration::from_millis(10)).await;
        }
        assert_eq!(times, 10);
        assert!(presence.has_news(), "the last state is still to be told");
    }

    /// [P4] An entry nobody renews goes, and an agent's stays.
    #[tokio::test(start_paused = true)]
    async fn what_nobody_renews_expires_and_agents_stay() {
        let mut presence = Presence::default();
        let now = Instant::now();
        presence.hear(peer(1), &identity(1, "Ada"), &message(5, 1, "{}"), now, |_| false).unwrap();
        presence.agent("agent", Some(&spark()), now, || 77);
        tokio::time::advance(limits::PRESENCE_EXPIRY).await;
        presence.expire(Instant::now());
        assert_eq!(presence.len(), 1);
        assert!(presence.is_agent(77));
        presence.agent("agent", None, Instant::now(), || unreachable!("it has an id"));
        assert!(presence.is_empty());
    }

    /// [P4] Stock clients forget an entry that says nothing for 30 s, however long a model thinks.
    #[tokio::test(start_paused = true)]
    async fn an_agent_that_stands_still_is_told_again_before_clients_forget_it() {
        let mut presence = Presence::default();
        presence.agent("agent", Some(&spark()), Instant::now(), || 77);
        assert_eq!(told(&mut presence, Instant::now()).len(), 1);
        let mut clocks = Vec::new();
        for _ in 0..60 {
            tokio::time::advance(std::time::Duration::from_secs(1)).await;
            presence.expire(Instant::now());
            clocks.extend(told(&mut presence, Instant::now()).iter().map(|(_, clock, _)| *clock));
        }
        assert_eq!(clocks, [2, 3, 4, 5]);
    }

    #[tokio::test(start_paused = true)]
    async fn an_agent_where_it_was_is_no_news() {
        let mut presence = Presence::default();
        let now = Instant::now();
        presence.agent("agent", Some(&spark()), now, || 77);
        assert_eq!(told(&mut presence, now).len(), 1);
        presence.agent("agent", Some(&spark()), now, || unreachable!("it has an id"));
        presence.hurry("agent");
        assert_eq!(told(&mut presence, now), []);
        let moved = AgentPresence { cursor: Some((Anchor::Start, Anchor::Start)), ..spark() };
        presence.agent("agent", Some(&moved), now, || unreachable!("it has an id"));
        presence.hurry("agent");
        assert_eq!(told(&mut presence, now).len(), 1);
    }

    /// A clock that browsers cannot count further would make theirs throw when its entry goes.
    #[tokio::test(start_paused = true)]
    async fn a_clock_at_the_end_of_numbers_is_refused() {
        let mut presence = Presence::default();
        let last = (1 << 53) - 1;
        let refused =
            presence.hear(peer(1), &identity(1, "Ada"), &message(5, last, "{}"), Instant::now(), |_| false);
        assert!(refused.is_err());
        presence.leave(peer(1), Instant::now());
        assert_eq!(told(&mut presence, Instant::now()), []);
    }

    #[tokio::test(start_paused = true)]
    async fn broken_states_are_refused() {
        let mut presence = Presence::default();
        let deep = format!("{{\"a\":{}1{}}}", "[".repeat(20), "]".repeat(20));
        for state in ["", "{", "3", "[]", &deep] {
            let refused =
                presence.hear(peer(1), &identity(1, "Ada"), &message(5, 1, state), Instant::now(), |_| false);
            assert!(refused.is_err(), "{state}");
        }
        assert!(presence.is_empty());
    }
}
