//! What admission costs: parsing, deciding and indexing one keystroke, over histories of 10^3 to 10^6 items.
//!
//! `make bench-admission` prints microseconds per keystroke, and so does `make bench`; beside it what yrs takes to apply the
//! same bytes, in the same run. Two kinds of typing: on at one place, and at random places.

#![expect(clippy::unwrap_used, reason = "a benchmark may panic")]

use std::time::Instant;

use ensemble_store::{Ids as _, SeededIds};
use ensemble_sync::admission::{Right, Route, Verdict, admit};
use ensemble_sync::anchor::{Anchor, Unit, UnitRange};
use ensemble_sync::index::Index;
use ensemble_sync::update::{Block, Content, Group, Update};
use yrs::updates::decoder::Decode as _;
use yrs::{ClientID, Doc, OffsetKind, Options, Transact as _};

const KEYSTROKES: u32 = 20_000;

/// A history of this many items: single characters that many people put at random places.
fn history(items: u32, ids: &SeededIds) -> (Index, Vec<Vec<u8>>) {
    let mut index = Index::new();
    let mut bytes = Vec::new();
    for at in 0..items {
        let client = 100 + u64::from(at % 50);
        let place = index.anchor((ids.random_u64() % u64::from(index.len() + 1)) as u32);
        bytes.push(put(&mut index, client, place).0);
    }
    (index, bytes)
}

/// One character at a place, as a client sends it; and what of the time it took was admission and index.
fn put(index: &mut Index, client: u64, place: Anchor) -> (Vec<u8>, std::time::Duration) {
    let (origin, right) = index.neighbours(place).unwrap();
    let units = UnitRange { client, clock: index.next_clock(client), length: 1 };
    let block = Block { units, origin, right, content: Content::Text("x".into()) };
    let bytes = Update { groups: vec![Group { client, blocks: vec![block] }], deletes: Vec::new() }.write();
    let start = Instant::now();
    let update = Update::read(&bytes).unwrap();
    let Verdict::Admit(admitted) = admit(index, &update, Route::Update, |_| Right::Own) else {
        panic!("typing is admitted");
    };
    for block in &admitted.blocks {
        index.check(block.units, block.origin, block.right, u32::MAX).unwrap();
        index.insert(block.units, block.origin, block.right, false);
    }
    (bytes, start.elapsed())
}

fn main() {
    println!(
        "\nadmission: reading, deciding and indexing one keystroke, beside yrs decoding and applying it"
    );
    println!(
        "{:>9}  {:>9}  {:>14}  {:>14}  {:>12}  {:>10}",
        "items", "runs", "typing on, us", "anywhere, us", "yrs on, us", "bytes/item"
    );
    for items in [1_000, 10_000, 100_000, 1_000_000] {
        let ids = SeededIds::new(5);
        let before = resident();
        let (mut index, bytes) = history(items, &ids);
        let after = resident().saturating_sub(before);

        let mut last = index.anchor(index.len() / 2);
        let mut typed = Vec::new();
        let mut on = std::time::Duration::ZERO;
        for _ in 0..KEYSTROKES {
            let (update, took) = put(&mut index, 7, last);
            last = Anchor::After(Unit { client: 7, clock: index.next_clock(7) - 1 });
            on += took;
            typed.push(update);
        }
        let mut anywhere = std::time::Duration::ZERO;
        for _ in 0..KEYSTROKES {
            let place = index.anchor((ids.random_u64() % u64::from(index.len() + 1)) as u32);
            anywhere += put(&mut index, 8, place).1;
        }
        let per = |total: std::time::Duration| total.as_secs_f64() * 1e6 / f64::from(KEYSTROKES);
        let yrs = if items <= 100_000 { format!("{:.2}", yrs_cost(&bytes, &typed)) } else { "-".into() };
        println!(
            "{items:>9}  {:>9}  {:>14.2}  {:>14.2}  {yrs:>12}  {:>10}",
            index.runs(),
            per(on),
            per(anywhere),
            after / u64::from(items)
        );
    }
}

/// What yrs takes to decode and apply the same typing after the same history.
fn yrs_cost(history: &[Vec<u8>], typed: &[Vec<u8>]) -> f64 {
    let options =
        Options { client_id: ClientID::new(1), offset_kind: OffsetKind::Utf16, ..Options::default() };
    let doc = Doc::with_options(options);
    let _content = doc.get_or_insert_text("content");
    for bytes in history {
        doc.transact_mut().apply_update(yrs::Update::decode_v1(bytes).unwrap()).unwrap();
    }
    let start = Instant::now();
    for bytes in typed {
        doc.transact_mut().apply_update(yrs::Update::decode_v1(bytes).unwrap()).unwrap();
    }
    start.elapsed().as_secs_f64() * 1e6 / typed.len() as f64
}

/// Resident bytes of this process, where the system tells; the history's own bytes are in it.
fn resident() -> u64 {
    let pages = std::fs::read_to_string("/proc/self/statm")
        .ok()
        .and_then(|text| text.split_whitespace().nth(1)?.parse::<u64>().ok());
    pages.unwrap_or(0) * 4096
}
