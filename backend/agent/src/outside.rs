//! Edits from outside: a program with a token changes documents, and everybody sees it as a turn.
//!
//! The place of each edit is looked for in the text its sender knew, then in the text of now. What is
//! found becomes anchors, so people's typing in between moves it along. All of it is prepared in the rooms,
//! committed in one transaction with the turn that stands for it, and only then seen (`supervisor/outside.rs`).

mod place;
mod plan;
mod records;

use std::collections::HashMap;

use ensemble_edit::{Miss, MissReason};
use ensemble_protocol::error::ErrorCode;
use ensemble_protocol::id::{DocumentId, HunkId, MemberId, TurnId, Version};
use ensemble_protocol::rest;
use ensemble_store::{Change, NewUpdate};
use ensemble_sync::room::ReplicaEdit;

use crate::error::AgentError;
pub use plan::{FileStep, OutsidePlan};
pub(crate) use plan::{plan_patch, plan_replacements};
pub(crate) use records::{Settled, settle};

/// What begins the agent's name of a turn that stands for a token's edits; the token's name follows.
const TOKEN: &str = "token:";
/// What begins it where somebody edits over HTTP who is signed in as a browser.
const PERSON: &str = "person:";
/// What such a turn has for a prompt.
pub(crate) const PROMPT: &str = "Edits over HTTP";

/// Who edits from outside.
#[derive(Debug, Clone)]
pub struct Outsider {
    /// Whose rights it has.
    pub member: MemberId,
    /// Names its presence: nobody else's is the same.
    pub presence: String,
    /// The agent its turns name.
    pub agent: String,
    /// What people see.
    pub name: String,
    /// Its color, `#rrggbb`.
    pub color: String,
}

impl Outsider {
    /// A program with a token.
    pub fn token(member: MemberId, presence: String, name: String, color: String) -> Self {
        Self { member, presence, agent: format!("{TOKEN}{name}"), name, color }
    }

    /// Somebody who is signed in.
    pub fn person(member: MemberId, name: String, color: String) -> Self {
        Self { member, presence: format!("{PERSON}{member}"), agent: format!("{PERSON}{name}"), name, color }
    }
}

/// What people are shown of an agent that is none of the project's own.
pub(crate) fn display_name(agent: &str) -> Option<&str> {
    agent.strip_prefix(TOKEN).or_else(|| agent.strip_prefix(PERSON))
}

/// An edit that was not done, and because of which nothing was.
#[derive(Debug, Clone)]
pub struct FailedHunk {
    /// Its number in the request, from 1.
    pub hunk: HunkId,
    /// The path it names.
    pub path: String,
    /// The document there.
    pub document: Option<DocumentId>,
    /// Why, and near what.
    pub miss: Miss,
}

impl FailedHunk {
    /// The stable code clients are told.
    pub fn code(&self) -> ErrorCode {
        match self.miss.reason {
            MissReason::Ambiguous | MissReason::Overlap => ErrorCode::EditAmbiguous,
            MissReason::PathRefused => ErrorCode::PathInvalid,
            MissReason::PathTaken => ErrorCode::PathTaken,
            MissReason::Malformed => ErrorCode::BadRequest,
            _ => ErrorCode::EditNotFound,
        }
    }
}

/// Why edits from outside were not done. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum OutsideError {
    /// Some have no place, or more than one: read the text again, or give more of it.
    #[error("{}", told(.0))]
    Failed(Vec<FailedHunk>),
    /// The version they were made on is unknown: read the text again.
    #[error("version `{given}` of `{path}` is unknown or no longer kept; it is at {current} by now")]
    VersionUnknown {
        /// The document.
        path: String,
        /// The version the caller named.
        given: String,
        /// The version the document is at.
        current: Version,
    },
    /// It makes no sense as it stands.
    #[error("{0}")]
    BadRequest(String),
    /// More than one request may do.
    #[error("{0}")]
    TooLarge(String),
    /// Anything else.
    #[error(transparent)]
    Agent(#[from] AgentError),
}

/// What failed, in words: the first of it, and how much more.
fn told(failed: &[FailedHunk]) -> String {
    let Some(first) = failed.first() else { return "nothing was changed".into() };
    let (path, hunk, message) = (&first.path, first.hunk, &first.miss.message);
    let more = match failed.len() - 1 {
        0 => String::new(),
        1 => " One other edit has no place either.".into(),
        more => format!(" {more} other edits have no place either."),
    };
    format!("nothing was changed: edit {hunk} of `{path}`: {message}{more}")
}

/// What edits mean for the project's tree, worked out by who keeps it.
#[derive(Debug, Clone, Default)]
pub struct TreePart {
    /// The replica of the tree; none where it does not change.
    pub tree: Option<DocumentId>,
    /// Rows of the documents that are made, moved and deleted.
    pub changes: Vec<Change>,
    /// The texts of those that are made.
    pub updates: Vec<NewUpdate>,
    /// Changes of the replica.
    pub edits: Vec<ReplicaEdit>,
    /// The documents that are made, by their hunks.
    pub made: HashMap<HunkId, DocumentId>,
    /// Versions of documents that are made empty or moved, whose texts do not change.
    pub versions: HashMap<DocumentId, Version>,
}

/// What edits from outside came to.
#[derive(Debug, Clone)]
pub struct OutsideDone {
    /// The turn that stands for them; none when nothing had to change.
    pub turn: Option<TurnId>,
    /// What became of each document, by path.
    pub documents: Vec<OutsideDocument>,
}

/// What became of a document.
#[derive(Debug, Clone)]
pub struct OutsideDocument {
    /// The document; none where the path names none.
    pub document: Option<DocumentId>,
    /// Where it is now, or was.
    pub path: String,
    /// Its version after the edits; none when it is gone.
    pub version: Option<Version>,
    /// What became of the edits in it.
    pub hunks: Vec<rest::Hunk>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_shown_by_its_name() {
        assert_eq!(display_name("token:CI bot"), Some("CI bot"));
        assert_eq!(display_name("person:Ada"), Some("Ada"));
        assert_eq!(display_name("agent"), None);
    }
}
