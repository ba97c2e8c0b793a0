//! Where an old text stands that is to be replaced as a whole.
//!
//! The ways of agreeing are tried from exact to loose, and the first that finds anything decides: one place
//! is taken, several are refused. What is found says for every line of the old text where it stands, so that
//! lines the new text keeps stay as they are in the document.

use std::ops::Range;

use crate::diff::diff;
use crate::hunk::{Agreement, Miss, MissReason};
use crate::indent::Shift;
use crate::lines::LineTable;
use crate::locate::nearest::{alike_place, not_found};
use crate::locate::{Aim, Scope, listed, locate, on_lines};
use crate::mapping::Mapping;
use crate::position::TextIndex;
use crate::text_edit::{EditScript, TextEdit};

/// Places named in a message.
const MAX_LISTED: usize = 20;

/// Where an old text stands.
#[derive(Debug)]
pub(crate) enum Found {
    /// In one place, line for line.
    Place(Place),
    /// In one place that is only alike: lines of the text.
    Alike(Range<u32>),
}

/// The place of an old text.
#[derive(Debug)]
pub(crate) struct Place {
    pub(crate) agreement: Agreement,
    /// The byte of the text at which it starts.
    pub(crate) start: usize,
    /// The lines of the old text; their line ends are `\n`, unless the place is literal.
    pub(crate) old: Vec<String>,
    /// Where each stands in the text, in bytes; empty for an empty line the text does not have.
    pub(crate) spans: Vec<Range<usize>>,
    /// Whether the model writes line ends as the text has them; otherwise they are made so.
    pub(crate) is_literal: bool,
}

impl Place {
    /// A stretch of the text, as it is.
    pub(crate) fn exact(text: &str, range: &Range<usize>, is_literal: bool) -> Self {
        let mut spans = Vec::new();
        let mut start = range.start;
        let mut old = Vec::new();
        for line in text[range.clone()].split_inclusive('\n') {
            spans.push(start..start + line.len());
            start += line.len();
            old.push(if is_literal { line.to_owned() } else { plain(line) });
        }
        Self { agreement: Agreement::Exact, start: range.start, old, spans, is_literal }
    }

    /// All of it, in bytes of the text.
    pub(crate) fn range(&self) -> Range<usize> {
        self.start..self.start_of(self.old.len())
    }

    /// The byte at which an old line starts; behind the last, where the place ends.
    pub(crate) fn start_of(&self, line: usize) -> usize {
        match self.spans.get(line) {
            Some(span) => span.start,
            None => self.spans.last().map_or(self.start, |span| span.end),
        }
    }

    /// How the text is indented where an old line stands, compared with the model.
    pub(crate) fn shift_at(&self, table: &LineTable, line: usize) -> Option<Shift> {
        if self.agreement < Agreement::Trimmed {
            return None;
        }
        let shift = |line: usize| Shift::between(&self.old[line], &table.text()[self.spans[line].clone()]);
        let len = self.old.len();
        (0..(line + 1).min(len)).rev().chain(line + 1..len).find_map(shift)
    }
}

/// Finds an old text.
pub(crate) fn find(table: &LineTable, old: &str, whole_lines: bool, path: &str) -> Result<Found, Miss> {
    if old.trim().is_empty() && !old.is_empty() && table.text().trim().is_empty() {
        return Ok(Found::Place(Place::exact(table.text(), &(0..table.text().len()), false)));
    }
    if old.is_empty() {
        if table.text().is_empty() {
            return Ok(Found::Place(Place::exact("", &(0..0), true)));
        }
        let message = format!(
            "The edit gives no old text, so its place in `{path}` is unknown. Give at least one unchanged \
             line before or after what is added."
        );
        return Err(Miss::new(MissReason::NoContext, message));
    }
    if !whole_lines {
        let places = places_of(table.text(), old);
        if let [start] = places[..] {
            let range = start..start + old.len();
            return Ok(Found::Place(Place::exact(table.text(), &range, old.contains('\r'))));
        }
        if !places.is_empty() {
            return Err(ambiguous(table, &places, path));
        }
    }
    let lines: Vec<&str> = old.split_inclusive('\n').collect();
    let (scope, at_end, cursor) = (Scope::default(), false, 0);
    let aim = Aim { scope: &scope, at_end, cursor, path };
    let bare: Vec<&str> = lines.iter().map(|line| bare(line)).collect();
    let miss = match locate(table, &bare, &aim) {
        Ok((start, agreement)) => return Ok(Found::Place(at_lines(table, &lines, 0, start, agreement))),
        Err(miss) if miss.reason != MissReason::NotFound => return Err(miss),
        Err(miss) => miss,
    };
    // Empty lines around a block are often the model's own.
    let solid = |line: &&str| !line.is_empty();
    let (Some(first), Some(last)) = (bare.iter().position(solid), bare.iter().rposition(solid)) else {
        return Err(miss);
    };
    let core = &bare[first..=last];
    if core.len() < bare.len() {
        match locate(table, core, &aim) {
            Ok((start, agreement)) => {
                return Ok(Found::Place(at_lines(table, &lines, first, start, agreement)));
            }
            Err(ambiguous) if ambiguous.reason != MissReason::NotFound => return Err(ambiguous),
            Err(_) => {}
        }
    }
    alike_place(table, core).map(Found::Alike).ok_or(miss)
}

