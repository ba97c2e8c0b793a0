//! What the model is shown, within a budget.
//!
//! The last message holds, in this order: the open document, other documents, the selection, the paths of the
//! project, and the prompt. A message before it says what the turn may change and what was left out. Texts are
//! shown exactly; how many lines each has stands before it, so that no text can pretend to end.

mod again;
mod answering;

use std::collections::{HashMap, HashSet};
use std::fmt::Write as _;
use std::ops::Range;
use std::sync::Arc;

use ensemble_edit::{LineColumn, TextIndex, Utf16Offset};
use ensemble_model::{CallRequest, Capability, EditFormat, InputItem};
use ensemble_protocol::id::{DocumentId, ProjectId};
use ensemble_sync::RoomError;
use ensemble_sync::anchor::{Anchor, BaseText};
use ensemble_sync::registry::RoomRegistry;
use ensemble_sync::room::Room;

use crate::policy::{Entry, Policy};
pub(crate) use again::{Again, Unfit, can_be_mended, request as request_again};
pub(crate) use answering::Answering;

/// Characters a token has on average, in code; a little less than in prose, so that estimates are on the safe side.
const CHARS_PER_TOKEN: usize = 4;
/// Tokens a turn shows at most, whatever the model could read: a prompt of this size is answered at once, and
/// costs a fraction of a full window.
const INPUT_TOKENS: usize = 64_000;
/// Tokens set aside for instructions, markers and estimates that were too low.
const RESERVE_TOKENS: usize = 4_000;
/// Tokens a turn may write, where the model could write more.
const OUTPUT_TOKENS: u32 = 32_000;
/// Share of the budget for the open document, in hundredths.
const OPEN_SHARE: usize = 60;
/// Share of the budget for the text of the selection, in hundredths.
const SELECTION_SHARE: usize = 10;
/// Share of the budget for the paths of the project, in hundredths.
const TREE_SHARE: usize = 5;
/// Share of the budget for documents that are shown though nobody asked for them, in hundredths: enough to see
/// how the project is written, little enough that every turn stays quick.
const NEIGHBOUR_SHARE: usize = 10;
/// Documents that are read because the prompt speaks of all of them.
const EVERYWHERE_DOCUMENTS: usize = 200;
/// Documents that are read to choose the smallest neighbours from.
const NEIGHBOUR_DOCUMENTS: usize = 12;
/// How often a room that closes under a reader or writer is opened again.
pub(crate) const ROOM_TRIES: usize = 3;
/// Paths named one by one in the list of what was left out.
const LEFT_OUT_NAMED: usize = 50;

/// What every turn is told, whatever the model.
const INSTRUCTIONS: &str = include_str!("prompts/instructions.md");
/// What a model is told before the misses are asked for again.
const TRY_AGAIN: &str = include_str!("prompts/try_again.md");
/// A selection, held fast in the text it was made in.
#[derive(Debug, Clone)]
pub(crate) struct HeldSelection {
    /// The text it was made in.
    pub(crate) base: BaseText,
    /// Where, in UTF-16 units.
    pub(crate) range: Range<u32>,
}

/// A document the model was shown, and the exact text it was shown of.
#[derive(Debug, Clone)]
pub(crate) struct Shown {
    /// The document.
    pub(crate) document: DocumentId,
    /// Its path.
    pub(crate) path: String,
    /// Its room.
    pub(crate) room: Room,
    /// Its text, which all positions of the answer refer to.
    pub(crate) base: BaseText,
    /// Whether the turn may change it.
    pub(crate) writable: bool,
}

/// What one call is given.
#[derive(Debug)]
pub(crate) struct Context {
    /// The request.
    pub(crate) request: CallRequest,
    /// What is in it.
    pub(crate) shown: Vec<Shown>,
    /// How the model was asked to answer.
    pub(crate) answering: Answering,
}

