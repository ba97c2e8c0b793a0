//! Where edits stand in a text somebody knew, or in the text of now.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Range;
use std::sync::Arc;

use ensemble_edit::patch::parser::{PatchParser, PatchToken};
use ensemble_edit::{
    Miss, MissReason, Missed, Mode, PatchEvent, PatchOutcome, TextEdit, TextIndex, Utf16Offset, apply_patch,
    diff, normalize_path,
};
use ensemble_protocol::id::{DocumentId, HunkId};
use ensemble_protocol::rest::TextReplacement;
use ensemble_sync::anchor::{Anchor, BaseText, UnitRange};
use ensemble_sync::room::AnchoredEdit;

/// Places named in a refusal.
const MAX_LISTED: usize = 20;

/// Edits of a request without a place for which the nearest one is looked for, since each reads the whole text.
const MAX_DESCRIBED: usize = 8;

/// A document's text, as its sender knew it and as it is.
#[derive(Debug, Clone)]
pub(super) struct KnownText {
    pub(super) document: DocumentId,
    /// The text of the version the sender named, where that is not the one of now.
    pub(super) base: Option<BaseText>,
    pub(super) now: BaseText,
}

impl KnownText {
    /// What it takes in memory.
    pub(super) fn bytes(&self) -> usize {
        self.now.text.len() + self.base.as_ref().map_or(0, |base| base.text.len())
    }

    fn first(&self) -> (Source, &BaseText) {
        match &self.base {
            Some(base) => (Source::Base, base),
            None => (Source::Now, &self.now),
        }
    }

    fn of(&self, source: Source) -> &BaseText {
        match (source, &self.base) {
            (Source::Base, Some(base)) => base,
            _ => &self.now,
        }
    }
}

/// Which of the two texts a place is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Source {
    Base,
    Now,
}

/// An edit with its place.
#[derive(Debug, Clone)]
pub(super) struct Placed {
    pub(super) hunk: HunkId,
    pub(super) source: Source,
    pub(super) delete: Range<Utf16Offset>,
    pub(super) at: Utf16Offset,
    pub(super) insert: String,
}

impl Placed {
    /// The edit held fast in the document, and the place where it begins.
    ///
    /// A replacement stands behind what it replaces, so that it comes between what people typed right before
    /// that and what they typed right behind it.
    pub(super) fn anchored(&self, text: &KnownText) -> (AnchoredEdit, Anchor) {
        let base = text.of(self.source);
        let delete = base.units(self.delete.clone());
        let at = if delete.is_empty() { self.at } else { self.delete.end };
        let edit = AnchoredEdit { hunk: self.hunk, at: base.anchor(at), insert: self.insert.clone(), delete };
        (edit, base.anchor(self.delete.start))
    }
}

/// Why an old text has no place.
enum NoPlace {
    /// It is empty, and the text is not.
    Empty,
    /// It stands nowhere.
    Absent,
    /// It stands in several places, on these lines.
    Several(Vec<u32>),
}

