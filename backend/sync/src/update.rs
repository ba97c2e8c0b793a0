//! Update bytes, format V1, of documents that hold one text: reading them strictly and writing them.
//!
//! Format: <https://github.com/yjs/yjs/blob/v13.6.27/INTERNALS.md> and `structs/*.js` beside it.
//! The grammar admits what Yjs clients make of a document with one root text, and nothing else: plain strings
//! and deleted stretches. Everything is borrowed from the frame; every count is bounded by the bytes left.
//!
//! ```text
//! update  = n(groups) group* deletes END
//! group   = n(blocks) client clock block*        client ids strictly descending
//! block   = info [origin] [right] [parent] content
//! deletes = n { client n { clock length } }
//! ```

use std::borrow::Cow;

use ensemble_protocol::lib0::{DecodeError, Reader, write_string, write_uint};
use ensemble_protocol::limits::CLOCK_MAX;

use crate::anchor::{CONTENT, Unit, UnitRange};

const KIND_DELETED: u8 = 1;
const KIND_STRING: u8 = 4;
const KIND_SKIP: u8 = 10;
const KIND_MASK: u8 = 0x1f;
const HAS_MAP_KEY: u8 = 0x20;
const HAS_RIGHT: u8 = 0x40;
const HAS_ORIGIN: u8 = 0x80;

/// What a block holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content<'a> {
    /// Text that is gone; only its length is left.
    Deleted,
    /// Text.
    Text(Cow<'a, str>),
    /// A hole: the sender knows of something here and does not have it. Only in replies to a step 1.
    Skip,
}

/// Consecutive units inserted by one client at one place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Block<'a> {
    /// Its units.
    pub units: UnitRange,
    /// The unit left of it when it was inserted.
    pub origin: Option<Unit>,
    /// The unit right of it when it was inserted.
    pub right: Option<Unit>,
    /// What it holds.
    pub content: Content<'a>,
}

impl<'a> Block<'a> {
    /// The block without its first `units` units, whose last then is its origin.
    ///
    /// Cutting inside a surrogate pair leaves a replacement character on each side, as in Yjs.
    #[must_use]
    pub fn without_first(&self, units: u32) -> Block<'a> {
        debug_assert!(units < self.units.length, "a cut leaves something");
        if units == 0 {
            return self.clone();
        }
        let content = match &self.content {
            Content::Text(text) => {
                let (bytes, halved) = utf16_prefix(text, units);
                if halved {
                    let mut rest = text[bytes..].chars();
                    rest.next();
                    Content::Text(Cow::Owned(format!("\u{fffd}{}", rest.as_str())))
                } else {
                    Content::Text(Cow::Owned(text[bytes..].to_owned()))
                }
            }
            other => other.clone(),
        };
        let units = UnitRange {
            client: self.units.client,
            clock: self.units.clock + units,
            length: self.units.length - units,
        };
        Block {
            units,
            origin: Some(Unit { client: units.client, clock: units.clock - 1 }),
            right: self.right,
            content,
        }
    }
}

/// Bytes of the first `units` UTF-16 units of `text`, and whether the cut goes through a surrogate pair
/// (the bytes then end before that character).
pub fn utf16_prefix(text: &str, units: u32) -> (usize, bool) {
    let mut seen = 0;
    for (bytes, character) in text.char_indices() {
        if seen >= units {
            return (bytes, false);
        }
        let width = character.len_utf16() as u32;
        if seen + width > units {
            return (bytes, true);
        }
        seen += width;
    }
    (text.len(), false)
}

/// UTF-16 units of a text.
pub fn utf16_len(text: &str) -> u32 {
    // Counting what starts a character, and four-byte characters twice, needs no decoding.
    text.bytes().map(|byte| u32::from(byte & 0xc0 != 0x80) + u32::from(byte >= 0xf0)).sum()
}

/// The blocks of one client, in order and without gaps (a hole is a `Skip`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group<'a> {
    /// The client.
    pub client: u64,
    /// Its blocks.
    pub blocks: Vec<Block<'a>>,
}

/// An update, read.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Update<'a> {
    /// Insertions, by client.
    pub groups: Vec<Group<'a>>,
    /// Deletions; ascending and apart within a client.
    pub deletes: Vec<UnitRange>,
}

impl<'a> Update<'a> {
    /// Reads a whole update.
    pub fn read(bytes: &'a [u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(bytes);
        let groups = Self::read_groups(&mut reader)?;
        let deletes = Self::read_deletes(&mut reader)?;
        reader.finish()?;
        Ok(Self { groups, deletes })
    }

    /// Whether there is nothing in it.
    pub fn is_empty(&self) -> bool {
        self.groups.is_empty() && self.deletes.is_empty()
    }

