//! Hostile bytes end at admission: every fixture, on every route, cut anywhere and with any byte changed.

#![expect(clippy::unwrap_used, reason = "tests may panic")]

use std::collections::BTreeMap;
use std::path::Path;

use ensemble_protocol::sync::{read_presence, read_state_vector};
use ensemble_store::{Ids as _, SeededIds};
use ensemble_sync::admission::{Right, Route, Verdict, admit};
use ensemble_sync::anchor::{Unit, UnitRange};
use ensemble_sync::document::TextDocument;
use ensemble_sync::update::{Block, Content, Group, Update};

/// Client 1 typed this.
const HELLO: &[u8] = b"\x01\x01\x01\x00\x04\x01\x07content\x05hello\x00";

fn fixtures() -> BTreeMap<String, Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/hostile-updates");
    let mut found = BTreeMap::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "hex") {
            let text = std::fs::read_to_string(&path).unwrap();
            let bytes = (0..text.trim().len() / 2)
                .map(|at| u8::from_str_radix(&text[2 * at..2 * at + 2], 16).unwrap())
                .collect();
            found.insert(path.file_stem().unwrap().to_string_lossy().into_owned(), bytes);
        }
    }
    assert!(found.len() > 55, "the fixtures are there");
    found
}

/// Admits and applies, as a room does; whether it was admitted.
fn take(document: &mut TextDocument, bytes: &[u8], route: Route) -> bool {
    let Ok(update) = Update::read(bytes) else { return false };
    let Verdict::Admit(admitted) = admit(document.index(), &update, route, |_| Right::Own) else {
        return false;
    };
    let logged = admitted.bytes(&bytes.to_vec().into());
    document.take(&admitted, &logged).is_ok()
}

/// The document after whatever was admitted is whole, and so is what a newcomer is sent.
fn check(document: &mut TextDocument, what: &str) {
    assert!(document.is_consistent(), "{what}");
    let mut newcomer = TextDocument::new();
    newcomer.load(0, &document.diff(&[])).unwrap();
    assert_eq!(newcomer.text(), document.text(), "{what}");
}

/// [S5] Every hostile fixture is refused or harmless, as an update and as a reply to a step 1.
#[test]
fn fixtures_are_refused_or_harmless() {
    let fixtures = fixtures();
    let mut refused = 0;
    for (name, bytes) in fixtures.iter().filter(|(name, _)| !name.contains(".base")) {
        for route in [Route::Update, Route::Step2] {
            let mut document = TextDocument::new();
            let base = fixtures.get(&format!("{name}.base"));
            if !base.is_some_and(|base| take(&mut document, base, Route::Update)) {
                document.load(0, HELLO).unwrap();
            }
            refused += u32::from(!take(&mut document, bytes, route));
            check(&mut document, name);
        }
        // The same bytes as a state vector or as presence read as one, or do not.
        let _ = read_state_vector(bytes);
        let _ = read_presence(bytes);
    }
    assert!(refused > 100, "only {refused} of about 115 were refused");
}

/// [S5] Random damage to honest updates is refused or harmless.
#[test]
fn damaged_updates_are_refused_or_harmless() {
    let ids = SeededIds::new(11);
    let pick = |below: usize| (ids.random_u64() % below as u64) as usize;
    // "hello", a word of another client inside it, and a deletion.
    let honest: [&[u8]; 3] =
        [HELLO, b"\x01\x01\x02\x00\xc4\x01\x01\x01\x02\x03abc\x00", b"\x00\x01\x01\x01\x01\x02"];
    for round in 0..20_000 {
        let mut document = TextDocument::new();
        for (at, bytes) in honest.iter().enumerate() {
            let mut bytes = bytes.to_vec();
            if pick(3) == at {
                for _ in 0..=pick(3) {
                    let place = pick(bytes.len());
                    match pick(3) {
                        0 => bytes[place] = ids.random_u64() as u8,
                        1 => bytes.insert(place, ids.random_u64() as u8),
                        _ => drop(bytes.remove(place)),
                    }
                }
            }
            take(&mut document, &bytes, if pick(2) == 0 { Route::Update } else { Route::Step2 });
        }
        check(&mut document, &format!("round {round}"));
    }
}

/// [S6] Deleting every other letter of a very large text means cutting it a million times: that is refused, and
/// whatever somebody does in a large text by hand is not.
#[test]
fn an_update_that_deletes_in_too_many_places_is_refused() {
    let most = ensemble_protocol::limits::UPDATE_WORK;
    let mut document = TextDocument::new();
    let block = |length: u32| Block {
        units: UnitRange { client: 1, clock: 0, length },
        origin: None,
        right: None,
        content: Content::Text("a".repeat(length as usize).into()),
    };
    let all = 2 * most + 4;
    document
        .load(
            0,
            &Update { groups: vec![Group { client: 1, blocks: vec![block(all)] }], deletes: vec![] }.write(),
        )
        .unwrap();
    let every_other = |times: u32| {
        let deletes = (0..times).map(|at| UnitRange { client: 1, clock: 2 * at, length: 1 }).collect();
        Update { groups: Vec::new(), deletes }.write()
    };
    assert!(!take(&mut document, &every_other(most + 1), Route::Update));
    assert_eq!(document.index().len(), all);
    assert!(take(&mut document, &every_other(20_000), Route::Update));
    check(&mut document, "after the refusal");
}

/// Text that is gone may be as long as clocks go, under several ids: places stay right beyond 32 bits.
#[test]
fn endless_text_that_is_gone_leaves_the_order_right() {
    let mut document = TextDocument::new();
    document.load(0, HELLO).unwrap();
    let length = (1 << 31) - 2;
    for client in 2..6 {
        let units = UnitRange { client, clock: 0, length };
        let origin = Some(Unit { client: 1, clock: 1 });
        let right = Some(Unit { client: 1, clock: 2 });
        let block = Block { units, origin, right, content: Content::Deleted };
        let bytes = Update { groups: vec![Group { client, blocks: vec![block] }], deletes: vec![] }.write();
        assert!(take(&mut document, &bytes, Route::Update));
    }
    // "hello" with a word at its end, whose neighbours stand beyond four times two thousand million units.
    assert!(take(&mut document, b"\x01\x01\x07\x00\xc4\x01\x02\x01\x03\x01!\x00", Route::Update));
    assert!(take(&mut document, b"\x01\x01\x08\x00\x84\x01\x04\x01?\x00", Route::Update));
    assert_eq!(&*document.text(), "hel!lo?");
    check(&mut document, "after text without end");
}

/// [S6] An update that would keep the server busy is refused before it does.
#[test]
fn an_update_that_asks_for_too_much_work_is_refused() {
    // Two clients, each putting every character before its last: well formed, causally possible, quadratic.
    let update = |client: u64| {
        let unit = |clock| Some(Unit { client, clock });
        let blocks = (0..8_000)
            .map(|clock| Block {
                units: UnitRange { client, clock, length: 1 },
                origin: None,
                right: if clock == 0 { None } else { unit(clock - 1) },
                content: Content::Text("a".into()),
            })
            .collect();
        Update { groups: vec![Group { client, blocks }], deletes: Vec::new() }.write()
    };
    let mut document = TextDocument::new();
    assert!(take(&mut document, &update(1), Route::Update));
    assert!(!take(&mut document, &update(2), Route::Update));
    check(&mut document, "after the refusal");
    assert_eq!(document.index().len(), 8_000);
    assert_eq!(document.index().next_clock(2), 0);
}