/// The place of every replacement, or what is wrong with those that have none.
pub(super) fn place_replacements(
    path: &str,
    text: &KnownText,
    edits: &[TextReplacement],
) -> Result<Vec<Placed>, Vec<(HunkId, Miss)>> {
    let mut found: Vec<(Source, usize, usize)> = Vec::with_capacity(edits.len());
    let mut failed = Vec::new();
    let (first, known) = text.first();
    let mut described = 0;
    for (index, edit) in edits.iter().enumerate() {
        let (mut source, mut place) = (first, find(&known.text, &edit.old_text));
        if first == Source::Base && matches!(place, Err(NoPlace::Absent)) {
            // What the sender knew does not have it: perhaps they have seen a newer text.
            (source, place) = (Source::Now, find(&text.now.text, &edit.old_text));
        }
        match place {
            Ok(start) => found.push((source, start, index)),
            Err(NoPlace::Absent) if described < MAX_DESCRIBED => {
                described += 1;
                let near = nearest(path, edit, text.of(source));
                failed.push((number(index), near.unwrap_or_else(|| miss_of(path, NoPlace::Absent))));
            }
            Err(why) => failed.push((number(index), miss_of(path, why))),
        }
    }
    if !failed.is_empty() {
        return Err(failed);
    }
    found.sort_unstable_by_key(|(source, start, index)| (*source as u8, *start, *index));
    let mut placed: Vec<Placed> = Vec::new();
    let mut lines: Option<(Source, TextIndex)> = None;
    let mut end = 0;
    for (source, start, index) in found {
        if lines.as_ref().is_none_or(|(of, _)| *of != source) {
            lines = Some((source, TextIndex::new(Arc::clone(&text.of(source).text))));
            end = 0;
        }
        let Some((_, lines)) = &lines else { continue };
        if start < end {
            return Err(vec![(number(index), overlap(path))]);
        }
        let edit = &edits[index];
        end = start + edit.old_text.len();
        let smallest = diff(&edit.old_text, &edit.new_text).into_edits().into_iter().map(|part| {
            TextEdit::new(start + part.range.start.0..start + part.range.end.0, part.replacement)
        });
        placed.extend(smallest.map(|part| {
            let delete = lines.utf16_range(&part.range).expect("edits lie between characters");
            Placed { hunk: number(index), source, at: delete.start, delete, insert: part.replacement }
        }));
    }
    match crossing(text, &placed) {
        Some(hunk) => Err(vec![(hunk, overlap(path))]),
        None => Ok(placed),
    }
}

/// The byte at which a text stands, when it stands there alone.
fn find(text: &str, old: &str) -> Result<usize, NoPlace> {
    if old.is_empty() {
        return if text.is_empty() { Ok(0) } else { Err(NoPlace::Empty) };
    }
    let first = text.find(old).ok_or(NoPlace::Absent)?;
    // Places may overlap, as `aa` does in `aaa`.
    let step = |at: usize| at + text[at..].chars().next().map_or(1, char::len_utf8);
    let next_after = |at: usize| text[step(at)..].find(old).map(|found| step(at) + found);
    let places: Vec<usize> =
        std::iter::successors(Some(first), |&at| next_after(at)).take(MAX_LISTED).collect();
    if places.len() == 1 {
        return Ok(first);
    }
    let mut lines: Vec<u32> = places.iter().map(|&at| text[..at].matches('\n').count() as u32 + 1).collect();
    lines.dedup();
    Err(NoPlace::Several(lines))
}

/// What is said about a replacement that has no place.
fn miss_of(path: &str, why: NoPlace) -> Miss {
    match why {
        NoPlace::Empty => Miss::new(
            MissReason::NoContext,
            format!("It has no old text, so its place in `{path}` is unknown."),
        ),
        NoPlace::Absent => Miss::new(MissReason::NotFound, format!("Its old text is not in `{path}`.")),
        NoPlace::Several(lines) => {
            let listed: Vec<String> = lines.iter().map(ToString::to_string).collect();
            let message = format!(
                "Its old text stands in several places of `{path}`, on lines {}. Give more of the text around it.",
                listed.join(", ")
            );
            Miss { lines, ..Miss::new(MissReason::Ambiguous, message) }
        }
    }
}

/// The miss of the lines of an old text, as a patch that removes them.
///
/// The patch engine says near what it would stand: it compares by lines, as people do.
fn nearest(path: &str, edit: &TextReplacement, text: &BaseText) -> Option<Miss> {
    let mut patch = format!("*** Begin Patch\n*** Update File: {path}\n@@\n");
    for line in edit.old_text.lines() {
        patch.push('-');
        patch.push_str(line);
        patch.push('\n');
    }
    patch.push_str("*** End Patch\n");
    let files = BTreeMap::from([(path.to_owned(), text.text.to_string())]);
    let missed = apply_patch(&files, &patch, Mode::Unique).missed.pop()?;
    Some(missed.miss).filter(|miss| miss.reason == MissReason::NotFound)
}

fn overlap(path: &str) -> Miss {
    let message = format!("It changes text of `{path}` that another edit of the request changes too.");
    Miss::new(MissReason::Overlap, message)
}

