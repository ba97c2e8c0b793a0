//! The patch grammar as types: sections about files, chunks of lines.
//!
//! The language is the one code models of the Codex family write natively:
//!
//! ```text
//! patch   = "*** Begin Patch" NL  section+  "*** End Patch" [NL]
//! section = add | delete | update
//! add     = "*** Add File: " path NL  { "+" text NL }+
//! delete  = "*** Delete File: " path NL
//! update  = "*** Update File: " path NL  [ "*** Move to: " path NL ]  [ chunks ]
//! chunks  = { ("@@" | "@@ " text) NL  |  ("+" | "-" | " ") text NL }+  [ "*** End of File" NL ]
//! ```

pub(crate) mod codex;
pub mod parser;

pub(crate) const BEGIN_PATCH: &str = "*** Begin Patch";
pub(crate) const END_PATCH: &str = "*** End Patch";
pub(crate) const ADD_FILE: &str = "*** Add File: ";
pub(crate) const DELETE_FILE: &str = "*** Delete File: ";
pub(crate) const UPDATE_FILE: &str = "*** Update File: ";
pub(crate) const MOVE_TO: &str = "*** Move to: ";
pub(crate) const END_OF_FILE: &str = "*** End of File";

/// The longest path a patch may name, in bytes; far above what a project holds, it bounds messages.
pub const MAX_PATH_BYTES: usize = 1024;

/// How a patch is read and placed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// Ours: lenient about form, strict about places. A hunk that fits nowhere, or in several places, is
    /// missed; the others are applied.
    #[default]
    Unique,
    /// What the Codex command line tool does, byte for byte: strict about form, and the first hit wins.
    Codex,
}

/// What a section does with its file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileKind {
    /// Changes an existing file.
    Update,
    /// Writes a file; one that exists is changed to the given text by the smallest edits.
    Add,
    /// Removes a file.
    Delete,
    /// Changes an existing file, then gives it another path.
    Move,
}

/// What a line of a chunk does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LineKind {
    /// Stays.
    Kept,
    /// Goes.
    Removed,
    /// Comes.
    Added,
}

/// A line of a chunk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PatchLine {
    /// What the line does.
    pub kind: LineKind,
    /// Its text, without sign and line end.
    pub text: String,
    /// Whether the model wrote it without a sign, so that it counts as kept by courtesy.
    pub bare: bool,
}

impl PatchLine {
    /// Whether this is an empty line without sign, which may just separate two chunks.
    pub(crate) fn is_separator(&self) -> bool {
        self.bare && self.text.is_empty()
    }
}

/// A path that a patch may not name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PathRefused {
    /// Nothing is left of it.
    #[error("the path is empty")]
    Empty,
    /// It starts at the root of a file system.
    #[error("the path `{0}` is absolute; paths start at the top of the project")]
    Absolute(String),
    /// It leaves the project.
    #[error("the path `{0}` contains `..`")]
    Parent(String),
    /// It contains a backslash or a control character.
    #[error("the path `{0}` contains a backslash or a control character")]
    Character(String),
    /// It is longer than [`MAX_PATH_BYTES`].
    #[error("the path is longer than {MAX_PATH_BYTES} bytes")]
    TooLong,
}

/// Brings a path into the one form the project knows: relative, with single `/` and no `.` parts.
///
/// ```
/// use ensemble_edit::patch::normalize_path;
///
/// assert_eq!(normalize_path(" ./src//main.rs ").unwrap(), "src/main.rs");
/// assert!(normalize_path("../secret").is_err());
/// ```
pub fn normalize_path(path: &str) -> Result<String, PathRefused> {
    let path = path.trim();
    if path.len() > MAX_PATH_BYTES {
        return Err(PathRefused::TooLong);
    }
    if path.contains(|character: char| character == '\\' || character.is_control()) {
        return Err(PathRefused::Character(path.escape_default().to_string()));
    }
    let has_drive = path.as_bytes().get(1) == Some(&b':') && path.as_bytes()[0].is_ascii_alphabetic();
    if path.starts_with('/') || has_drive {
        return Err(PathRefused::Absolute(path.to_owned()));
    }
    let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty() && *part != ".").collect();
    if parts.contains(&"..") {
        return Err(PathRefused::Parent(path.to_owned()));
    }
    if parts.is_empty() {
        return Err(PathRefused::Empty);
    }
    Ok(parts.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_brought_into_one_form_or_refused() {
        for (path, expected) in [
            ("a.txt", "a.txt"),
            ("./a//b/./c.rs", "a/b/c.rs"),
            ("  spaced name.txt  ", "spaced name.txt"),
            ("dir/", "dir"),
            ("..a/b..", "..a/b.."),
        ] {
            assert_eq!(normalize_path(path).as_deref(), Ok(expected));
        }
        for path in ["", " ", ".", "/etc/passwd", "C:/x", "c:x", "a/../b", "..", "a\\b", "a\0b", "a\nb"] {
            assert!(normalize_path(path).is_err(), "{path:?}");
        }
        assert_eq!(normalize_path(&"a".repeat(MAX_PATH_BYTES + 1)), Err(PathRefused::TooLong));
    }
}
