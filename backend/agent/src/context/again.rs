//! The one call more that a turn makes when hunks were missed for reasons the model can mend.

use std::fmt::Write as _;
use std::ops::Range;

use ensemble_edit::{LineColumn, Miss, MissReason, TextIndex, Utf16Offset};
use ensemble_model::{CallRequest, Capability, InputItem, Tool, ToolKind};
use ensemble_protocol::id::{DocumentId, HunkId};
use ensemble_sync::anchor::BaseText;

use super::{Budget, HeldSelection, Shown, TRY_AGAIN, carry, cut, lines_of, write_document, write_selection};

/// Lines shown before and after a line that a miss speaks of.
const LINES_AROUND: u32 = 5;
/// Places of one miss that are shown: the first candidates, or the nearest.
const PLACES: usize = 3;
/// Misses that are described; an answer that misses more has misunderstood the document as a whole.
const DESCRIBED: usize = 20;
/// Characters of a line that are shown; a minified file has lines of megabytes.
const LINE_CHARS: usize = 200;
/// What stands around the misses, so that they are not taken for the prompt.
const OPENING: &str = "<missed>";
const CLOSING: &str = "</missed>";

/// A hunk that was not applied, or was taken back.
#[derive(Debug, Clone)]
pub(crate) struct Unfit {
    /// Its number in the turn.
    pub(crate) hunk: HunkId,
    /// The document it is about.
    pub(crate) document: DocumentId,
    /// Why, in lines of the text the model was shown.
    pub(crate) miss: Miss,
}

/// Whether the model can do better when it is told.
pub(crate) const fn can_be_mended(reason: MissReason) -> bool {
    match reason {
        MissReason::NotFound
        | MissReason::Ambiguous
        | MissReason::NoContext
        | MissReason::Overlap
        | MissReason::Malformed => true,
        // These are about what a turn may do, or about documents that are not there.
        MissReason::NoSuchFile
        | MissReason::PathRefused
        | MissReason::PathTaken
        | MissReason::SectionIncomplete => false,
    }
}

/// What the second call is made of.
pub(crate) struct Again<'a> {
    /// The request of the first.
    pub(crate) first: &'a CallRequest,
    /// What the model said to it.
    pub(crate) output: Vec<InputItem>,
    /// What was missed.
    pub(crate) unfit: &'a [Unfit],
    /// The documents concerned as they are now, each with the text the model was shown before.
    pub(crate) documents: &'a [(Shown, BaseText)],
    /// What the person asked.
    pub(crate) prompt: &'a str,
    /// The document they asked it in.
    pub(crate) open: Option<DocumentId>,
    /// What they had selected there.
    pub(crate) selection: Option<&'a HeldSelection>,
    /// What the model can do.
    pub(crate) capability: &'a Capability,
}

/// The request that asks for the missed hunks once more: everything said so far, what was missed, and the
/// documents as they are now. Nothing where that no longer fits into the model's window.
pub(crate) fn request(again: Again<'_>) -> Option<CallRequest> {
    let places: Vec<Places> =
        again.documents.iter().map(|(shown, before)| Places::new(shown, before, again.unfit)).collect();
    let report = report(again.unfit, again.documents, &places);
    let mut input = again.first.input.clone();
    let calls: Vec<_> = again.output.iter().filter_map(call_of).collect();
    input.extend(again.output);
    let mut left = Budget::left_after(again.capability, again.first, &input).checked_sub(report.len())?;

    let mut blocks = String::new();
    for ((shown, _), places) in again.documents.iter().zip(&places) {
        let part = cut(&shown.base.text, left, &places.around());
        if part.lines == 0 && !shown.base.text.is_empty() {
            return None;
        }
        left = left.saturating_sub(part.text.len());
        let open = again.open == Some(shown.document);
        write_document(&mut blocks, shown, &part, open);
        if let Some(held) = again.selection.filter(|_| open) {
            let start = carry(&held.base, held.range.start, &shown.base);
            let range = start..carry(&held.base, held.range.end, &shown.base).max(start);
            let lines = lines_of(&shown.base.text, &range);
            write_selection(&mut blocks, shown, &range, &lines, left);
        }
    }

    let by_tool = !calls.is_empty();
    let last = calls.len().saturating_sub(1);
    for (at, (call_id, name, kind)) in calls.into_iter().enumerate() {
        let is_ours = again.first.tools.iter().any(|tool| name_of(tool) == name);
        let output = match (at == last, is_ours) {
            (true, _) => report.clone(),
            (false, true) => "What was missed stands at the last call.".to_owned(),
            (false, false) => "There is no tool of this name.".to_owned(),
        };
        input.push(InputItem::ToolOutput { call_id, kind, output });
    }
    let told = if by_tool { TRY_AGAIN.to_owned() } else { format!("{report}\n{TRY_AGAIN}") };
    input.push(InputItem::UserText(told));
    input.push(InputItem::UserText(format!("{blocks}<prompt>\n{}\n</prompt>", again.prompt)));
    Some(CallRequest { input, ..again.first.clone() })
}