/// What a context is built from.
#[derive(Debug)]
pub(crate) struct Question<'a> {
    /// The project.
    pub(crate) project: ProjectId,
    /// What was asked.
    pub(crate) prompt: &'a str,
    /// The document it was asked in.
    pub(crate) open: Option<DocumentId>,
    /// What was selected there.
    pub(crate) selection: Option<&'a HeldSelection>,
    /// The live documents of the project, by path.
    pub(crate) documents: &'a [Entry],
    /// What the prompt allows.
    pub(crate) policy: &'a Policy,
    /// What the model can do.
    pub(crate) capability: &'a Capability,
}

/// The room of a document and its text now. A room that closes under it, as an idle one may, is opened again.
pub(crate) async fn read_room(
    rooms: &RoomRegistry,
    document: DocumentId,
) -> Result<(Room, BaseText), RoomError> {
    let mut tries = 0;
    loop {
        let room = rooms.open(document).await?;
        tries += 1;
        match room.read().await {
            Ok(base) => return Ok((room, base)),
            Err(RoomError::Closed(_)) if tries < ROOM_TRIES => {}
            Err(error) => return Err(error),
        }
    }
}

/// Reads the documents a question needs, and writes the request.
///
/// A document that cannot be read is left out, and the model is told so.
pub(crate) async fn build(question: &Question<'_>, rooms: &RoomRegistry) -> Context {
    let budget = Budget::new(question.capability);
    let mut left = budget.chars;
    let mut shown: Vec<Shown> = Vec::new();
    let mut blocks = String::new();
    let mut left_out: Vec<&str> = Vec::new();
    let mut notes = String::new();
    let mut selection_block = String::new();
    let mut selected_lines = None;
    let mut is_whole = true;

    let read = async |entry: &Entry| -> Option<Shown> {
        let (room, base) = read_room(rooms, entry.id).await.ok()?;
        let writable = question.policy.may_write(entry.id);
        Some(Shown { document: entry.id, path: entry.path.clone(), room, base, writable })
    };

    let open = question.open.and_then(|open| question.documents.iter().find(|entry| entry.id == open));
    if let Some(entry) = open {
        match read(entry).await {
            None => left_out.push(&entry.path),
            Some(document) => {
                let selected = question.selection.map(|held| {
                    let start = carry(&held.base, held.range.start, &document.base);
                    start..carry(&held.base, held.range.end, &document.base).max(start)
                });
                let text = &document.base.text;
                let lines = selected.as_ref().map(|range| lines_of(text, range));
                let around = lines.clone().unwrap_or(0..0);
                let part = cut(text, budget.of(OPEN_SHARE), &around);
                is_whole = part.of_lines.is_none();
                if let Some(count) = part.of_lines {
                    let _ = writeln!(
                        notes,
                        "`{}` is too long to be shown whole: you see {} of its {count} lines, from line {} on.",
                        entry.path, part.lines, part.first_line
                    );
                }
                write_document(&mut blocks, &document, &part, true);
                left = left.saturating_sub(part.text.len());
                if let (Some(range), Some(lines)) = (selected, lines) {
                    let rewritten = whole_lines(text, &lines);
                    // A model that writes anew what is selected writes whole lines.
                    let anew = question.capability.edits() == EditFormat::Whole;
                    if document.writable && !range.is_empty() {
                        selected_lines = Some((document.path.clone(), rewritten.clone()));
                    }
                    let range = if anew { rewritten.start.0..rewritten.end.0 } else { range };
                    write_selection(
                        &mut selection_block,
                        &document,
                        &range,
                        &lines,
                        budget.of(SELECTION_SHARE),
                    );
                    left = left.saturating_sub(selection_block.len());
                }
                shown.push(document);
            }
        }
    }

    let mut tree = String::new();
    write_tree(&mut tree, question.documents, budget.of(TREE_SHARE));
    left = left.saturating_sub(tree.len());

    let asked: Vec<&Entry> = {
        let others = || question.documents.iter().filter(|entry| Some(entry.id) != question.open);
        let named = others().filter(|entry| question.policy.is_named(entry.id));
        let rest = others()
            .filter(|entry| question.policy.may_write(entry.id) && !question.policy.is_named(entry.id))
            .take(EVERYWHERE_DOCUMENTS);
        named.chain(rest).collect()
    };
    for entry in &asked {
        match read(entry).await {
            Some(document) if document.base.text.len() <= left => {
                left -= document.base.text.len();
                write_document(&mut blocks, &document, &whole(&document.base.text), false);
                shown.push(document);
            }
            _ => left_out.push(&entry.path),
        }
    }

    let taken: HashSet<DocumentId> = asked.iter().map(|entry| entry.id).chain(question.open).collect();
    let mut neighbours = Vec::new();
    for entry in nearest(question.documents, open, &taken) {
        neighbours.extend(read(entry).await);
    }
    neighbours.sort_by_key(|document| document.base.text.len());
    let mut share = budget.of(NEIGHBOUR_SHARE).min(left);
    for document in neighbours {
        if document.base.text.len() > share {
            break;
        }
        share -= document.base.text.len();
        write_document(&mut blocks, &document, &whole(&document.base.text), false);
        shown.push(document);
    }

    let answering = Answering::of(question.capability, selected_lines, is_whole);
    write_notes(&mut notes, &shown, &left_out);
    let last = format!("{blocks}{selection_block}{tree}<prompt>\n{}\n</prompt>", question.prompt);
    let request = CallRequest {
        instructions: format!("{INSTRUCTIONS}\n{}", answering.prompt()),
        input: vec![InputItem::UserText(notes), InputItem::UserText(last)],
        tools: answering.tools(),
        max_output_tokens: Some(question.capability.max_output_tokens.min(OUTPUT_TOKENS)),
        prompt_cache_key: Some(question.project.to_string()),
        ..CallRequest::default()
    };
    Context { request, shown, answering }
}