/// A hunk that deletes what another one from the other text deletes too.
fn crossing(text: &KnownText, placed: &[Placed]) -> Option<HunkId> {
    let units = |source: Source| {
        placed.iter().filter(move |edit| edit.source == source).flat_map(move |edit| {
            let units = text.of(source).units(edit.delete.clone());
            units.into_iter().map(move |units| (edit.hunk, units))
        })
    };
    // Units of one text never overlap, so in this order their ends ascend too.
    let mut base: Vec<(HunkId, UnitRange)> = units(Source::Base).collect();
    base.sort_unstable_by_key(|(_, held)| (held.client, held.clock));
    let meets = |hunk: HunkId, units: &UnitRange| {
        let first =
            base.partition_point(|(_, held)| (held.client, held.end()) <= (units.client, units.clock));
        let met = base[first..].iter();
        met.take_while(|(_, held)| held.client == units.client && held.clock < units.end())
            .any(|(other, _)| *other != hunk)
    };
    units(Source::Now).find(|(hunk, units)| meets(*hunk, units)).map(|(hunk, _)| hunk)
}

fn number(index: usize) -> HunkId {
    HunkId(u32::try_from(index).unwrap_or(u32::MAX - 1) + 1)
}

/// What a patch names.
#[derive(Debug, Default)]
pub(super) struct Named {
    /// Paths, in normal form.
    pub(super) paths: BTreeSet<String>,
    /// Where those go that it moves.
    pub(super) moves: HashMap<String, String>,
    /// Its hunks, and the files it makes, moves and deletes.
    pub(super) hunks: usize,
}

/// The paths a patch names, whether or not it can be applied.
pub(super) fn named(patch: &str) -> Named {
    let mut parser = PatchParser::new();
    let mut tokens = parser.feed(patch);
    tokens.extend(parser.finish());
    let mut named = Named::default();
    // Whether the next line is the first of a hunk; lines of a file that is made are none.
    let mut begins_hunk = false;
    for token in tokens {
        let (path, move_to) = match token {
            PatchToken::Update { path, move_to } => {
                begins_hunk = true;
                named.hunks += usize::from(move_to.is_some());
                (path, move_to)
            }
            PatchToken::Add { path } | PatchToken::Delete { path } => {
                begins_hunk = false;
                named.hunks += 1;
                (path, None)
            }
            PatchToken::Heading(_) | PatchToken::EndOfFile => {
                begins_hunk = true;
                continue;
            }
            PatchToken::Line(_) => {
                named.hunks += usize::from(std::mem::take(&mut begins_hunk));
                continue;
            }
            _ => continue,
        };
        let Ok(path) = normalize_path(&path) else { continue };
        if let Some(to) = move_to.and_then(|to| normalize_path(&to).ok()) {
            named.paths.insert(to.clone());
            named.moves.insert(path.clone(), to);
        }
        named.paths.insert(path);
    }
    named
}

/// What a patch does to a file as a whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum PlacedFile {
    Add { hunk: HunkId, path: String, text: String },
    Delete { hunk: HunkId, path: String },
    Move { hunk: HunkId, from: String, to: String },
}

/// A patch with all its places.
#[derive(Debug, Default)]
pub(super) struct PlacedPatch {
    /// Edits of documents, by the path they had before.
    pub(super) edits: BTreeMap<String, Vec<Placed>>,
    /// The hunks of each, those that change nothing included.
    pub(super) hunks: BTreeMap<String, BTreeSet<HunkId>>,
    /// What happens to files, in order.
    pub(super) files: Vec<PlacedFile>,
    /// What was not done.
    pub(super) missed: Vec<Missed>,
}