fn name_of(tool: &Tool) -> &str {
    match tool {
        Tool::Custom { name, .. } | Tool::Function { name, .. } => name,
    }
}

fn call_of(item: &InputItem) -> Option<(String, String, ToolKind)> {
    match item {
        InputItem::ToolCall { call_id, name, kind, .. } => Some((call_id.clone(), name.clone(), *kind)),
        _ => None,
    }
}

/// Where the misses of a document are now, in lines from 0.
struct Places<'a> {
    lines: Vec<&'a str>,
    of: Vec<(HunkId, Vec<u32>)>,
}

impl<'a> Places<'a> {
    fn new(shown: &'a Shown, before: &BaseText, unfit: &[Unfit]) -> Self {
        let (old, new) = (TextIndex::new(before.text.clone()), TextIndex::new(shown.base.text.clone()));
        let now = |line: u32| -> Option<u32> {
            let start =
                old.utf16_of_line_column(LineColumn { line: line.checked_sub(1)?, column: Utf16Offset(0) })?;
            new.line_column_of(Utf16Offset(carry(before, start.0, &shown.base))).map(|place| place.line)
        };
        let of = unfit
            .iter()
            .filter(|unfit| unfit.document == shown.document)
            .map(|unfit| {
                let nearest = unfit.miss.nearest.as_ref().map(|nearest| nearest.first_difference);
                let mut lines: Vec<u32> =
                    nearest.into_iter().chain(unfit.miss.lines.iter().copied()).filter_map(now).collect();
                lines.dedup();
                lines.truncate(PLACES);
                (unfit.hunk, lines)
            })
            .collect();
        Self { lines: shown.base.text.lines().collect(), of }
    }

    /// The lines to show of a document that is too long to be shown whole.
    fn around(&self) -> Range<usize> {
        let lines = || self.of.iter().flat_map(|(_, lines)| lines.iter().copied());
        let first = lines().min().unwrap_or(0);
        first as usize..lines().max().unwrap_or(first) as usize + 1
    }

    /// The lines around the places of a hunk, numbered from 1.
    fn write_excerpt(&self, out: &mut String, hunk: HunkId) {
        let Some((_, places)) = self.of.iter().find(|(other, _)| *other == hunk) else { return };
        let mut next = 0;
        for place in places {
            let from = place.saturating_sub(LINES_AROUND).max(next);
            next = (place + LINES_AROUND + 1).min(self.lines.len() as u32).max(next);
            for line in from..next {
                let text = self.lines[line as usize];
                let cut = text.char_indices().nth(LINE_CHARS).map_or(text, |(end, _)| &text[..end]);
                let _ = writeln!(out, "{:>6} | {cut}", line + 1);
            }
        }
    }
}

/// What was missed, and what stands there now.
fn report(unfit: &[Unfit], documents: &[(Shown, BaseText)], places: &[Places<'_>]) -> String {
    let mut report = format!(
        "{OPENING}\n{} not applied. Line numbers in these sentences are of the text you were shown at first, \
         numbers before `|` of the text as it is now.\n",
        if unfit.len() == 1 { "1 hunk was".to_owned() } else { format!("{} hunks were", unfit.len()) }
    );
    for unfit in unfit.iter().take(DESCRIBED) {
        let at = documents.iter().position(|(shown, _)| shown.document == unfit.document);
        let Some((at, (shown, _))) = at.and_then(|at| Some((at, documents.get(at)?))) else { continue };
        let _ = writeln!(report, "\nHunk {}, `{}`: {}", unfit.hunk, shown.path, unfit.miss.message);
        places[at].write_excerpt(&mut report, unfit.hunk);
    }
    if let Some(more) = unfit.len().checked_sub(DESCRIBED).filter(|more| *more > 0) {
        let _ = writeln!(report, "\n{more} more are not described.");
    }
    report.push_str(CLOSING);
    report
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_telling_can_mend_is_asked_again() {
        let mended = [
            MissReason::NotFound,
            MissReason::Ambiguous,
            MissReason::NoContext,
            MissReason::Overlap,
            MissReason::Malformed,
        ];
        let refused = [
            MissReason::NoSuchFile,
            MissReason::PathRefused,
            MissReason::PathTaken,
            MissReason::SectionIncomplete,
        ];
        assert!(mended.into_iter().all(can_be_mended));
        assert!(!refused.into_iter().any(can_be_mended));
    }
}
