//! Typing without a document: updates that append one character each, written by hand.
//!
//! A load generator must not be slower than what it loads, so its writer keeps no text, and its readers look
//! only at how far each update reaches.

use anyhow::{Context as _, bail};
use ensemble_protocol::lib0::{Reader, write_string, write_uint};
use yrs::Update;
use yrs::updates::decoder::Decode as _;

const CONTENT_STRING: u8 = 4;
const HAS_ORIGIN: u8 = 0x80;

/// One person's unbroken run of text.
#[derive(Debug)]
pub(crate) struct Run {
    client: u64,
    clock: u64,
}

impl Run {
    /// A run that has not begun.
    pub(crate) const fn new(client: u64) -> Self {
        Self { client, clock: 0 }
    }

    /// The update that appends one ASCII character.
    pub(crate) fn append(&mut self, character: char) -> Vec<u8> {
        debug_assert!(character.is_ascii(), "a clock counts UTF-16 units");
        let mut out = Vec::with_capacity(32);
        // One client, with one block.
        write_uint(&mut out, 1);
        write_uint(&mut out, 1);
        write_uint(&mut out, self.client);
        write_uint(&mut out, self.clock);
        if self.clock == 0 {
            out.push(CONTENT_STRING);
            // The parent is the root named so.
            write_uint(&mut out, 1);
            write_string(&mut out, "content");
        } else {
            out.push(CONTENT_STRING | HAS_ORIGIN);
            write_uint(&mut out, self.client);
            write_uint(&mut out, self.clock - 1);
        }
        write_string(&mut out, character.encode_utf8(&mut [0; 4]));
        // Nothing is deleted.
        write_uint(&mut out, 0);
        self.clock += 1;
        out
    }
}

/// How far an update reaches in one client's run: the clock after its last unit.
pub(crate) fn reach(update: &[u8], client: u64) -> anyhow::Result<u64> {
    if let Some(reach) = reach_of_one(update, client) {
        return Ok(reach);
    }
    // Servers may join updates; then the library reads them.
    let update = Update::decode_v1(update).context("an update cannot be read")?;
    match update.state_vector().get(&yrs::ClientID::new(client)) {
        0 => bail!("an update is not by the writer"),
        clock => Ok(u64::from(clock)),
    }
}

/// The same for the usual case, one block with one character, without allocating.
fn reach_of_one(update: &[u8], client: u64) -> Option<u64> {
    let mut reader = Reader::new(update);
    if reader.uint().ok()? != 1 || reader.uint().ok()? != 1 || reader.uint().ok()? != client {
        return None;
    }
    let clock = reader.uint().ok()?;
    match reader.byte().ok()? {
        CONTENT_STRING => {
            reader.uint().ok()?;
            reader.string().ok()?;
        }
        info if info == CONTENT_STRING | HAS_ORIGIN => {
            reader.uint().ok()?;
            reader.uint().ok()?;
        }
        _ => return None,
    }
    let text = reader.string().ok()?;
    (text.is_ascii() && reader.uint().ok()? == 0).then(|| clock + text.len() as u64)
}

#[cfg(test)]
mod tests {
    use yrs::{Doc, GetString as _, ReadTxn as _, StateVector, Transact as _};

    use super::*;

    #[test]
    fn a_run_is_what_the_library_reads_as_one() {
        let doc = Doc::new();
        let content = doc.get_or_insert_text("content");
        let mut run = Run::new(300);
        for (at, character) in "hello".chars().enumerate() {
            let update = run.append(character);
            assert_eq!(reach(&update, 300).unwrap(), at as u64 + 1);
            doc.transact_mut().apply_update(Update::decode_v1(&update).unwrap()).unwrap();
        }
        assert_eq!(content.get_string(&doc.transact()), "hello");
        let joined = doc.transact().encode_diff_v1(&StateVector::default());
        assert_eq!(reach(&joined, 300).unwrap(), 5);
        assert!(reach(&joined, 301).is_err());
    }
}
