//! Old text and new text, to an edit script: the edit format of models that do not write patches.

use crate::diff::diff;
use crate::text_edit::{EditScript, TextEdit};

/// Places named in an error.
const MAX_LISTED: usize = 20;

/// A text to look for and what replaces it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SearchReplace {
    /// The text as it stands in the document.
    pub old_text: String,
    /// The text that replaces it.
    pub new_text: String,
}

/// Why a list of replacements is refused; `index` counts from zero.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SearchError {
    /// The old text is empty and the document is not, so the place is unknown.
    #[error("edit {index} has no old text, so its place is unknown")]
    NoPlace {
        /// The replacement.
        index: usize,
    },
    /// The old text is not in the document.
    #[error("the old text of edit {index} is not in the document")]
    NotFound {
        /// The replacement.
        index: usize,
    },
    /// The old text is in the document several times.
    #[error("the old text of edit {index} stands in several places; give more text around it")]
    Ambiguous {
        /// The replacement.
        index: usize,
        /// The lines it starts on, counted from 1; at most 20.
        lines: Vec<u32>,
    },
    /// Two replacements change the same text.
    #[error("edit {index} changes text that another edit changes too")]
    Overlap {
        /// The later one in the document.
        index: usize,
    },
}

/// Finds every old text in the base, each in exactly one place, and reduces the replacements to the
/// smallest edits. Everything is refused when one of them is.
pub fn search_replace(base: &str, edits: &[SearchReplace]) -> Result<EditScript, SearchError> {
    let mut found = Vec::with_capacity(edits.len());
    for (index, edit) in edits.iter().enumerate() {
        found.push((find_once(base, &edit.old_text, index)?, index));
    }
    found.sort_unstable();
    let mut script = Vec::new();
    let mut end = 0;
    for &(start, index) in &found {
        if start < end {
            return Err(SearchError::Overlap { index });
        }
        let edit = &edits[index];
        end = start + edit.old_text.len();
        let smallest = diff(&edit.old_text, &edit.new_text).into_edits();
        script.extend(smallest.into_iter().map(|part| {
            TextEdit::new(start + part.range.start.0..start + part.range.end.0, part.replacement)
        }));
    }
    Ok(EditScript::new(script).expect("the old texts do not overlap"))
}

/// The byte at which a text stands, when it stands there alone.
fn find_once(base: &str, old: &str, index: usize) -> Result<usize, SearchError> {
    if old.is_empty() {
        return if base.is_empty() { Ok(0) } else { Err(SearchError::NoPlace { index }) };
    }
    let first = base.find(old).ok_or(SearchError::NotFound { index })?;
    // Places may overlap, as `aa` does in `aaa`.
    let step = |at: usize| at + base[at..].chars().next().map_or(1, char::len_utf8);
    let next_after = |at: usize| base[step(at)..].find(old).map(|found| step(at) + found);
    let places: Vec<usize> =
        std::iter::successors(Some(first), |&at| next_after(at)).take(MAX_LISTED).collect();
    if places.len() == 1 {
        return Ok(first);
    }
    let mut lines: Vec<u32> = places.iter().map(|&at| base[..at].matches('\n').count() as u32 + 1).collect();
    lines.dedup();
    Err(SearchError::Ambiguous { index, lines })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn edit(old: &str, new: &str) -> SearchReplace {
        SearchReplace { old_text: old.to_owned(), new_text: new.to_owned() }
    }

    #[test]
    fn each_old_text_stands_in_one_place() {
        let base = "one\ntwo\nthree\ntwo\n";
        let script = search_replace(base, &[edit("three\ntwo", "three\n2"), edit("one", "1")]).unwrap();
        assert_eq!(script.apply(base).unwrap(), "1\ntwo\nthree\n2\n");
        let error = |edits: &[SearchReplace]| search_replace(base, edits).unwrap_err();
        assert_eq!(error(&[edit("two", "2")]), SearchError::Ambiguous { index: 0, lines: vec![2, 4] });
        assert_eq!(error(&[edit("four", "4")]), SearchError::NotFound { index: 0 });
        assert_eq!(error(&[edit("", "4")]), SearchError::NoPlace { index: 0 });
        assert_eq!(error(&[edit("one\nt", "x"), edit("ne", "y")]), SearchError::Overlap { index: 1 });
        assert_eq!(search_replace("", &[edit("", "x")]).unwrap().apply("").unwrap(), "x");
        assert!(matches!(
            search_replace("éé é", &[edit("é", "e")]),
            Err(SearchError::Ambiguous { index: 0, .. })
        ));
    }
}
