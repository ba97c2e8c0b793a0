//! Whatever is admitted applies, leaves nothing pending, and is what a newcomer gets.
//!
//! The input is a list of updates, each behind a byte for its route and a byte for its length.

#![no_main]

use std::collections::BTreeMap;
use std::sync::Arc;

use ensemble_sync::admission::{Right, Route, Verdict, admit};
use ensemble_sync::document::TextDocument;
use ensemble_sync::update::Update;
use libfuzzer_sys::fuzz_target;

/// Client 1 typed this before.
const HELLO: &[u8] = b"\x01\x01\x01\x00\x04\x01\x07content\x05hello\x00";

/// The text and how far each client is.
fn state(document: &mut TextDocument) -> (Arc<str>, BTreeMap<u64, u32>) {
    (document.text(), document.clocks().into_iter().collect())
}

fuzz_target!(|data: &[u8]| {
    let mut document = TextDocument::new();
    document.load(0, HELLO).expect("an honest update is loaded");
    let mut rest = data;
    while let [route, length, after @ ..] = rest {
        let (bytes, next) = after.split_at(usize::from(*length).min(after.len()));
        rest = next;
        let route = if route % 2 == 0 { Route::Update } else { Route::Step2 };
        let Ok(update) = Update::read(bytes) else { continue };
        let Verdict::Admit(admitted) = admit(document.index(), &update, route, |_| Right::Own) else {
            continue;
        };
        let logged = admitted.bytes(&bytes.to_vec().into());
        let before = state(&mut document);
        if document.take(&admitted, &logged).is_err() {
            // A block no editor can have made, as only its neighbours tell: then nothing of it is kept.
            assert_eq!(state(&mut document), before);
        }
    }
    assert!(document.is_consistent());
    let mut newcomer = TextDocument::new();
    newcomer.load(0, &document.diff(&[])).expect("a newcomer can load it");
    assert_eq!(newcomer.text(), document.text());
});
