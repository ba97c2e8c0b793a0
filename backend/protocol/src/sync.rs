//! The messages of y-protocols: sync, awareness, auth.
//!
//! Format: <https://github.com/yjs/y-protocols/blob/master/PROTOCOL.md>.
//! One message per WebSocket frame: stock clients decode one and ignore the rest.
//! Update bytes are opaque here; what they may contain is decided in `sync::admission`.

use crate::lib0::{DecodeError, Reader, write_bytes, write_string, write_uint};
use crate::limits;

/// Message type of sync messages.
pub const MESSAGE_SYNC: u64 = 0;
/// Message type of awareness updates.
pub const MESSAGE_AWARENESS: u64 = 1;
/// Message type of authentication answers.
pub const MESSAGE_AUTH: u64 = 2;
/// Message type of a request for all presence.
pub const MESSAGE_QUERY_AWARENESS: u64 = 3;

const SYNC_STEP_1: u64 = 0;
const SYNC_STEP_2: u64 = 1;
const SYNC_UPDATE: u64 = 2;

/// A step of the sync protocol, with its payload still encoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SyncMessage<'a> {
    /// "This is what I have": a state vector.
    Step1(&'a [u8]),
    /// "This is what you lack": the update that answers a step 1.
    Step2(&'a [u8]),
    /// Something new.
    Update(&'a [u8]),
}

impl<'a> SyncMessage<'a> {
    /// Reads sub-type and payload.
    pub fn read(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        match reader.uint()? {
            SYNC_STEP_1 => Ok(Self::Step1(reader.bytes()?)),
            SYNC_STEP_2 => Ok(Self::Step2(reader.bytes()?)),
            SYNC_UPDATE => Ok(Self::Update(reader.bytes()?)),
            other => Err(DecodeError::UnknownKind(other)),
        }
    }

    /// Appends message type, sub-type and payload.
    pub fn write(&self, out: &mut Vec<u8>) {
        write_uint(out, MESSAGE_SYNC);
        let (kind, payload) = match self {
            Self::Step1(payload) => (SYNC_STEP_1, payload),
            Self::Step2(payload) => (SYNC_STEP_2, payload),
            Self::Update(payload) => (SYNC_UPDATE, payload),
        };
        write_uint(out, kind);
        write_bytes(out, payload);
    }
}

/// One message of the y-websocket protocol, from a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Message<'a> {
    /// A sync step or update.
    Sync(SyncMessage<'a>),
    /// An awareness update, still encoded: read it with [`read_presence`].
    Awareness(&'a [u8]),
    /// Asks for everybody's presence.
    QueryAwareness,
}

impl<'a> Message<'a> {
    /// Reads one message; a client may put several into a frame.
    pub fn read(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        match reader.uint()? {
            MESSAGE_SYNC => SyncMessage::read(reader).map(Self::Sync),
            MESSAGE_AWARENESS => reader.bytes().map(Self::Awareness),
            MESSAGE_QUERY_AWARENESS => Ok(Self::QueryAwareness),
            other => Err(DecodeError::UnknownKind(other)),
        }
    }
}

/// One peer's entry in an awareness update.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PresenceEntry<'a> {
    /// The client id the state belongs to.
    pub client: u64,
    /// Newer states have larger clocks.
    pub clock: u64,
    /// A JSON object, or `null` for a peer that left. Not checked yet.
    pub state: &'a str,
}

/// Reads an awareness update, bounded in entries and in bytes per entry.
pub fn read_presence(bytes: &[u8]) -> Result<Vec<PresenceEntry<'_>>, DecodeError> {
    let mut reader = Reader::new(bytes);
    // An entry takes at least three bytes; the count is checked before anything is allocated.
    let count = reader.length()?;
    if count > limits::PRESENCE_ENTRIES_PER_MESSAGE {
        return Err(DecodeError::TooLarge("number of presence entries"));
    }
    let mut entries = Vec::with_capacity(count);
    for _ in 0..count {
        let client = reader.uint()?;
        let clock = reader.uint()?;
        let state = reader.string()?;
        if state.len() > limits::PRESENCE_STATE_BYTES {
            return Err(DecodeError::TooLarge("presence state"));
        }
        entries.push(PresenceEntry { client, clock, state });
    }
    reader.finish()?;
    Ok(entries)
}

/// Writes the payload of an awareness update (without message type and length).
pub fn write_presence<'a>(entries: impl ExactSizeIterator<Item = PresenceEntry<'a>>) -> Vec<u8> {
    let mut out = Vec::new();
    write_uint(&mut out, entries.len() as u64);
    for entry in entries {
        write_uint(&mut out, entry.client);
        write_uint(&mut out, entry.clock);
        write_string(&mut out, entry.state);
    }
    out
}