/// How many characters a request may show.
#[derive(Debug, Clone, Copy)]
struct Budget {
    chars: usize,
}

impl Budget {
    fn new(capability: &Capability) -> Self {
        let window = capability.context_tokens as usize;
        let output = (capability.max_output_tokens.min(OUTPUT_TOKENS) as usize).min(window / 2);
        let tokens = window.saturating_sub(output + RESERVE_TOKENS).min(INPUT_TOKENS);
        Self { chars: tokens * CHARS_PER_TOKEN }
    }

    const fn of(self, hundredths: usize) -> usize {
        self.chars * hundredths / 100
    }

    /// Characters of a model's window that a conversation leaves free, the answer set aside.
    fn left_after(capability: &Capability, request: &CallRequest, input: &[InputItem]) -> usize {
        let text = |item: &InputItem| match item {
            InputItem::UserText(text) | InputItem::AssistantText(text) => text.len(),
            InputItem::ToolCall { input, .. } => input.len(),
            InputItem::ToolOutput { output, .. } => output.len(),
            InputItem::Carried(value) => value.to_string().len(),
        };
        let used = request.instructions.len() + input.iter().map(text).sum::<usize>();
        let window = capability.context_tokens as usize;
        let output = (capability.max_output_tokens.min(OUTPUT_TOKENS) as usize).min(window / 2);
        (window.saturating_sub(output + RESERVE_TOKENS) * CHARS_PER_TOKEN).saturating_sub(used)
    }
}

/// A stretch of whole lines of a text.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Part<'a> {
    text: &'a str,
    /// Its first line, from 1.
    first_line: usize,
    /// How many lines it has.
    lines: usize,
    /// How many the whole text has, where this is not the whole.
    of_lines: Option<usize>,
}

fn whole(text: &str) -> Part<'_> {
    Part { text, first_line: 1, lines: text.lines().count(), of_lines: None }
}

