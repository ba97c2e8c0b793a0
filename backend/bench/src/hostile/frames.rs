//! What hostile connections send: fixtures, honest frames, and damage.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context as _, ensure};
use bytes::Bytes;
use ensemble_protocol::hocuspocus::{awareness_frame, sync_frame};
use ensemble_protocol::lib0::write_uint;
use ensemble_protocol::sync::{PresenceEntry, SyncMessage, write_awareness_message, write_presence};
use serde_json::json;

use crate::client::{auth_frame, rpc_frame};
use crate::random::Random;

/// Numbers that are the end of something.
const ENDS: [u64; 12] =
    [0, 1, 127, 128, 255, 1 << 16, (1 << 31) - 1, 1 << 31, (1 << 32) - 1, (1 << 53) - 1, 1 << 53, u64::MAX];
/// Wounds of one frame at the most.
const WOUNDS: u64 = 4;
/// Bytes a damaged frame has at the most.
const FRAME_BYTES: usize = 64 * 1024;

/// A protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wire {
    /// Every frame addressed.
    Hocuspocus,
    /// One document per URL.
    YWebsocket,
}

impl Wire {
    /// A sync message as this protocol frames it.
    pub(crate) fn sync(self, address: &str, message: SyncMessage<'_>) -> Bytes {
        match self {
            Self::Hocuspocus => sync_frame(address, message),
            Self::YWebsocket => {
                let mut out = Vec::new();
                message.write(&mut out);
                out.into()
            }
        }
    }

    /// Presence as this protocol frames it.
    pub(crate) fn presence(self, address: &str, payload: &[u8]) -> Bytes {
        match self {
            Self::Hocuspocus => awareness_frame(address, payload),
            Self::YWebsocket => {
                let mut out = Vec::new();
                write_awareness_message(&mut out, payload);
                out.into()
            }
        }
    }

    /// The path of a socket.
    pub(crate) fn path(self, address: &str, token: &str) -> String {
        match self {
            Self::Hocuspocus => format!("/sync?project={}", address.split('/').next().unwrap_or_default()),
            Self::YWebsocket => format!("/sync/{address}?token={token}"),
        }
    }

    /// The same bytes as each message that carries bytes.
    pub(crate) fn all_messages(self, address: &str, bytes: &[u8]) -> [Bytes; 4] {
        [
            self.sync(address, SyncMessage::Update(bytes)),
            self.sync(address, SyncMessage::Step2(bytes)),
            self.sync(address, SyncMessage::Step1(bytes)),
            self.presence(address, bytes),
        ]
    }
}

/// Bytes that once did harm.
#[derive(Debug)]
pub(crate) struct Fixture {
    /// What must be in the document before.
    pub(crate) base: Option<Vec<u8>>,
    /// The bytes.
    pub(crate) bytes: Vec<u8>,
}

/// Reads the folder of fixtures.
pub(crate) fn fixtures(folder: &Path) -> anyhow::Result<Vec<Fixture>> {
    let mut found = BTreeMap::new();
    let entries = std::fs::read_dir(folder)
        .with_context(|| format!("there are no fixtures in `{}`", folder.display()))?;
    for entry in entries {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "hex")
            && let Some(name) = path.file_stem()
        {
            found.insert(name.to_string_lossy().into_owned(), super::unhex(&path)?);
        }
    }
    let is_base = |name: &&String| Path::new(name).extension().is_some_and(|end| end == "base");
    let names: Vec<String> = found.keys().filter(|name| !is_base(name)).cloned().collect();
    ensure!(!names.is_empty(), "there are no fixtures in `{}`", folder.display());
    let fixture = |name: String| {
        let base = found.get(&format!("{name}.base")).cloned();
        Fixture { base, bytes: found.get(&name).cloned().unwrap_or_default() }
    };
    Ok(names.into_iter().map(fixture).collect())
}

/// What an honest client of this protocol says, of every kind.
pub(crate) fn honest(wire: Wire, address: &str, token: &str, client: u64, update: &[u8]) -> Vec<Bytes> {
    let state = json!({"user": {"name": "Mallory", "color": "#30bced"}, "cursor": null}).to_string();
    let presence = write_presence([PresenceEntry { client, clock: 1, state: &state }].into_iter());
    let mut have = Vec::new();
    for number in [1, client, 3] {
        write_uint(&mut have, number);
    }
    let mut all: Vec<Bytes> = wire.all_messages(address, update).into();
    all.push(wire.sync(address, SyncMessage::Step1(&have)));
    all.push(wire.presence(address, &presence));
    match wire {
        Wire::Hocuspocus => {
            all.push(auth_frame(address, token));
            all.push(rpc_frame(address, 1, "project.rename", &json!({"name": "x"})));
            let mut query = address_alone(address);
            query.push(3);
            all.push(query.into());
            let mut close = address_alone(address);
            close.push(7);
            all.push(close.into());
            // The same as a provider with a session id says it.
            all.push(sync_frame(&format!("{address}\0a1b2"), SyncMessage::Update(update)));
        }
        Wire::YWebsocket => {
            all.push(Bytes::from_static(&[3]));
            // Several messages in one frame.
            all.push([&all[0][..], &all[4][..], &all[5][..]].concat().into());
        }
    }
    all
}

fn address_alone(address: &str) -> Vec<u8> {
    let mut out = Vec::new();
    ensemble_protocol::lib0::write_string(&mut out, address);
    out
}

/// Wounds bytes in one to four places.
pub(crate) fn damage(bytes: &[u8], other: &[u8], random: &mut Random) -> Vec<u8> {
    let mut out = bytes.to_vec();
    for _ in 0..=random.below(WOUNDS) {
        let place = random.below(out.len() as u64 + 1) as usize;
        let end = place + random.below((out.len() - place) as u64 + 1) as usize;
        match random.below(9) {
            0 if place < out.len() => out[place] = random.next() as u8,
            1 if place < out.len() => out[place] ^= 1 << random.below(8),
            2 if place < out.len() => drop(out.remove(place)),
            3 => out.insert(place, random.next() as u8),
            4 => {
                let mut number = Vec::new();
                write_uint(&mut number, ENDS[random.below(ENDS.len() as u64) as usize]);
                let replaced = (place + random.below(3) as usize).min(out.len());
                out.splice(place..replaced, number);
            }
            5 => out.truncate(place),
            6 => {
                let copy = out[place..end].to_vec();
                out.splice(place..place, copy);
            }
            7 => drop(out.drain(place..end)),
            _ if !other.is_empty() => {
                let from = random.below(other.len() as u64) as usize;
                let to = from + random.below((other.len() - from) as u64 + 1) as usize;
                out.splice(place..end, other[from..to].iter().copied());
            }
            _ => {}
        }
    }
    out.truncate(FRAME_BYTES);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_does_the_same_damage() {
        let wound = |seed| damage(b"an honest frame", b"another", &mut Random::new(seed));
        assert_eq!(wound(7), wound(7));
        assert!((0..100).any(|seed| wound(seed) != wound(seed + 100)));
    }
}
