//! What honest people do and what looks like an attack: none of it may be refused.
//!
//! The large suite is `frontend/test/honest`, with Yjs clients and the real server; what it found is kept here.

#![expect(clippy::unwrap_used, reason = "tests may panic")]

use ensemble_sync::admission::{Right, Route, Verdict, admit};
use ensemble_sync::document::TextDocument;
use ensemble_sync::update::Update;
use yrs::updates::decoder::Decode as _;
use yrs::{
    ClientID, Doc, GetString as _, OffsetKind, Options, ReadTxn as _, StateVector, Text as _, TextRef,
    Transact as _,
};

struct Person {
    doc: Doc,
    content: TextRef,
}

impl Person {
    fn new(client: u64) -> Self {
        let doc = Doc::with_options(Options {
            client_id: ClientID::new(client),
            offset_kind: OffsetKind::Utf16,
            ..Options::default()
        });
        let content = doc.get_or_insert_text("content");
        Self { doc, content }
    }

    fn text(&self) -> String {
        self.content.get_string(&self.doc.transact())
    }

    fn apply(&self, bytes: &[u8]) {
        self.doc.transact_mut().apply_update(yrs::Update::decode_v1(bytes).unwrap()).unwrap();
    }

    /// Types a line at the end and takes a key back, so that no two lines become one run.
    fn append(&self, line: &str) {
        let mut transaction = self.doc.transact_mut();
        let end = self.content.len(&transaction);
        self.content.insert(&mut transaction, end, line);
        self.content.remove_range(&mut transaction, end, 1);
    }

    fn prepend(&self, line: &str) {
        let mut transaction = self.doc.transact_mut();
        self.content.insert(&mut transaction, 0, line);
    }

    fn everything(&self) -> Vec<u8> {
        self.doc.transact().encode_diff_v1(&StateVector::default())
    }
}

/// Two people have the same text, write for hours without each other, and come back one after the other.
fn apart(act: impl Fn(&Person, usize), times: usize) {
    for clients in [[7, 9], [9, 7]] {
        let people = clients.map(Person::new);
        let mut server = TextDocument::new();
        let base = Person::new(1);
        base.append("the text they share");
        for person in &people {
            person.apply(&base.everything());
            (0..times).for_each(|line| act(person, line));
        }
        for person in &people {
            let bytes = bytes::Bytes::from(person.everything());
            let update = Update::read(&bytes).unwrap();
            let Verdict::Admit(admitted) = admit(server.index(), &update, Route::Step2, |_| Right::Own)
            else {
                panic!("what they wrote is not admitted");
            };
            let logged = admitted.bytes(&bytes);
            server.take(&admitted, &logged).expect("nobody did anything odd");
        }
        assert!(server.is_consistent());
        people[0].apply(&server.diff(&[]));
        assert_eq!(people[0].text(), &*server.text());
    }
}

#[test]
fn hours_of_writing_at_the_same_end_are_taken() {
    apart(|person, line| person.append(&format!("line {line}\n")), 1000);
}

#[test]
fn hours_of_writing_at_the_same_top_are_taken() {
    apart(|person, line| person.prepend(&format!("line {line}\n")), 250);
}

/// All of a large text is replaced at once: what counts is what is there afterwards.
#[test]
fn all_of_a_large_text_can_be_replaced() {
    let most = ensemble_protocol::limits::DOCUMENT_UNITS as u32;
    let mut server = TextDocument::new();
    let person = Person::new(7);
    let mut send = |edit: &dyn Fn(&mut yrs::TransactionMut<'_>)| {
        let mut transaction = person.doc.transact_mut();
        edit(&mut transaction);
        let bytes = bytes::Bytes::from(transaction.encode_update_v1());
        drop(transaction);
        let update = Update::read(&bytes).unwrap();
        match admit(server.index(), &update, Route::Update, |_| Right::Own) {
            Verdict::Admit(admitted) => server.take(&admitted, &bytes).is_ok(),
            _ => false,
        }
    };
    let (content, large) = (&person.content, "a".repeat(most as usize - 10));
    assert!(send(&|transaction| content.insert(transaction, 0, &large)));
    assert!(send(&|transaction| {
        content.remove_range(transaction, 0, most - 10);
        content.insert(transaction, 0, &large);
    }));
    assert!(!send(&|transaction| content.insert(transaction, 0, "eleven more")));
}
