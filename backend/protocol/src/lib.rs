//! What travels on the wire, pure.
//!
//! In reading order: [`id`] names things, [`lib0`] and [`sync`] are the Yjs formats,
//! [`hocuspocus`] addresses them to documents, [`rpc`] and [`rest`] are the control surface,
//! [`error`] says what goes wrong and [`limits`] how much is too much.
//! Nothing here does I/O, spawns, reads a clock or draws randomness; CRDT contents are left to `sync`.

pub mod error;
pub mod hocuspocus;
pub mod id;
pub mod lib0;
pub mod limits;
pub mod rest;
pub mod rpc;
pub mod sync;

#[cfg(test)]
mod typescript;
