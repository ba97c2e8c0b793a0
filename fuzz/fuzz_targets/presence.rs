//! Presence is read or refused; what is read is within its limits and is written back as the same entries.

#![no_main]

use ensemble_protocol::limits;
use ensemble_protocol::sync::{read_presence, write_presence};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Ok(entries) = read_presence(data) else { return };
    assert!(entries.len() <= limits::PRESENCE_ENTRIES_PER_MESSAGE);
    assert!(entries.iter().all(|entry| entry.state.len() <= limits::PRESENCE_STATE_BYTES));
    let written = write_presence(entries.iter().copied());
    assert_eq!(read_presence(&written).as_ref(), Ok(&entries));
});
