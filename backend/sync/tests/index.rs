//! The index beside yrs: several replicas edit at random, exchange updates in random order, and the index of
//! each history has to say what yrs says: length, clocks, order, text.

#![expect(clippy::unwrap_used, reason = "tests may panic")]

use ensemble_store::{Ids as _, SeededIds};
use ensemble_sync::admission::{Right, Route, Verdict, admit};
use ensemble_sync::anchor::Anchor;
use ensemble_sync::document::TextDocument;
use ensemble_sync::update::Update;
use yrs::updates::decoder::Decode as _;
use yrs::{
    ClientID, Doc, GetString as _, OffsetKind, Options, ReadTxn as _, Text as _, TextRef, Transact as _,
};

struct Replica {
    doc: Doc,
    content: TextRef,
    /// Updates of others it has not seen, per sender, in order.
    inbox: Vec<Vec<Vec<u8>>>,
}

impl Replica {
    fn new(client: u64, senders: usize) -> Self {
        let doc = Doc::with_options(Options {
            client_id: ClientID::new(client),
            offset_kind: OffsetKind::Utf16,
            ..Options::default()
        });
        let content = doc.get_or_insert_text("content");
        Self { doc, content, inbox: vec![Vec::new(); senders] }
    }

    fn text(&self) -> String {
        self.content.get_string(&self.doc.transact())
    }

    fn apply(&self, bytes: &[u8]) {
        self.doc.transact_mut().apply_update(yrs::Update::decode_v1(bytes).unwrap()).unwrap();
    }

    /// One random edit, as an update.
    fn edit(&self, ids: &SeededIds) -> Vec<u8> {
        let pick = |below: u32| (ids.random_u64() % u64::from(below.max(1))) as u32;
        let mut transaction = self.doc.transact_mut();
        let length = self.content.len(&transaction);
        for _ in 0..=pick(2) {
            let length_now = self.content.len(&transaction);
            if length > 0 && pick(3) == 0 && length_now > 0 {
                let at = pick(length_now);
                let count = (1 + pick(4)).min(length_now - at);
                self.content.remove_range(&mut transaction, at, count);
            } else {
                let texts = ["a", "xyz", "é", "\n", "longer text ", "漢字"];
                let at = pick(length_now + 1);
                self.content.insert(&mut transaction, at, texts[pick(texts.len() as u32) as usize]);
            }
        }
        transaction.encode_update_v1()
    }
}

/// Admits and applies one update, as a room does.
fn take(document: &mut TextDocument, bytes: &[u8], route: Route) {
    let update = Update::read(bytes).expect("yrs makes what the grammar admits");
    match admit(document.index(), &update, route, |_| Right::Own) {
        Verdict::Admit(admitted) => {
            let bytes = admitted.bytes(&bytes.to_vec().into());
            document.take(&admitted, &bytes).expect("an honest update is possible");
        }
        Verdict::Nothing => {}
        other => panic!("an honest update was not admitted: {other:?}"),
    }
}

fn check(document: &mut TextDocument, expected: &str) {
    assert!(document.is_consistent());
    let text = document.text();
    assert_eq!(&*text, expected);
    let units: Vec<u16> = text.encode_utf16().collect();
    assert_eq!(document.index().len() as usize, units.len());
    // Every run's units hold the text yrs has at that offset: places and units belong together.
    let mut offset = 0;
    for run in document.index().visible_runs() {
        assert_eq!(run.offset, offset);
        offset += run.units.length;
        let anchor = Anchor::After(run.units.last());
        assert_eq!(document.index().offset(anchor), Some(offset));
        assert_eq!(document.index().anchor(offset), anchor);
    }
}

#[test]
fn the_index_says_what_yrs_says_after_random_concurrent_editing() {
    for seed in 0..60 {
        let ids = SeededIds::new(seed);
        let pick = |below: usize| (ids.random_u64() % below as u64) as usize;
        let mut replicas: Vec<Replica> = (0..3).map(|at| Replica::new(100 - at * 7 + 3, 3)).collect();
        let mut server = TextDocument::new();
        let mut log = Vec::new();
        for _ in 0..80 {
            let at = pick(3);
            if pick(2) == 0 {
                let update = replicas[at].edit(&ids);
                take(&mut server, &update, Route::Update);
                for (other, replica) in replicas.iter_mut().enumerate() {
                    if other != at {
                        replica.inbox[at].push(update.clone());
                    }
                }
                log.push(update);
            } else {
                // In the server's order nothing depends on what comes later, so everything is delivered at once.
                let replica = &mut replicas[at];
                for sender in 0..3 {
                    for update in std::mem::take(&mut replica.inbox[sender]) {
                        replica.apply(&update);
                    }
                }
            }
        }
        for replica in &mut replicas {
            let server_state = server.diff(&[]);
            replica.apply(&server_state);
            assert_eq!(replica.text(), &*server.text(), "seed {seed}");
        }
        check(&mut server, &replicas[0].text());

        // A reload from the log, and one from the whole state, give the same places.
        let mut reloaded = TextDocument::new();
        for (seq, update) in log.iter().enumerate() {
            reloaded.load(seq as u64, update).unwrap();
        }
        check(&mut reloaded, &server.text());
        let mut from_state = TextDocument::new();
        from_state.load(0, &server.diff(&[])).unwrap();
        check(&mut from_state, &server.text());
        assert_eq!(from_state.index().visible_runs(), server.index().visible_runs());
    }
}

#[test]
fn a_reply_with_everything_brings_only_what_is_new() {
    for seed in 0..30 {
        let ids = SeededIds::new(1000 + seed);
        let ada = Replica::new(11, 1);
        let bob = Replica::new(5, 1);
        let mut server = TextDocument::new();
        for _ in 0..10 {
            take(&mut server, &ada.edit(&ids), Route::Update);
        }
        bob.apply(&server.diff(&[]));
        // Both go on without each other.
        for _ in 0..10 {
            take(&mut server, &ada.edit(&ids), Route::Update);
            bob.edit(&ids);
        }
        let everything = bob.doc.transact().encode_diff_v1(&yrs::StateVector::default());
        take(&mut server, &everything, Route::Step2);
        bob.apply(&server.diff(&[]));
        check(&mut server, &bob.text());
        take(&mut server, &everything, Route::Step2);
        check(&mut server, &bob.text());
    }
}