/// The places of a patch's hunks. The error is what is wrong with its form.
pub(super) fn place_patch(
    texts: &BTreeMap<String, KnownText>,
    patch: &str,
    mode: Mode,
    named: &Named,
) -> Result<PlacedPatch, String> {
    let run = |text: fn(&KnownText) -> &BaseText| {
        let files = texts.iter().map(|(path, known)| (path.clone(), text(known).text.to_string())).collect();
        apply_patch(&files, patch, mode)
    };
    let known = run(|known| known.first().1);
    if let Some((line, message)) = known.malformed.first() {
        return Err(format!("line {line} of the patch: {message}"));
    }
    if !known.events.iter().any(|event| matches!(event, PatchEvent::FileBegan { .. }))
        && known.missed.is_empty()
    {
        return Err("there is no patch in it: it begins with `*** Begin Patch`".into());
    }
    let has_base = texts.values().any(|known| known.base.is_some());
    let now = (has_base && !known.missed.is_empty()).then(|| run(|known| &known.now));
    let mut placed = PlacedPatch::default();
    match now {
        None => placed.take(&known, &|_| Some(true), texts),
        Some(now) if mode == Mode::Codex => {
            // Its hunks are whole files, so one text or the other is meant.
            if now.missed.len() < known.missed.len() {
                placed.take(&now, &|_| Some(false), texts);
            } else {
                placed.take(&known, &|_| Some(true), texts);
            }
        }
        Some(now) => {
            let lost: BTreeSet<HunkId> = known.missed.iter().map(|missed| of(missed.hunk)).collect();
            placed.take(&known, &|hunk| (!lost.contains(&hunk)).then_some(true), texts);
            placed.missed.clear();
            placed.take(&now, &|hunk| lost.contains(&hunk).then_some(false), texts);
            placed.missed.retain(|missed| lost.contains(&of(missed.hunk)));
            placed.move_after_all(texts, named);
        }
    }
    if mode == Mode::Codex {
        placed.move_what_moves(texts, named);
    }
    Ok(placed)
}

impl PlacedPatch {
    /// Takes the events of hunks that `wanted` says something about: whether they are placed in the text that
    /// was known, rather than in the one of now.
    fn take(
        &mut self,
        outcome: &PatchOutcome,
        wanted: &dyn Fn(HunkId) -> Option<bool>,
        texts: &BTreeMap<String, KnownText>,
    ) {
        // Files are named by their newest path; places are in the text under the one before.
        let mut before: HashMap<String, String> = HashMap::new();
        let mut current = String::new();
        self.missed.extend(outcome.missed.iter().cloned());
        for event in &outcome.events {
            match event {
                PatchEvent::FileBegan { path, .. } => current = path.to_string(),
                PatchEvent::Edit { hunk, path, delete, insert_at, insert } => {
                    let path = before.get(&**path).cloned().unwrap_or_else(|| path.to_string());
                    let (Some(is_known), Some(text)) = (wanted(of(*hunk)), texts.get(&path)) else {
                        continue;
                    };
                    let source = if is_known { text.first().0 } else { Source::Now };
                    self.hunks.entry(path.clone()).or_default().insert(of(*hunk));
                    self.edits.entry(path).or_default().push(Placed {
                        hunk: of(*hunk),
                        source,
                        delete: delete.clone(),
                        at: *insert_at,
                        insert: insert.clone(),
                    });
                }
                PatchEvent::HunkDone { hunk } if wanted(of(*hunk)).is_some() => {
                    let path = before.get(&current).unwrap_or(&current);
                    if texts.contains_key(path) {
                        self.hunks.entry(path.clone()).or_default().insert(of(*hunk));
                    }
                }
                PatchEvent::AddFile { hunk, path, .. } if wanted(of(*hunk)).is_some() => {
                    // Later sections may have changed it.
                    let text = outcome.files.get(&**path).cloned().unwrap_or_default();
                    self.files.push(PlacedFile::Add { hunk: of(*hunk), path: path.to_string(), text });
                }
                PatchEvent::DeleteFile { hunk, path } if wanted(of(*hunk)).is_some() => {
                    self.files.push(PlacedFile::Delete { hunk: of(*hunk), path: path.to_string() });
                }
                PatchEvent::MoveFile { hunk, from, to } => {
                    let origin = before.remove(&**from).unwrap_or_else(|| from.to_string());
                    before.insert(to.to_string(), origin);
                    if wanted(of(*hunk)).is_some() {
                        let (from, to) = (from.to_string(), to.to_string());
                        self.files.push(PlacedFile::Move { hunk: of(*hunk), from, to });
                    }
                }
                _ => {}
            }
        }
    }

