//! A model working in documents, from prompt to settled edit.
//!
//! In reading order: [`turn`] is what a turn may become, [`supervisor`] starts, stops and reviews turns;
//! `work` is one of them from beginning to end: `context` decides what the model is shown, [`policy`] what it
//! may touch, and `apply` brings its answer into rooms. `replica` tells everybody, and [`documents`] is how a
//! turn makes and moves files. [`outside`] is what programs edit by themselves, seen as a turn.
//! How to reach a model, where a hunk belongs and how a room works are left to others.

mod apply;
mod context;
pub mod documents;
pub mod error;
pub mod outside;
pub mod policy;
mod replica;
pub mod supervisor;
pub mod turn;
mod work;

pub use crate::documents::{Documents, DocumentsError};
pub use crate::error::AgentError;
pub use crate::supervisor::{AgentCard, StartTurn, Supervisor, SupervisorOptions};
