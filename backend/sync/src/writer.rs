//! The server's own edits, encoded as updates under ids of their own.
//!
//! Agents, accept and reject, and documents made with a text write this way: the update is made from the
//! document's index, committed, and only then applied like anybody's. A yrs document has one client id for
//! life, so the live one cannot write under several.

use std::collections::HashMap;

use bytes::Bytes;
use ensemble_store::{ClientAdvance, ClientOwner, Ids};

use crate::admission::{Admitted, Refusal};
use crate::anchor::{Anchor, CONTENT, Unit, UnitRange};
use crate::index::Index;
use crate::update::{Block, Content, Group, Update, normalise, utf16_len};

/// A fresh client id: 32 bits like Yjs's own, so that it takes five bytes at the most.
pub fn new_client(ids: &dyn Ids, taken: impl Fn(u64) -> bool) -> u64 {
    loop {
        let client = ids.random_u64() >> 32;
        // 1 is what the live document calls itself.
        if client > 1 && !taken(client) {
            return client;
        }
    }
}

/// A new document's text as one update under a fresh id; `None` for an empty text.
pub fn new_text(ids: &dyn Ids, text: &str) -> Option<(Bytes, ClientAdvance)> {
    if text.is_empty() {
        return None;
    }
    let client = new_client(ids, |_| false);
    let units = UnitRange { client, clock: 0, length: utf16_len(text) };
    let block = Block { units, origin: None, right: None, content: Content::Text(text.into()) };
    let update = Update { groups: vec![Group { client, blocks: vec![block] }], deletes: Vec::new() };
    let advance = ClientAdvance { client, first: 0, next: units.length, owner: ClientOwner::Server };
    debug_assert_eq!(CONTENT, "content");
    Some((update.write().into(), advance))
}

/// An edit of the server: delete these units, insert this text at this place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerEdit {
    /// Where the text goes.
    pub at: Anchor,
    /// The text.
    pub insert: String,
    /// What to delete.
    pub delete: Vec<UnitRange>,
}

/// What one edit came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EncodedEdit {
    /// What was inserted.
    pub inserted: Option<UnitRange>,
    /// What is deleted, with the offsets it has now.
    pub deleted: Vec<crate::index::Stretch>,
    /// Units that were deleted already.
    pub missing: u32,
    /// The place after what was inserted.
    pub end: Anchor,
}

/// Encodes edits under a client id whose next clock is `clock`.
///
/// Edits at the same place follow each other in the order given.
pub fn encode(
    index: &Index,
    client: u64,
    clock: u32,
    edits: &[ServerEdit],
) -> Result<(Admitted<'static>, Vec<EncodedEdit>), Refusal> {
    let mut clock = clock;
    let mut admitted = Admitted::default();
    let mut encoded = Vec::with_capacity(edits.len());
    // Where an earlier edit of this call wrote, the next one at the same place follows it.
    let mut written: HashMap<Anchor, (Unit, Option<Unit>)> = HashMap::new();
    for edit in edits {
        let mut deleted = Vec::new();
        let mut wanted = 0;
        for range in &edit.delete {
            wanted += range.length;
            if range.end() > index.next_clock(range.client) {
                return Err(Refusal::UnknownPlace);
            }
            deleted.extend(index.visible_stretches(*range));
        }
        admitted.deletes.extend(deleted.iter().map(|stretch| stretch.units));
        let found: u32 = deleted.iter().map(|stretch| stretch.units.length).sum();

        let mut inserted = None;
        let mut end = edit.at;
        if !edit.insert.is_empty() {
            let (origin, right) = match written.get(&edit.at) {
                Some((last, right)) => (Some(*last), *right),
                None => index.neighbours(edit.at).ok_or(Refusal::UnknownPlace)?,
            };
            let units = UnitRange { client, clock, length: utf16_len(&edit.insert) };
            let content = Content::Text(edit.insert.clone().into());
            admitted.blocks.push(Block { units, origin, right, content });
            written.insert(edit.at, (units.last(), right));
            written.insert(Anchor::After(units.last()), (units.last(), right));
            clock = units.end();
            end = Anchor::After(units.last());
            inserted = Some(units);
        } else if index.neighbours(edit.at).is_none() && !written.contains_key(&edit.at) {
            return Err(Refusal::UnknownPlace);
        }
        encoded.push(EncodedEdit { inserted, deleted, missing: wanted - found, end });
    }
    admitted.deletes = normalise(std::mem::take(&mut admitted.deletes));
    Ok((admitted, encoded))
}