/// The text, or as many lines around these as fit.
fn cut<'a>(text: &'a str, chars: usize, around: &Range<usize>) -> Part<'a> {
    if text.len() <= chars {
        return whole(text);
    }
    let mut starts: Vec<usize> =
        std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at + 1)).collect();
    if starts.last() == Some(&text.len()) {
        starts.pop();
    }
    let count = starts.len();
    let end_of = |line: usize| starts.get(line + 1).copied().unwrap_or(text.len());
    let mut first = around.start.min(count - 1);
    let mut last = first;
    if end_of(last) - starts[first] > chars {
        // One line alone is too long, as in a minified file: half a line would be no text to patch.
        return Part { text: "", first_line: first + 1, lines: 0, of_lines: Some(count) };
    }
    let fits = |first: usize, last: usize| end_of(last) - starts[first] <= chars;
    while last + 1 < around.end.min(count) && fits(first, last + 1) {
        last += 1;
    }
    loop {
        let before = (first, last);
        if first > 0 && fits(first - 1, last) {
            first -= 1;
        }
        if last + 1 < count && fits(first, last + 1) {
            last += 1;
        }
        if before == (first, last) {
            break;
        }
    }
    let text = &text[starts[first]..end_of(last)];
    Part { text, first_line: first + 1, lines: last + 1 - first, of_lines: Some(count) }
}

fn write_document(out: &mut String, document: &Shown, part: &Part<'_>, open: bool) {
    let _ = write!(
        out,
        r#"<document path="{}" version="{}" lines="{}""#,
        attribute(&document.path),
        document.base.version,
        part.lines
    );
    if open {
        out.push_str(r#" open="true""#);
    }
    if let Some(count) = part.of_lines {
        let _ = write!(out, r#" first_line="{}" of_lines="{count}""#, part.first_line);
    }
    out.push_str(">\n");
    out.push_str(part.text);
    if !part.text.is_empty() && !part.text.ends_with('\n') {
        out.push('\n');
    }
    out.push_str("</document>\n");
}

fn write_selection(
    out: &mut String,
    document: &Shown,
    range: &Range<u32>,
    lines: &Range<usize>,
    chars: usize,
) {
    let text = &document.base.text;
    let selected = slice(text, range);
    let _ = writeln!(
        out,
        r#"<selection path="{}" start_line="{}" end_line="{}">"#,
        attribute(&document.path),
        lines.start + 1,
        lines.end.max(lines.start + 1)
    );
    if selected.len() <= chars {
        out.push_str(selected);
        if !selected.is_empty() && !selected.ends_with('\n') {
            out.push('\n');
        }
    }
    out.push_str("</selection>\n");
}

fn write_tree(out: &mut String, documents: &[Entry], chars: usize) {
    out.push_str("<tree>\n");
    for (at, entry) in documents.iter().enumerate() {
        if out.len() + entry.path.len() > chars {
            let _ = writeln!(out, "({} more)", documents.len() - at);
            break;
        }
        out.push_str(&entry.path);
        out.push('\n');
    }
    out.push_str("</tree>\n");
}

fn write_notes(out: &mut String, shown: &[Shown], left_out: &[&str]) {
    let writable: Vec<String> = shown
        .iter()
        .filter(|document| document.writable)
        .map(|document| format!("`{}`", document.path))
        .collect();
    if writable.is_empty() {
        out.push_str("You may change no existing document; you may add new ones.\n");
    } else {
        let _ = writeln!(
            out,
            "You may change {} and add new documents. Everything else is there to be read.",
            writable.join(", ")
        );
    }
    if !left_out.is_empty() {
        let named: Vec<String> =
            left_out.iter().take(LEFT_OUT_NAMED).map(|path| format!("`{path}`")).collect();
        let more = left_out.len().saturating_sub(LEFT_OUT_NAMED);
        let _ = write!(out, "Left out, because they do not fit: {}", named.join(", "));
        if more > 0 {
            let _ = write!(out, " and {more} more");
        }
        out.push_str(". They cannot be changed in this turn; say so in your answer.\n");
    }
}

/// Documents near the open one: of its folder first.
fn nearest<'a>(documents: &'a [Entry], open: Option<&Entry>, taken: &HashSet<DocumentId>) -> Vec<&'a Entry> {
    let folder = |path: &str| path.rsplit_once('/').map_or(String::new(), |(folder, _)| folder.to_owned());
    let home = open.map(|entry| folder(&entry.path));
    let mut near: Vec<&Entry> = documents.iter().filter(|entry| !taken.contains(&entry.id)).collect();
    near.sort_by_key(|entry| home.as_ref() != Some(&folder(&entry.path)));
    near.truncate(NEIGHBOUR_DOCUMENTS);
    near
}