    fn read_groups(reader: &mut Reader<'a>) -> Result<Vec<Group<'a>>, DecodeError> {
        let count = bounded(reader, 4)?;
        let mut groups: Vec<Group<'a>> = Vec::with_capacity(count);
        for _ in 0..count {
            let blocks = bounded(reader, 2)?;
            let client = reader.uint()?;
            let mut clock = clock(reader)?;
            if blocks == 0 {
                return Err(DecodeError::NotAllowed("a client without blocks"));
            }
            if groups.last().is_some_and(|group| group.client <= client) {
                return Err(DecodeError::NotAllowed("clients are not in descending order"));
            }
            let mut group = Group { client, blocks: Vec::with_capacity(blocks) };
            for _ in 0..blocks {
                let block = Self::read_block(reader, client, clock)?;
                clock = block.units.end();
                group.blocks.push(block);
            }
            groups.push(group);
        }
        Ok(groups)
    }

    fn read_block(reader: &mut Reader<'a>, client: u64, clock: u32) -> Result<Block<'a>, DecodeError> {
        let info = reader.byte()?;
        if info == KIND_SKIP {
            let units = UnitRange { client, clock, length: length(reader, clock)? };
            return Ok(Block { units, origin: None, right: None, content: Content::Skip });
        }
        if info & HAS_MAP_KEY != 0 {
            return Err(DecodeError::NotAllowed("a map key in a text"));
        }
        let kind = info & KIND_MASK;
        if kind != KIND_DELETED && kind != KIND_STRING {
            return Err(DecodeError::NotAllowed("content other than plain text"));
        }
        let origin = if info & HAS_ORIGIN == 0 { None } else { Some(unit(reader)?) };
        let right = if info & HAS_RIGHT == 0 { None } else { Some(unit(reader)?) };
        if origin.is_none() && right.is_none() && (reader.uint()? != 1 || reader.string()? != CONTENT) {
            return Err(DecodeError::NotAllowed("a parent other than the text"));
        }
        let (length, content) = if kind == KIND_DELETED {
            (length(reader, clock)?, Content::Deleted)
        } else {
            let text = reader.string()?;
            if text.is_empty() {
                return Err(DecodeError::NotAllowed("an empty text"));
            }
            (checked_length(u64::from(utf16_len(text)), clock)?, Content::Text(Cow::Borrowed(text)))
        };
        Ok(Block { units: UnitRange { client, clock, length }, origin, right, content })
    }

    fn read_deletes(reader: &mut Reader<'a>) -> Result<Vec<UnitRange>, DecodeError> {
        let clients = bounded(reader, 4)?;
        let mut deletes = Vec::new();
        let mut seen = Vec::with_capacity(clients);
        for _ in 0..clients {
            let client = reader.uint()?;
            seen.push(client);
            let ranges = bounded(reader, 2)?;
            if ranges == 0 {
                return Err(DecodeError::NotAllowed("a client without deletions"));
            }
            let mut end = 0;
            for index in 0..ranges {
                let clock = clock(reader)?;
                let length = length(reader, clock)?;
                if index > 0 && clock < end {
                    return Err(DecodeError::NotAllowed("deletions out of order"));
                }
                end = clock + length;
                deletes.push(UnitRange { client, clock, length });
            }
        }
        seen.sort_unstable();
        if seen.windows(2).any(|pair| pair[0] == pair[1]) {
            return Err(DecodeError::NotAllowed("a client's deletions come twice"));
        }
        Ok(deletes)
    }

    /// Writes the update, each client's blocks together and clients in descending order.
    ///
    /// Blocks of one client must be ascending; a hole between two becomes a `Skip`, which nobody should need.
    pub fn write(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(64);
        write_uint(&mut out, self.groups.len() as u64);
        for group in &self.groups {
            let Some(first) = group.blocks.first() else { continue };
            write_uint(&mut out, group.blocks.len() as u64);
            write_uint(&mut out, group.client);
            write_uint(&mut out, u64::from(first.units.clock));
            for block in &group.blocks {
                write_block(&mut out, block);
            }
        }
        write_deletes(&mut out, &self.deletes);
        out
    }
}

fn write_block(out: &mut Vec<u8>, block: &Block<'_>) {
    let kind = match &block.content {
        Content::Deleted => KIND_DELETED,
        Content::Text(_) => KIND_STRING,
        Content::Skip => {
            out.push(KIND_SKIP);
            write_uint(out, u64::from(block.units.length));
            return;
        }
    };
    let origin = if block.origin.is_some() { HAS_ORIGIN } else { 0 };
    let right = if block.right.is_some() { HAS_RIGHT } else { 0 };
    out.push(kind | origin | right);
    for unit in [block.origin, block.right].into_iter().flatten() {
        write_uint(out, unit.client);
        write_uint(out, u64::from(unit.clock));
    }
    if block.origin.is_none() && block.right.is_none() {
        write_uint(out, 1);
        write_string(out, CONTENT);
    }
    match &block.content {
        Content::Text(text) => write_string(out, text),
        Content::Deleted | Content::Skip => write_uint(out, u64::from(block.units.length)),
    }
}

fn write_deletes(out: &mut Vec<u8>, deletes: &[UnitRange]) {
    let clients = deletes.chunk_by(|a, b| a.client == b.client);
    write_uint(out, clients.clone().count() as u64);
    for ranges in clients {
        write_uint(out, ranges[0].client);
        write_uint(out, ranges.len() as u64);
        for range in ranges {
            write_uint(out, u64::from(range.clock));
            write_uint(out, u64::from(range.length));
        }
    }
}

/// Puts ranges into the order they are written in and joins those that touch.
pub fn normalise(mut ranges: Vec<UnitRange>) -> Vec<UnitRange> {
    ranges.sort_unstable();
    ranges.dedup_by(|next, previous| {
        let joined = next.client == previous.client && next.clock <= previous.end();
        if joined {
            previous.length = previous.end().max(next.end()) - previous.clock;
        }
        joined
    });
    ranges
}

/// A count of things that take at least `each` bytes.
fn bounded(reader: &mut Reader<'_>, each: usize) -> Result<usize, DecodeError> {
    let count = reader.uint()?;
    if count > (reader.remaining() / each) as u64 { Err(DecodeError::Truncated) } else { Ok(count as usize) }
}

fn clock(reader: &mut Reader<'_>) -> Result<u32, DecodeError> {
    u32::try_from(reader.uint()?).ok().filter(|clock| *clock < CLOCK_MAX).ok_or(DecodeError::BadNumber)
}

fn unit(reader: &mut Reader<'_>) -> Result<Unit, DecodeError> {
    Ok(Unit { client: reader.uint()?, clock: clock(reader)? })
}

fn length(reader: &mut Reader<'_>, clock: u32) -> Result<u32, DecodeError> {
    checked_length(reader.uint()?, clock)
}

fn checked_length(length: u64, clock: u32) -> Result<u32, DecodeError> {
    if length == 0 || length + u64::from(clock) > u64::from(CLOCK_MAX) {
        return Err(DecodeError::BadNumber);
    }
    Ok(length as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Client 1 typed "hi".
    const HI: &[u8] = b"\x01\x01\x01\x00\x04\x01\x07content\x02hi\x00";

    #[test]
    fn an_update_is_read_and_written_back() {
        let update = Update::read(HI).unwrap();
        assert_eq!(update.groups[0].blocks[0].content, Content::Text("hi".into()));
        assert_eq!(update.groups[0].blocks[0].units, UnitRange { client: 1, clock: 0, length: 2 });
        assert_eq!(update.write(), HI);
        assert!(Update::read(&[0, 0]).unwrap().is_empty());
    }

    #[test]
    fn every_cut_and_every_addition_is_refused() {
        for end in 0..HI.len() {
            assert!(Update::read(&HI[..end]).is_err(), "{end}");
        }
        assert_eq!(Update::read(&[HI, &[0]].concat()), Err(DecodeError::Trailing(1)));
    }

    #[test]
    fn what_no_text_document_holds_is_refused() {
        let cases: [(&str, &[u8]); 9] = [
            ("another root", b"\x01\x01\x01\x00\x04\x01\x01t\x02hi\x00"),
            ("a GC block", b"\x01\x01\x01\x00\x00\x02\x00"),
            ("a map key", b"\x01\x01\x01\x00\x24\x01\x07content\x01k\x02hi\x00"),
            ("a nested type", b"\x01\x01\x01\x00\x07\x01\x07content\x02\x00"),
            ("an empty string", b"\x01\x01\x01\x00\x04\x01\x07content\x00\x00"),
            ("a deleted block of no units", b"\x01\x01\x01\x00\x01\x01\x07content\x00\x00"),
            (
                "a clock at the end of numbers",
                b"\x01\x01\x01\xff\xff\xff\xff\x07\x04\x01\x07content\x02hi\x00",
            ),
            ("deletions out of order", b"\x00\x01\x01\x02\x05\x01\x04\x01"),
            ("250 million groups", b"\x80\xe5\x9a\x77"),
        ];
        for (what, bytes) in cases {
            assert!(Update::read(bytes).is_err(), "{what}");
        }
    }

    #[test]
    fn a_block_is_cut_at_units_and_through_a_surrogate_pair_as_in_yjs() {
        let block = Block {
            units: UnitRange { client: 1, clock: 5, length: 4 },
            origin: None,
            right: Some(Unit { client: 2, clock: 0 }),
            content: Content::Text("a👩b".into()),
        };
        let cut = block.without_first(1);
        assert_eq!((cut.content, cut.units.clock, cut.units.length), (Content::Text("👩b".into()), 6, 3));
        assert_eq!((cut.origin, cut.right), (Some(Unit { client: 1, clock: 5 }), block.right));
        assert_eq!(block.without_first(2).content, Content::Text("\u{fffd}b".into()));
        assert_eq!(block.without_first(3).content, Content::Text("b".into()));
        for text in ["", "abc", "aé👩", "\u{fffd}\u{10ffff}z"] {
            assert_eq!(utf16_len(text) as usize, text.encode_utf16().count());
        }
    }

    #[test]
    fn ranges_are_joined_where_they_touch() {
        let range = |client, clock, length| UnitRange { client, clock, length };
        assert_eq!(
            normalise(vec![range(2, 5, 2), range(1, 0, 1), range(2, 7, 1), range(2, 5, 1), range(2, 9, 1)]),
            [range(1, 0, 1), range(2, 5, 3), range(2, 9, 1)]
        );
    }
}
