//! Live documents and the peers in them.
//!
//! In reading order: [`room`] is what others hold and [`registry`] finds it; [`peer`] is a participant's
//! way out; [`admission`] decides about every update before it reaches yrs, by the grammar of [`update`];
//! [`index`] knows where every unit of a document is; [`document`] is the one file that opens yrs transactions;
//! [`anchor`] names places that survive typing; [`writer`] encodes the server's own edits; [`presence`] is who
//! is here; [`ledger`] says what of a turn stays, with sets of [`units`]; [`transaction`] commits edits of several
//! rooms together; [`past`] is a text at an older version.
//! [`rate`] says how often is too often, and `people` remembers it of each person.
//! Sockets, sign-in and models are left to others: a room knows frames, edits and rows.

pub mod admission;
pub mod anchor;
pub mod document;
pub mod error;
pub mod index;
pub mod ledger;
pub mod past;
pub mod peer;
mod people;
pub mod presence;
pub mod rate;
pub mod registry;
pub mod room;
mod stall;
pub mod transaction;
pub mod units;
pub mod update;
pub mod writer;

pub use crate::error::RoomError;
