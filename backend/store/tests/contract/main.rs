//! What every store promises, told once and held against each of them; then what only a file can suffer.

mod access;
mod durability;
mod log;
mod support;
mod turns;