    /// Moves a document that neither text alone was complete for, once both together are.
    fn move_after_all(&mut self, texts: &BTreeMap<String, KnownText>, named: &Named) {
        let missed = std::mem::take(&mut self.missed);
        for miss in &missed {
            let path = &*miss.path;
            let others = missed.iter().any(|other| other.hunk != miss.hunk && other.path == miss.path);
            let to = named.moves.get(path).filter(|to| !texts.contains_key(*to));
            match to {
                Some(to) if miss.miss.reason == MissReason::SectionIncomplete && !others => {
                    let (from, to) = (path.to_owned(), to.clone());
                    self.files.push(PlacedFile::Move { hunk: of(miss.hunk), from, to });
                }
                _ => self.missed.push(miss.clone()),
            }
        }
    }

    /// In Codex mode a file that moves comes as one that goes and one that is new. It keeps who wrote it.
    fn move_what_moves(&mut self, texts: &BTreeMap<String, KnownText>, named: &Named) {
        for (from, to) in &named.moves {
            let goes = self
                .files
                .iter()
                .position(|file| matches!(file, PlacedFile::Delete { path, .. } if path == from));
            let comes =
                self.files.iter().position(|file| matches!(file, PlacedFile::Add { path, .. } if path == to));
            let (Some(goes), Some(comes), Some(known)) = (goes, comes, texts.get(from)) else { continue };
            let (PlacedFile::Delete { hunk: goes_hunk, .. }, PlacedFile::Add { hunk, text, .. }) =
                (self.files[goes].clone(), self.files[comes].clone())
            else {
                continue;
            };
            let (source, base) = known.first();
            let lines = TextIndex::new(Arc::clone(&base.text));
            let script = diff(&base.text, &text).to_utf16(&lines).expect("edits lie between characters");
            self.edits.entry(from.clone()).or_default().extend(script.into_iter().map(|part| Placed {
                hunk,
                source,
                at: part.range.start,
                delete: part.range,
                insert: part.replacement,
            }));
            self.hunks.entry(from.clone()).or_default().insert(hunk);
            self.files[goes] = PlacedFile::Move { hunk: goes_hunk, from: from.clone(), to: to.clone() };
            self.files.remove(comes);
        }
    }
}

/// Hunks are counted from 1 outside the edit engine.
const fn of(hunk: ensemble_edit::HunkId) -> HunkId {
    HunkId(hunk.0 + 1)
}

#[cfg(test)]
mod tests {
    use ensemble_protocol::id::Version;
    use ensemble_sync::anchor::BaseRun;

    use super::*;

    /// A text written by one client alone.
    fn text(of: &str, client: u64) -> BaseText {
        let length = of.encode_utf16().count() as u32;
        let run = BaseRun { offset: 0, units: UnitRange { client, clock: 0, length } };
        BaseText { version: Version { epoch: 1, seq: client }, text: of.into(), runs: Arc::new([run]) }
    }

    fn known(base: Option<&str>, now: &str) -> KnownText {
        let document = DocumentId::from_slice(&[1; 16]).expect("sixteen bytes");
        KnownText { document, base: base.map(|base| text(base, 1)), now: text(now, 2) }
    }

    #[test]
    fn edits_from_both_texts_that_meet_are_refused() {
        let mut text = known(Some("one\ntwo\n"), "one\ntwos\n");
        text.now.runs =
            Arc::new([BaseRun { offset: 0, units: UnitRange { client: 1, clock: 0, length: 9 } }]);
        let failed = place_replacements("a", &text, &[edit("two\n", "2\n"), edit("twos", "3")]).unwrap_err();
        assert_eq!((failed[0].0, failed[0].1.reason), (HunkId(2), MissReason::Overlap));
    }

    fn edit(old: &str, new: &str) -> TextReplacement {
        TextReplacement { old_text: old.to_owned(), new_text: new.to_owned() }
    }

    #[test]
    fn a_replacement_is_looked_for_in_the_known_text_and_then_in_the_one_of_now() {
        let text = known(Some("one\ntwo\n"), "one\n2\nthree\n");
        let placed =
            place_replacements("a", &text, &[edit("two", "TWO"), edit("three", "drei")]).expect("found");
        let places: Vec<_> = placed.iter().map(|edit| (edit.hunk.0, edit.source, edit.at.0)).collect();
        assert_eq!(places, [(1, Source::Base, 4), (2, Source::Now, 6)]);
        let failed = place_replacements("a", &text, &[edit("four", "4"), edit("o", "0")]).unwrap_err();
        let reasons: Vec<_> = failed.iter().map(|(hunk, miss)| (hunk.0, miss.reason)).collect();
        assert_eq!(reasons, [(1, MissReason::NotFound), (2, MissReason::Ambiguous)]);
    }

