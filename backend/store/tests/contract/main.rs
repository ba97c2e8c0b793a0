//! What every store promises, told once and held against each of them; then what only a file can suffer.

#![expect(clippy::unwrap_used, reason = "a test says what failed by failing")]

mod access;
mod backup;
mod durability;
#[cfg(target_os = "linux")]
mod faults;
mod history;
mod log;
mod recovery;
mod support;
mod torn;
mod turns;
