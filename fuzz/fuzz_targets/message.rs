//! Messages of the y-websocket protocol, one behind another, are read or refused, and reading comes to an end.

#![no_main]

use ensemble_protocol::lib0::Reader;
use ensemble_protocol::sync::Message;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let mut reader = Reader::new(data);
    while !reader.is_empty() {
        let before = reader.remaining();
        if Message::read(&mut reader).is_err() {
            return;
        }
        assert!(reader.remaining() < before);
    }
});