    #[test]
    fn a_miss_says_near_what_it_would_stand() {
        let text = known(None, "fn main() {\n    let total = 1;\n    print(total);\n}\n");
        let old = "fn main() {\n    let sum = 1;\n    print(total);";
        let failed = place_replacements("a", &text, &[edit(old, "x")]).unwrap_err();
        assert_eq!(failed[0].1.lines, [2]);
        assert_eq!(failed[0].1.nearest.as_ref().map(|nearest| nearest.line), Some(1));
    }

    /// [E15] However many edits of a request have no place, only a few are described at the cost of a look
    /// at the whole text.
    #[test]
    fn few_misses_say_near_what_they_would_stand() {
        let text = known(None, "fn main() {\n    let total = 1;\n}\n");
        let edits: Vec<TextReplacement> =
            (0..50).map(|_| edit("fn main() {\n    let sum = 1;\n", "x")).collect();
        let failed = place_replacements("a", &text, &edits).unwrap_err();
        assert_eq!(failed.len(), edits.len());
        assert!(failed.iter().all(|(_, miss)| miss.reason == MissReason::NotFound));
        let described = failed.iter().filter(|(_, miss)| miss.nearest.is_some()).count();
        assert_eq!(described, MAX_DESCRIBED);
    }

    #[test]
    fn a_patch_is_counted_before_its_places_are_looked_for() {
        let patch = "*** Begin Patch\n*** Update File: a\n-1\n+2\n@@ f\n@@ g\n 3\n+4\n*** End of File\n\
                     *** Add File: b\n+5\n*** Delete File: c\n*** Update File: d\n*** Move to: e\n@@\n-6\n\
                     *** End Patch\n";
        let named = named(patch);
        // Two hunks of `a`, `b`, `c`, and the hunk and the move of `d`.
        assert_eq!(named.hunks, 6);
        assert_eq!(named.paths.len(), 5);
    }

    #[test]
    fn hunks_of_a_patch_are_taken_from_whichever_text_has_them() {
        let texts = BTreeMap::from([("a".to_owned(), known(Some("one\ntwo\n"), "one\n2\nthree\n"))]);
        let patch = "*** Begin Patch\n*** Update File: a\n*** Move to: b\n@@\n-two\n+TWO\n@@\n-three\n+drei\n*** End Patch\n";
        let placed = place_patch(&texts, patch, Mode::Unique, &named(patch)).expect("it is a patch");
        assert!(placed.missed.is_empty(), "{:?}", placed.missed);
        let sources: Vec<_> = placed.edits["a"].iter().map(|edit| (edit.hunk.0, edit.source)).collect();
        assert_eq!(sources, [(1, Source::Base), (2, Source::Now)]);
        assert_eq!(placed.files, [PlacedFile::Move { hunk: HunkId(3), from: "a".into(), to: "b".into() }]);
    }

    #[test]
    fn a_file_that_codex_moves_keeps_its_document() {
        let texts = BTreeMap::from([("a".to_owned(), known(None, "one\ntwo\n"))]);
        let patch = "*** Begin Patch\n*** Update File: a\n*** Move to: b\n@@\n-two\n+TWO\n*** End Patch\n";
        let placed = place_patch(&texts, patch, Mode::Codex, &named(patch)).expect("it is a patch");
        assert!(matches!(&placed.files[..], [PlacedFile::Move { from, to, .. }] if from == "a" && to == "b"));
        assert_eq!(placed.edits["a"].len(), 1);
    }

    #[test]
    fn what_is_no_patch_is_said_to_be_none() {
        let error = place_patch(&BTreeMap::new(), "hello", Mode::Unique, &Named::default()).unwrap_err();
        assert!(error.contains("Begin Patch"), "{error}");
    }
}
