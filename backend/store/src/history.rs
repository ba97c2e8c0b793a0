//! History segments: runs of old log rows, compressed, with everything the rows said.
//!
//! A segment is a version byte, the size of what follows once unpacked, and a deflate stream of rows.

use std::io::{Read as _, Write as _};

use bytes::{Buf as _, BufMut as _, Bytes};
use ensemble_protocol::id::{MemberId, NodeId, PeerId, TurnId};
use flate2::Compression;
use flate2::read::DeflateDecoder;
use flate2::write::DeflateEncoder;
use time::OffsetDateTime;

use crate::record::{Author, Stamp, StoredUpdate};

/// The only form there is so far.
const FORM: u8 = 1;

/// Bytes before the compressed ones.
const HEADER_BYTES: usize = 5;

/// What a row takes beside its update: presence bits, number, stamp, time, checksum, length and up to
/// four ids.
pub(crate) const ROW_OVERHEAD_BYTES: usize = 1 + 8 + 24 + 8 + 8 + 4 + 64;

/// A row of the log as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Row {
    pub(crate) update: StoredUpdate,
    pub(crate) checksum: i64,
}

/// Packs rows of one epoch, in order.
pub(crate) fn pack(rows: &[Row]) -> Vec<u8> {
    let mut raw = Vec::new();
    for row in rows {
        put_row(&mut raw, row);
    }
    let length = u32::try_from(raw.len()).expect("a segment holds far less than 4 GiB");
    let mut packed = vec![FORM];
    packed.put_u32_le(length);
    let mut encoder = DeflateEncoder::new(packed, Compression::default());
    let written = encoder.write_all(&raw).and_then(|()| encoder.finish());
    written.expect("writing to memory does not fail")
}

/// Unpacks rows of this epoch; `None` when the bytes make no sense.
pub(crate) fn unpack(mut bytes: &[u8], epoch: u32) -> Option<Vec<Row>> {
    if bytes.len() < HEADER_BYTES || bytes.get_u8() != FORM {
        return None;
    }
    let length = u64::from(bytes.get_u32_le());
    let mut raw = Vec::new();
    // One byte more shows that there is more.
    DeflateDecoder::new(bytes).take(length + 1).read_to_end(&mut raw).ok()?;
    if raw.len() as u64 != length {
        return None;
    }
    let mut raw = Bytes::from(raw);
    let mut rows = Vec::new();
    while raw.has_remaining() {
        rows.push(take_row(&mut raw, epoch)?);
    }
    Some(rows)
}

fn put_row(raw: &mut Vec<u8>, row: &Row) {
    let StoredUpdate { epoch: _, seq, author, bytes, at, stamp } = &row.update;
    let ids = [
        author.member.as_ref().map(MemberId::as_bytes),
        author.connection.as_ref().map(PeerId::as_bytes),
        author.turn.as_ref().map(TurnId::as_bytes),
        author.via.as_ref().map(MemberId::as_bytes),
    ];
    let present = ids.iter().enumerate().map(|(bit, id)| u8::from(id.is_some()) << bit).sum();
    raw.put_u8(present);
    for id in ids.into_iter().flatten() {
        raw.put_slice(id);
    }
    raw.put_u64_le(*seq);
    raw.put_slice(stamp.node.as_bytes());
    raw.put_u64_le(stamp.counter);
    raw.put_i64_le((at.unix_timestamp_nanos() / 1000) as i64);
    raw.put_i64_le(row.checksum);
    raw.put_u32_le(bytes.len() as u32);
    raw.put_slice(bytes);
}

fn take_row(raw: &mut Bytes, epoch: u32) -> Option<Row> {
    let present = raw.try_get_u8().ok()?;
    if present >= 16 {
        return None;
    }
    let mut id = |bit: u8| -> Option<Option<[u8; 16]>> {
        if present & (1 << bit) == 0 { Some(None) } else { take_id(raw).map(Some) }
    };
    let author = Author {
        member: id(0)?.and_then(|id| MemberId::from_slice(&id)),
        connection: id(1)?.and_then(|id| PeerId::from_slice(&id)),
        turn: id(2)?.and_then(|id| TurnId::from_slice(&id)),
        via: id(3)?.and_then(|id| MemberId::from_slice(&id)),
    };
    let seq = raw.try_get_u64_le().ok()?;
    let node = NodeId::from_slice(&take_id(raw)?)?;
    let counter = raw.try_get_u64_le().ok()?;
    let micros = raw.try_get_i64_le().ok()?;
    let at = OffsetDateTime::from_unix_timestamp_nanos(i128::from(micros) * 1000).ok()?;
    let checksum = raw.try_get_i64_le().ok()?;
    let length = raw.try_get_u32_le().ok()? as usize;
    if raw.remaining() < length {
        return None;
    }
    let bytes = raw.copy_to_bytes(length);
    let update = StoredUpdate { epoch, seq, author, bytes, at, stamp: Stamp { node, counter } };
    Some(Row { update, checksum })
}

fn take_id(raw: &mut Bytes) -> Option<[u8; 16]> {
    let mut id = [0; 16];
    raw.try_copy_to_slice(&mut id).ok()?;
    Some(id)
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    fn rows(count: u64) -> Vec<Row> {
        let id = |number: u64| Uuid::from_u128(u128::from(number) + 1);
        (1..=count)
            .map(|seq| {
                let author = Author {
                    member: (seq % 2 == 0).then(|| MemberId::from_uuid(id(seq))),
                    connection: (seq % 3 == 0).then(|| PeerId::from_uuid(id(seq))),
                    turn: (seq % 5 == 0).then(|| TurnId::from_uuid(id(seq))),
                    via: (seq % 7 == 0).then(|| MemberId::from_uuid(id(seq))),
                };
                let at = OffsetDateTime::from_unix_timestamp_nanos(i128::from(seq) * 1_000_000).unwrap();
                let stamp = Stamp { node: NodeId::from_uuid(id(0)), counter: u64::MAX - seq };
                let bytes = Bytes::from(vec![seq as u8; (seq % 40) as usize]);
                let update = StoredUpdate { epoch: 3, seq, author, bytes, at, stamp };
                Row { update, checksum: -(seq as i64) }
            })
            .collect()
    }

    #[test]
    fn what_is_packed_comes_out_again() {
        for count in [0, 1, 2, 30, 300] {
            let rows = rows(count);
            let packed = pack(&rows);
            assert_eq!(unpack(&packed, 3).unwrap(), rows, "{count} rows");
        }
        let rows = rows(300);
        let raw: usize = rows.iter().map(|row| row.update.bytes.len() + ROW_OVERHEAD_BYTES).sum();
        assert!(pack(&rows).len() < raw / 2, "ids repeat, so packing is worth it");
    }

    #[test]
    fn bytes_that_are_cut_or_flipped_never_panic() {
        let rows = rows(20);
        let packed = pack(&rows);
        for length in 0..packed.len() {
            assert_eq!(unpack(&packed[..length], 3), None, "cut at {length}");
        }
        for position in 0..packed.len() {
            for bit in 0..8 {
                let mut flipped = packed.clone();
                flipped[position] ^= 1 << bit;
                // Whether it is noticed here is luck; the checksum beside the segment decides.
                let _ = unpack(&flipped, 3);
            }
        }
    }
}
