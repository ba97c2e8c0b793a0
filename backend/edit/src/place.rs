//! A whole hunk on a text that has moved on since its model saw it.
//!
//! A hunk is looked for in the base text, the version the model was shown, and what it changes there is
//! carried through everything typed since. Only a hunk that is not in the base text is looked for in the
//! current one: there it may speak of what the same answer wrote.

use std::sync::Arc;

use crate::format::BlockToken;
use crate::hunk::{Agreement, HunkText, Miss, MissReason};
use crate::mapping::{Mapping, Overlap};
use crate::position::TextIndex;
use crate::stream::{PatchEvent, edits_of_blocks};
use crate::text_edit::Utf16Edit;

/// The version of a text a hunk was found in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FoundIn {
    /// The version the model was shown.
    Base,
    /// The text as it is now.
    Current,
}

/// A hunk with its place in the current text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placed {
    /// What is left to do, in the current text, in order and without overlap.
    pub edits: Vec<Utf16Edit>,
    /// What was not done because people had changed the same characters.
    pub overlaps: Vec<Overlap>,
    /// How exactly the hunk agrees.
    pub agreement: Agreement,
    /// Where it was found.
    pub found_in: FoundIn,
}

/// Places a hunk in the current text, which `since` leads to from the base text.
///
/// A miss speaks of the base text when the hunk is in it and not usable, and of the current text otherwise,
/// so that its line numbers are those the model is shown next. Nothing is placed in part: what people keep
/// the hunk from doing is in [`Placed::overlaps`].
pub fn place(
    hunk: &HunkText,
    path: &str,
    base: &TextIndex,
    since: &Mapping,
    current: &TextIndex,
) -> Result<Placed, Miss> {
    match edits_in(hunk, path, base) {
        Ok((edits, agreement)) => {
            let merged = since.merge(base, &edits, current);
            let (edits, overlaps) = (merged.edits, merged.overlaps);
            Ok(Placed { edits, overlaps, agreement, found_in: FoundIn::Base })
        }
        Err(miss) if miss.reason == MissReason::NotFound && base.text() != current.text() => {
            let (edits, agreement) = edits_in(hunk, path, current)?;
            Ok(Placed { edits, overlaps: Vec::new(), agreement, found_in: FoundIn::Current })
        }
        Err(miss) => Err(miss),
    }
}

/// What a hunk changes in one version of a text.
fn edits_in(hunk: &HunkText, path: &str, text: &TextIndex) -> Result<(Vec<Utf16Edit>, Agreement), Miss> {
    let text: Arc<str> = text.text().into();
    let (old, whole_lines) = (hunk.old.clone(), hunk.whole_lines);
    let tokens = vec![
        BlockToken::Replace { path: path.to_owned(), old, whole_lines },
        BlockToken::New(hunk.new.clone()),
        BlockToken::End { complete: true },
    ];
    let mut edits = Vec::new();
    let mut agreed = Agreement::Exact;
    for event in edits_of_blocks(tokens, Box::new(move |_| Some(Arc::clone(&text)))) {
        match event {
            PatchEvent::HunkAimed { agreement, .. } => agreed = agreement,
            PatchEvent::Edit { delete, insert, .. } => {
                edits.push(Utf16Edit { range: delete, replacement: insert });
            }
            PatchEvent::HunkMissed(missed) | PatchEvent::HunkReverted(missed) => return Err(missed.miss),
            _ => {}
        }
    }
    Ok((edits, agreed))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::position::Utf16Offset;
    use crate::text_edit::EditScript;

    const BASE: &str = "fn a() {\n    one();\n}\n\nfn b() {\n    two();\n}\n";

    fn hunk(old: &str, new: &str) -> HunkText {
        HunkText { old: old.to_owned(), new: new.to_owned(), whole_lines: true }
    }

    fn placed(hunk: &HunkText, current: &str) -> Result<(String, usize, FoundIn), Miss> {
        let (base, now) = (TextIndex::new(BASE), TextIndex::new(current));
        let placed = place(hunk, "a.rs", &base, &Mapping::between(&base, current), &now)?;
        let text = EditScript::from_utf16(placed.edits, &now).unwrap().apply(current).unwrap();
        Ok((text, placed.overlaps.len(), placed.found_in))
    }

    /// [E10] A hunk means its place in the version the model was shown, wherever that has moved.
    #[test]
    fn a_hunk_of_the_base_text_moves_along() {
        // Somebody moved the place down, and wrote a second one that looks the same.
        let current = format!("// new\n{BASE}\nfn c() {{\n    two();\n}}\n");
        let (base, now) = (TextIndex::new(BASE), TextIndex::new(current.as_str()));
        let at = |range: std::ops::Range<u32>| Utf16Offset(range.start)..Utf16Offset(range.end);
        let typed = [(at(0..0), 7), (at(45..45), current.len() as u32 - 52)];
        let since = Mapping::new(typed).unwrap();
        let placed = place(&hunk("    two();\n", "    three();\n"), "a.rs", &base, &since, &now).unwrap();
        assert_eq!((placed.overlaps.len(), placed.found_in), (0, FoundIn::Base));
        let text = EditScript::from_utf16(placed.edits, &now).unwrap().apply(&current).unwrap();
        assert_eq!(text, current.replacen("two", "three", 1));
    }

    #[test]
    fn people_win_where_they_changed_the_same() {
        let current = BASE.replace("two()", "zwei()");
        let changed = hunk("fn b() {\n    two();\n}\n", "fn bee() {\n    three();\n}\n");
        let (text, overlaps, found_in) = placed(&changed, &current).unwrap();
        assert_eq!((overlaps, found_in), (1, FoundIn::Base));
        assert_eq!(text, current.replace("fn b()", "fn bee()"));
    }

    #[test]
    fn what_is_not_in_the_base_text_is_looked_for_in_the_current_one() {
        let current = BASE.replace("one()", "uno()");
        let (text, _, found_in) = placed(&hunk("    uno();\n", "    eins();\n"), &current).unwrap();
        assert_eq!((text, found_in), (BASE.replace("one()", "eins()"), FoundIn::Current));
        let miss = placed(&hunk("    drei();\n}\n", "x\n"), &current).unwrap_err();
        assert_eq!(miss.reason, MissReason::NotFound);
        // Two places in the base text stay two places.
        let miss = placed(&hunk("}\n", "x\n"), &format!("{BASE}}}\n")).unwrap_err();
        assert_eq!((miss.reason, miss.lines), (MissReason::Ambiguous, vec![3, 7]));
    }
}