/// Appends an awareness message around an encoded awareness update.
pub fn write_awareness_message(out: &mut Vec<u8>, payload: &[u8]) {
    write_uint(out, MESSAGE_AWARENESS);
    write_bytes(out, payload);
}

/// Appends a y-websocket "denied" message; the stock client only logs it, the close code decides.
pub fn write_denied(out: &mut Vec<u8>, reason: &str) {
    write_uint(out, MESSAGE_AUTH);
    write_uint(out, 0);
    write_string(out, reason);
}

/// Reads a state vector into pairs of client id and next clock, each client once.
pub fn read_state_vector(bytes: &[u8]) -> Result<Vec<(u64, u32)>, DecodeError> {
    let mut reader = Reader::new(bytes);
    let count = reader.uint()?;
    // Two bytes a pair at the least.
    if count > (reader.remaining() / 2) as u64 {
        return Err(DecodeError::Truncated);
    }
    let mut pairs = Vec::with_capacity(count as usize);
    for _ in 0..count {
        let client = reader.uint()?;
        let clock = u32::try_from(reader.uint()?).map_err(|_| DecodeError::BadNumber)?;
        if clock > limits::CLOCK_MAX {
            return Err(DecodeError::BadNumber);
        }
        pairs.push((client, clock));
    }
    reader.finish()?;
    let mut seen: Vec<u64> = pairs.iter().map(|(client, _)| *client).collect();
    seen.sort_unstable();
    if seen.windows(2).any(|pair| pair[0] == pair[1]) {
        return Err(DecodeError::NotAllowed("a state vector names each client once"));
    }
    Ok(pairs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sync_message_is_read_back() {
        let mut out = Vec::new();
        SyncMessage::Update(&[0, 0]).write(&mut out);
        assert_eq!(out, [0, 2, 2, 0, 0]);
        let mut reader = Reader::new(&out);
        assert_eq!(Message::read(&mut reader), Ok(Message::Sync(SyncMessage::Update(&[0, 0]))));
        assert!(reader.is_empty());
    }

    #[test]
    fn presence_is_bounded_before_it_is_read() {
        let removal = write_presence([PresenceEntry { client: 1, clock: 2, state: "null" }].into_iter());
        assert_eq!(removal, [1, 1, 2, 4, b'n', b'u', b'l', b'l']);
        assert_eq!(read_presence(&removal).unwrap()[0].clock, 2);
        assert_eq!(read_presence(&[0xff, 0xff, 0xff, 0x7f]), Err(DecodeError::Truncated));
        let mut many = vec![100];
        many.extend([1, 0, 0].repeat(100));
        assert_eq!(read_presence(&many), Err(DecodeError::TooLarge("number of presence entries")));
    }

    #[test]
    fn state_vectors_are_bounded_and_name_each_client_once() {
        assert_eq!(read_state_vector(&[0]), Ok(vec![]));
        assert_eq!(read_state_vector(&[1, 1, 2]), Ok(vec![(1, 2)]));
        assert_eq!(read_state_vector(&[0x80, 0x80, 0x80, 0x7f, 1]), Err(DecodeError::Truncated));
        assert!(read_state_vector(&[2, 1, 2, 1, 3]).is_err());
        assert!(read_state_vector(&[1, 1, 2, 0]).is_err());
    }
}
