//! A state vector is read or refused; what is read is bounded by its bytes.

#![no_main]

use ensemble_protocol::limits;
use ensemble_protocol::sync::read_state_vector;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Ok(pairs) = read_state_vector(data) else { return };
    assert!(pairs.len() * 2 <= data.len());
    assert!(pairs.iter().all(|(_, clock)| *clock <= limits::CLOCK_MAX));
});