/// A path as it may stand between quotation marks.
fn attribute(path: &str) -> String {
    path.replace('&', "&amp;").replace('"', "&quot;")
}

/// The lines a range of UTF-16 units touches, from 0.
fn lines_of(text: &str, range: &Range<u32>) -> Range<usize> {
    let (start, end) = (byte_of(text, range.start), byte_of(text, range.end));
    let line = |at: usize| text[..at].matches('\n').count();
    let first = line(start);
    // A selection that ends at the start of a line does not touch that line.
    let touches_last = end == start || !text[..end].ends_with('\n');
    first..line(end) + usize::from(touches_last)
}

/// The place of whole lines in a text, their last line end included.
fn whole_lines(text: &str, lines: &Range<usize>) -> Range<Utf16Offset> {
    let index = TextIndex::new(text);
    let start = |line: usize| {
        let at = LineColumn { line: u32::try_from(line).unwrap_or(u32::MAX), column: Utf16Offset(0) };
        index.utf16_of_line_column(at).unwrap_or(index.utf16_len())
    };
    start(lines.start)..start(lines.end)
}

fn slice<'a>(text: &'a str, range: &Range<u32>) -> &'a str {
    &text[byte_of(text, range.start)..byte_of(text, range.end)]
}

/// The byte at a UTF-16 offset; inside a character, the one after it.
fn byte_of(text: &str, units: u32) -> usize {
    let mut passed = 0;
    for (at, character) in text.char_indices() {
        if passed >= units {
            return at;
        }
        passed += character.len_utf16() as u32;
    }
    text.len()
}

/// Where an offset of one text is in a later one: after the nearest unit before it that is still there.
pub(crate) fn carry(from: &BaseText, offset: u32, to: &BaseText) -> u32 {
    if from.version == to.version {
        return offset.min(to.len());
    }
    let mut there: HashMap<u64, Vec<(u32, u32, u32)>> = HashMap::new();
    for run in &*to.runs {
        there.entry(run.units.client).or_default().push((run.units.clock, run.units.end(), run.offset));
    }
    for runs in there.values_mut() {
        runs.sort_unstable();
    }
    for run in from.runs.iter().rev().filter(|run| run.offset < offset) {
        let Some(runs) = there.get(&run.units.client) else { continue };
        let last = run.units.clock + (offset - run.offset).min(run.units.length) - 1;
        // The last run that starts at or before the unit either holds it or ends before it.
        let at = runs.partition_point(|(clock, ..)| *clock <= last);
        if let Some(&(clock, end, place)) = at.checked_sub(1).and_then(|at| runs.get(at))
            && end > run.units.clock
        {
            let unit = last.min(end - 1);
            if unit >= run.units.clock {
                return place + (unit - clock) + 1;
            }
        }
    }
    0
}

/// The anchors of both ends of a range of a text.
pub(crate) fn anchors(base: &BaseText, range: &Range<u32>) -> (Anchor, Anchor) {
    let at = |offset| base.anchor(ensemble_edit::Utf16Offset(offset));
    (at(range.start), at(range.end))
}