/// The edits that carry a model's change over to a place that is only alike; `None` when they overlap with
/// what differs there.
///
/// The old text is the base, the place is what people made of it, and the new text is what the model made
/// of it.
pub(crate) fn carry_over(table: &LineTable, lines: &Range<u32>, old: &str, new: &str) -> Option<EditScript> {
    let start = table.start_of(lines.start);
    let now = table.block(lines.clone());
    let solid = |text: &str| plain_text(text.trim_matches(['\r', '\n']));
    let (model, wanted) = (solid(old), solid(new));
    let place = now.trim_end_matches(['\r', '\n']);
    if place.contains('\r') {
        // Line ends would count as differences everywhere.
        return None;
    }
    let base = TextIndex::new(model.as_str());
    let current = TextIndex::new(place);
    let mapping = Mapping::between(&base, place);
    let edits = diff(&model, &wanted).to_utf16(&base).ok()?;
    let merged = mapping.merge(&base, &edits, &current);
    if !merged.overlaps.is_empty() {
        return None;
    }
    let script = EditScript::from_utf16(merged.edits, &current).ok()?;
    let moved = script
        .into_edits()
        .into_iter()
        .map(|edit| TextEdit::new(start + edit.range.start.0..start + edit.range.end.0, edit.replacement));
    EditScript::new(moved.collect()).ok()
}

/// A line with its end as `\n`.
pub(crate) fn plain(line: &str) -> String {
    match line.strip_suffix("\r\n") {
        Some(text) => format!("{text}\n"),
        None => line.to_owned(),
    }
}

fn plain_text(text: &str) -> String {
    text.replace("\r\n", "\n")
}

/// A line without its end.
fn bare(line: &str) -> &str {
    let line = line.strip_suffix('\n').unwrap_or(line);
    line.strip_suffix('\r').unwrap_or(line)
}

/// The place of old lines of which those from `first` on stand at lines of the text.
fn at_lines(table: &LineTable, lines: &[&str], first: usize, start: u32, agreement: Agreement) -> Place {
    let mut spans = Vec::with_capacity(lines.len());
    let mut line = start;
    for (at, text) in lines.iter().enumerate() {
        let is_missing = at < first || line >= table.len() || table.likeness(line, bare(text)).is_none();
        let begin = table.start_of(line);
        if is_missing {
            spans.push(begin..begin);
            continue;
        }
        let end =
            if text.ends_with('\n') { table.start_of(line + 1) } else { begin + table.line(line).len() };
        spans.push(begin..end);
        line += 1;
    }
    let is_literal = lines.iter().any(|line| line.contains('\r'));
    let old = lines.iter().map(|line| if is_literal { (*line).to_owned() } else { plain(line) });
    Place { agreement, start: table.start_of(start), old: old.collect(), spans, is_literal }
}

/// The bytes at which a text stands, overlapping places included; at most [`MAX_LISTED`].
fn places_of(text: &str, old: &str) -> Vec<usize> {
    // Places may overlap, as `aa` does in `aaa`.
    let step = |at: usize| at + text[at..].chars().next().map_or(1, char::len_utf8);
    let next_after = |at: usize| text[step(at)..].find(old).map(|found| step(at) + found);
    std::iter::successors(text.find(old), |&at| next_after(at)).take(MAX_LISTED).collect()
}

fn ambiguous(table: &LineTable, places: &[usize], path: &str) -> Miss {
    let mut lines: Vec<u32> = places.iter().map(|&at| table.line_at(at)).collect();
    lines.dedup();
    let message = format!(
        "The old text stands {} of `{path}`. Give more unchanged text around the change, so that only one \
         place fits.",
        on_lines(&lines)
    );
    Miss { lines: listed(&lines), ..Miss::new(MissReason::Ambiguous, message) }
}

/// The miss of a text that is only alike where it would be changed.
pub(crate) fn near_miss(table: &LineTable, old: &[&str], path: &str) -> Miss {
    let scope = Scope::default();
    not_found(table, old, &Aim { scope: &scope, at_end: false, cursor: 0, path })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn changed(text: &str, old: &str, new: &str) -> Option<String> {
        let table = LineTable::new(text);
        match find(&table, old, true, "a").ok()? {
            Found::Alike(lines) => Some(carry_over(&table, &lines, old, new)?.apply(text).unwrap()),
            Found::Place(place) => panic!("agrees: {place:?}"),
        }
    }

    /// [E11] What is only alike is changed where nothing else is, and where the change agrees.
    #[test]
    fn what_is_only_alike_is_changed_where_there_is_no_doubt() {
        let text = "the quick brown fox jumps\nover the lazy dog today\nand that was all of it\n";
        let old = "the quick brown fox jumped\nover the lazy dog today\nand that was all of it\n";
        let (good, bad) = (old.replace("today", "tonight"), old.replace("jumped", "leapt"));
        assert_eq!(changed(text, old, &good), Some(text.replace("today", "tonight")));
        // The change meets what the model has wrong.
        assert_eq!(changed(text, old, &bad), None);
        // A second place is as near.
        assert_eq!(changed(&format!("{text}---\n{text}"), old, &good), None);
        // A line that was forgotten stays.
        let longer = text.replace("over", "right\nover");
        assert_eq!(
            changed(&longer, text, &text.replace("all of", "all about")),
            Some(longer.replace("all of", "all about"))
        );
        // Too little is alike.
        assert_eq!(changed(text, "something else entirely here\nover the lazy dog today\n", "x\n"), None);
    }
}
