//! A frame of the Hocuspocus protocol is read or refused; nothing else happens.

#![no_main]

use ensemble_protocol::hocuspocus::ClientFrame;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let _ = ClientFrame::read(data);
});
