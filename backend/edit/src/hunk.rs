//! Hunks: located pieces of a model's answer, and what is said about one that could not be placed.

use std::fmt;
use std::sync::Arc;

/// The number of a hunk, counted from zero within one answer of a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HunkId(pub u32);

impl fmt::Display for HunkId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

/// How exactly a hunk agrees with the text at its place; earlier is better, and the best decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Agreement {
    /// Equal.
    Exact,
    /// Equal but for blanks at the end of lines.
    TrimmedEnd,
    /// Equal but for blanks at both ends of lines; lines that come are indented as the text is.
    Trimmed,
    /// Equal but for blanks at both ends and typographic dashes, quotes and spaces.
    Folded,
    /// Alike to at least [`FUZZY_THRESHOLD`](crate::FUZZY_THRESHOLD), in one place only, and what the hunk
    /// changes agrees.
    Fuzzy,
}

/// Why a hunk was not applied, or was taken back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MissReason {
    /// Its unchanged and removed lines stand nowhere in the text, or not where its headings say.
    NotFound,
    /// They stand in several places, and nothing says which is meant.
    Ambiguous,
    /// It only adds lines and names no place for them.
    NoContext,
    /// An earlier hunk of the same answer already changed these lines.
    Overlap,
    /// There is no such document.
    NoSuchFile,
    /// The path leaves the project or is not a path.
    PathRefused,
    /// The path to move to belongs to another document.
    PathTaken,
    /// The hunk does not follow the grammar.
    Malformed,
    /// Another hunk of the same section was missed, so the document was not moved.
    SectionIncomplete,
}

impl MissReason {
    /// A stable name for the wire and for logs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NotFound => "not_found",
            Self::Ambiguous => "ambiguous",
            Self::NoContext => "no_context",
            Self::Overlap => "overlap",
            Self::NoSuchFile => "no_such_file",
            Self::PathRefused => "path_refused",
            Self::PathTaken => "path_taken",
            Self::Malformed => "malformed",
            Self::SectionIncomplete => "section_incomplete",
        }
    }
}

/// Why and near what a hunk was missed; the message is meant for the model and for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Miss {
    /// The kind of failure.
    pub reason: MissReason,
    /// What to say about it, in whole sentences.
    pub message: String,
    /// The lines concerned, counted from 1: all candidates of an ambiguous hunk (at most 20), the line of a
    /// contradiction, or nothing.
    pub lines: Vec<u32>,
    /// The place that agrees with most of the hunk's lines, when nothing agrees with all.
    pub nearest: Option<Box<Nearest>>,
    /// Further lines at which the hunk would start with some agreement, counted from 1; at most 3.
    pub others: Vec<u32>,
}

impl Miss {
    /// A miss that concerns no particular line.
    pub fn new(reason: MissReason, message: impl Into<String>) -> Self {
        Self { reason, message: message.into(), lines: Vec::new(), nearest: None, others: Vec::new() }
    }
}

/// The place in a text that agrees best with a hunk that was not found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Nearest {
    /// Where the hunk would start, counted from 1.
    pub line: u32,
    /// How many of its unchanged and removed lines agree there.
    pub matched: u32,
    /// How many unchanged and removed lines it has.
    pub of: u32,
    /// The first line that differs, counted from 1.
    pub first_difference: u32,
    /// What the hunk expects on that line.
    pub expected: String,
    /// What stands there; `None` behind the last line.
    pub found: Option<String>,
}

/// A hunk that was not applied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Missed {
    /// The hunk.
    pub hunk: HunkId,
    /// The path it names, as the answer gave it when it was refused.
    pub path: Arc<str>,
    /// Why.
    pub miss: Miss,
    /// What the hunk says as a whole, to try it on another version of the text; `None` where it has no text,
    /// where its rest was not read, and where something else than its lines says where it belongs.
    pub text: Option<Arc<HunkText>>,
}

/// What a hunk says without its place: the text it looks for and what that becomes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HunkText {
    /// What is looked for.
    pub old: String,
    /// What replaces it.
    pub new: String,
    /// Whether both are whole lines; otherwise the old text may begin and end inside a line.
    pub whole_lines: bool,
}