/// The texts a patch may be placed in, by path.
pub(crate) fn texts(shown: &[Shown]) -> HashMap<String, Arc<str>> {
    shown
        .iter()
        .filter(|document| document.writable)
        .map(|document| (document.path.clone(), document.base.text.clone()))
        .collect()
}

#[cfg(test)]
mod tests {
    use ensemble_protocol::id::Version;
    use ensemble_sync::anchor::{BaseRun, UnitRange};

    use super::*;

    fn base(seq: u64, text: &str, runs: &[(u64, u32, u32)]) -> BaseText {
        let mut offset = 0;
        let runs: Vec<BaseRun> = runs
            .iter()
            .map(|&(client, clock, length)| {
                let run = BaseRun { offset, units: UnitRange { client, clock, length } };
                offset += length;
                run
            })
            .collect();
        BaseText { version: Version { epoch: 1, seq }, text: text.into(), runs: runs.into() }
    }

    #[test]
    fn a_long_text_is_cut_around_what_is_selected() {
        let lines: Vec<String> = (1..=100).map(|line| format!("line {line:03}\n")).collect();
        let text = lines.concat();
        let part = cut(&text, 45, &(49..50));
        assert_eq!((part.first_line, part.lines, part.of_lines), (48, 5, Some(100)));
        assert!(part.text.starts_with("line 048\n") && part.text.ends_with("line 052\n"));
        let start = cut(&text, 30, &(0..0));
        assert_eq!((start.first_line, start.lines), (1, 3));
        let end = cut(&text, 30, &(99..100));
        assert_eq!((end.first_line, end.lines), (98, 3));
        assert_eq!(cut(&text, text.len(), &(0..0)), whole(&text));
    }

    #[test]
    fn a_line_that_is_too_long_is_not_cut_in_two() {
        let text = "x".repeat(100);
        let part = cut(&text, 50, &(0..0));
        assert_eq!((part.text, part.lines, part.of_lines), ("", 0, Some(1)));
    }

    #[test]
    fn lines_are_counted_as_a_selection_touches_them() {
        let text = "one\ntwo😀\nthree";
        let cases = [
            (0..0, 0..1),
            (0..3, 0..1),
            (0..4, 0..1),
            (0..5, 0..2),
            (4..9, 1..2),
            (9..10, 1..2),
            (10..11, 2..3),
        ];
        for (range, lines) in cases {
            assert_eq!(lines_of(text, &range), lines, "{range:?}");
        }
        assert_eq!(slice(text, &(7..9)), "😀");
    }

    #[test]
    fn a_place_is_found_again_in_a_later_text() {
        // "hello world", then "hello" is deleted and "big " typed before "world".
        let old = base(1, "hello world", &[(1, 0, 11)]);
        let new = base(2, " big world", &[(1, 5, 1), (2, 0, 4), (1, 6, 5)]);
        assert_eq!(carry(&old, 0, &new), 0);
        assert_eq!(carry(&old, 3, &new), 0);
        assert_eq!(carry(&old, 6, &new), 1);
        assert_eq!(carry(&old, 8, &new), 7);
        assert_eq!(carry(&old, 11, &new), 10);
        assert_eq!(carry(&old, 8, &old), 8);
    }

    #[test]
    fn a_document_without_a_last_line_end_still_ends_its_block_on_a_line() {
        assert_eq!(whole("a\nb").lines, 2);
        assert_eq!(whole("a\nb\n").lines, 2);
        assert_eq!(whole("").lines, 0);
        assert_eq!(attribute(r#"a"b&c"#), "a&quot;b&amp;c");
    }

    #[test]
    fn the_budget_leaves_room_for_the_answer() {
        let small = Capability { context_tokens: 16_000, max_output_tokens: 8_000, ..Capability::UNKNOWN };
        assert_eq!(Budget::new(&small).chars, 4_000 * CHARS_PER_TOKEN);
        assert_eq!(Budget::new(&Capability::of("gpt-5.3-codex-spark")).chars, INPUT_TOKENS * CHARS_PER_TOKEN);
    }
}
