//! Texts, diffs, patches and positions: from what a model writes to the smallest edits of a document.
//!
//! Everything here is pure: no input or output, no clock, no randomness, no tasks. Read it in this order:
//!
//! - [`position`]: bytes, UTF-16 units, lines and columns, which never mix.
//! - [`text_edit`]: a range and its replacement; ordered scripts of them.
//! - [`diff`](mod@diff): the smallest script between two texts.
//! - [`mapping`]: how places move while people type, and merging a model's edits with theirs.
//! - [`hunk`]: hunks, and what is said about one that could not be placed.
//! - [`patch`]: the patch grammar, its paths, and its incremental parser.
//! - [`format`](mod@format): the formats a model may answer in.
//! - [`stream`]: an answer while it arrives, as edits that are settled.
//! - [`place`](mod@place): a whole hunk on a text that has moved on.
//! - [`streaming_diff`]: a text compared with one that is still arriving.
//! - [`replay`]: a base text with such edits applied.
//! - [`batch`]: a whole answer over a set of files, also exactly as the Codex command line tool does it.
//!
//! Where documents live, what people typed meanwhile and how edits enter a room is left to others.

pub mod batch;
pub mod diff;
pub mod format;
pub mod hunk;
mod indent;
mod lines;
mod locate;
pub mod mapping;
pub mod patch;
pub mod place;
pub mod position;
pub mod replay;
mod search;
pub mod stream;
pub mod streaming_diff;
pub mod text_edit;

pub use batch::{PatchOutcome, apply_answer, apply_patch};
pub use diff::diff;
pub use format::Format;
pub use hunk::{Agreement, HunkId, HunkText, Miss, MissReason, Missed, Nearest};
pub use locate::nearest::FUZZY_THRESHOLD;
pub use mapping::{Mapped, Mapping, Merged, Overlap, Replaced};
pub use patch::{FileKind, Mode, PathRefused, normalize_path};
pub use place::{FoundIn, Placed, place};
pub use position::{ByteOffset, LineColumn, TextIndex, Utf16Offset};
pub use replay::PatchedText;
pub use stream::{EditStream, PatchEvent};
pub use text_edit::{EditError, EditScript, TextEdit, Utf16Edit};
