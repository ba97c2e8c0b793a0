//! Laws of all edit formats, tried with random texts, edits, splits and rubbish.

#![allow(clippy::unwrap_used, reason = "a helper of a test fails the test")]

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;

use ensemble_edit::replay::{PatchedFiles, PatchedText};
use ensemble_edit::{
    EditScript, EditStream, Format, Mapping, Mode, PatchEvent, TextIndex, Utf16Edit, Utf16Offset,
    apply_answer, diff,
};
use proptest::prelude::*;
use proptest::sample::Index;

const PATH: &str = "src/a.py";

fn formats(base: &str) -> Vec<Format> {
    let end = TextIndex::new(base).utf16_len();
    let path = || PATH.to_owned();
    vec![
        Format::Patch(Mode::Unique),
        Format::Patch(Mode::Codex),
        Format::UnifiedDiff,
        Format::Blocks,
        Format::Tool,
        Format::Files,
        Format::Document { path: path() },
        Format::Region { path: path(), range: Utf16Offset(0)..end },
        Format::Region { path: path(), range: Utf16Offset(end.0 / 3)..Utf16Offset(end.0 / 2) },
    ]
}

fn files(text: &str) -> BTreeMap<String, String> {
    BTreeMap::from([(PATH.to_owned(), text.to_owned())])
}

/// The events of an answer that is cut at the given places, with pieces of prose joined.
fn streamed(base: &str, format: Format, answer: &str, cuts: &[Index]) -> Vec<PatchEvent> {
    let base: Arc<str> = base.into();
    let mut stream = EditStream::new(format, move |path| (path == PATH).then(|| Arc::clone(&base)));
    let boundaries: Vec<usize> = answer.char_indices().map(|(at, _)| at).chain([answer.len()]).collect();
    let mut cuts: Vec<usize> = cuts.iter().map(|cut| boundaries[cut.index(boundaries.len())]).collect();
    cuts.sort_unstable();
    cuts.push(answer.len());
    let mut start = 0;
    let mut all = Vec::new();
    for cut in cuts {
        all.extend(stream.push(&answer[start..cut]));
        start = cut;
    }
    all.extend(stream.finish());
    let mut events: Vec<PatchEvent> = Vec::new();
    for event in all {
        if let (Some(PatchEvent::Prose(before)), PatchEvent::Prose(more)) = (events.last_mut(), &event) {
            before.push_str(more);
        } else {
            events.push(event);
        }
    }
    events
}

fn applied(base: &str, events: &[PatchEvent]) -> BTreeMap<String, String> {
    let mut patched = PatchedFiles::new(&files(base));
    for event in events {
        patched.apply(event).unwrap();
    }
    patched.texts()
}

fn is_missed(event: &PatchEvent) -> bool {
    matches!(
        event,
        PatchEvent::HunkMissed(_)
            | PatchEvent::HunkReverted(_)
            | PatchEvent::HunkIncomplete { .. }
            | PatchEvent::Malformed { .. }
    )
}

/// Lines from a small vocabulary, so that lines and blocks repeat as they do in source code.
fn source() -> impl Strategy<Value = Vec<String>> {
    let line = prop_oneof![
        Just(String::new()),
        Just("}".to_owned()),
        Just("    return x".to_owned()),
        Just("\treturn x".to_owned()),
        Just("naïve — 😀 “x”".to_owned()),
        (0u32..12).prop_map(|number| format!("    x = {number}")),
        (0u32..400).prop_map(|number| format!("line {number}")),
    ];
    prop::collection::vec(line, 0..60)
}

/// One change: where, how many lines go, what comes.
type Change = (Index, usize, Vec<String>);

fn changes() -> impl Strategy<Value = Vec<Change>> {
    let added = prop::collection::vec("[a-c }é😀]{0,6}", 0..4);
    prop::collection::vec((any::<Index>(), 0usize..4, added), 1..4)
}

/// A text, the blocks of lines that change in it with some context, and what it becomes.
struct Meant {
    base: String,
    after: String,
    /// The first line, counted from zero, the old lines and the new ones; they do not touch.
    blocks: Vec<(usize, Vec<String>, Vec<String>)>,
}

fn meant(lines: &[String], changes: &[Change], context: usize, line_end: &str) -> Meant {
    let mut places: Vec<(usize, usize, &Vec<String>)> = changes
        .iter()
        .map(|(at, removed, added)| {
            let start = at.index(lines.len() + 1);
            (start, (start + removed).min(lines.len()), added)
        })
        .collect();
    places.sort_by_key(|&(start, ..)| start);
    let mut blocks = Vec::new();
    let mut after: Vec<String> = Vec::new();
    let mut copied = 0;
    for (start, end, added) in places {
        let from = start.saturating_sub(context);
        if (start == end && added.is_empty()) || (copied > 0 && from < copied + context + 1) {
            continue;
        }
        after.extend_from_slice(&lines[copied..start]);
        after.extend_from_slice(added);
        let to = (end + context).min(lines.len());
        let new = [&lines[from..start], added, &lines[end..to]].concat();
        blocks.push((from, lines[from..to].to_vec(), new));
        copied = end;
    }
    after.extend_from_slice(&lines[copied..]);
    let text = |lines: &[String]| lines.iter().flat_map(|line| [line.as_str(), line_end]).collect::<String>();
    Meant { base: text(lines), after: text(&after), blocks }
}

fn join(lines: &[String]) -> String {
    lines.iter().flat_map(|line| [line.as_str(), "\n"]).collect()
}

/// A perfect answer in a format, or nothing where the format cannot say it.
fn answer(format: &Format, meant: &Meant) -> String {
    let mut text = String::new();
    match format {
        Format::UnifiedDiff => {
            writeln!(text, "Here:\n```diff\n--- a/{PATH}\n+++ b/{PATH}").unwrap();
            for (first, old, new) in &meant.blocks {
                writeln!(text, "@@ -{},{} +1,{} @@", first + 1, old.len(), new.len()).unwrap();
                for (sign, lines) in [('-', old), ('+', new)] {
                    for line in lines {
                        writeln!(text, "{sign}{line}").unwrap();
                    }
                }
            }
            text.push_str("```\n");
        }
        Format::Blocks => {
            writeln!(text, "Here:\n\n{PATH}\n```").unwrap();
            for (_, old, new) in &meant.blocks {
                let (old, new) = (join(old), join(new));
                writeln!(text, "<<<<<<< SEARCH\n{old}=======\n{new}>>>>>>> REPLACE").unwrap();
            }
            text.push_str("```\n");
        }
        Format::Tool => {
            let quote = |lines: &[String]| format!("{:?}", join(lines)).replace("\\'", "'");
            let edits: Vec<String> = meant
                .blocks
                .iter()
                .map(|(_, old, new)| {
                    format!("{{\"old_text\": {}, \"new_text\": {}}}", quote(old), quote(new))
                })
                .collect();
            write!(text, "{{\"path\": \"{PATH}\", \"edits\": [{}]}}", edits.join(",\n")).unwrap();
        }
        Format::Files => {
            write!(text, "{PATH}\n````\n{}````\n", meant.after.replace("\r\n", "\n")).unwrap();
        }
        _ => text.push_str(&meant.after.replace("\r\n", "\n")),
    }
    text
}

/// Lines as a careless model may write them in any of the formats.
fn careless() -> impl Strategy<Value = String> {
    let line = prop_oneof![
        8 => "[ +\\-]?(    x = [0-9]|line [0-9]{1,2}|\\}|return x|)",
        2 => Just(PATH.to_owned()),
        1 => Just("src/b.py:".to_owned()),
        2 => Just("<<<<<<< SEARCH".to_owned()),
        2 => Just("=======".to_owned()),
        2 => Just(">>>>>>> REPLACE".to_owned()),
        2 => Just("```".to_owned()),
        1 => Just(format!("```py {PATH}")),
        1 => Just(format!("--- a/{PATH}\n+++ b/{PATH}\n@@ -1 +1 @@")),
        1 => Just("--- /dev/null\n+++ b/new\n@@".to_owned()),
        1 => Just(format!("diff --git a/{PATH} b/{PATH}")),
        1 => Just("new file mode 1".to_owned()),
        1 => Just("@@ -3,2 +3 @@".to_owned()),
        1 => Just(format!("<edit path=\"{PATH}\">\n<old_text>")),
        1 => Just("</old_text>\n<new_text>".to_owned()),
        1 => Just("</new_text>\n</edit>".to_owned()),
        1 => Just(format!("<file path='{PATH}'>")),
        1 => Just("</file>".to_owned()),
        1 => Just(format!("{{\"path\":\"{PATH}\",\"edits\":[{{\"old_text\":\"x = 1\",\"new_text\":\"")),
        1 => Just("\"},{\"new_text\":\"\\ud83d\\ude00\",\"old_text\":\"".to_owned()),
        1 => Just("\"}]}".to_owned()),
        1 => Just("// ... rest unchanged".to_owned()),
        1 => Just("*** Begin Patch\r".to_owned()),
        1 => Just(format!("*** Update File: {PATH}")),
    ];
    (prop::collection::vec(line, 0..40), prop_oneof![Just("\n"), Just("\r\n")])
        .prop_map(|(lines, line_end)| lines.join(line_end))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// [E2] Whatever a model writes, in every format every split of it gives the same events, and streaming
    /// gives the same files as applying it whole.
    #[test]
    fn any_split_gives_the_same_events(
        lines in source(),
        answer in careless(),
        ends_line in any::<bool>(),
        cuts in prop::collection::vec(any::<Index>(), 0..60),
    ) {
        let mut base = join(&lines);
        if !ends_line {
            base.pop();
        }
        for format in formats(&base) {
            let whole = streamed(&base, format.clone(), &answer, &[]);
            prop_assert_eq!(&streamed(&base, format.clone(), &answer, &cuts), &whole, "{:?}", format);
            let batch = apply_answer(&files(&base), format.clone(), &answer);
            prop_assert_eq!(applied(&base, &whole), batch.files, "{:?}", format);
        }
    }

    /// [E1] A perfect answer in any format is applied where it was meant or not at all, never elsewhere, and
    /// the line ends of the text stay.
    #[test]
    fn perfect_answers_land_where_they_were_meant(
        lines in source(),
        changes in changes(),
        context in 0usize..4,
        line_end in prop_oneof![Just("\n"), Just("\r\n")],
        cuts in prop::collection::vec(any::<Index>(), 0..30),
    ) {
        let meant = meant(&lines, &changes, context, line_end);
        prop_assume!(!meant.base.is_empty() && !meant.blocks.is_empty());
        for format in formats(&meant.base).into_iter().skip(2).take(6) {
            let answer = answer(&format, &meant);
            let events = streamed(&meant.base, format.clone(), &answer, &cuts);
            let can_miss = matches!(format, Format::UnifiedDiff | Format::Blocks | Format::Tool);
            if events.iter().any(is_missed) {
                prop_assert!(can_miss, "{:?}: {:?}", format, events);
            } else {
                prop_assert_eq!(&applied(&meant.base, &events)[PATH], &meant.after, "{:?}: {}", format, answer);
            }
        }
    }

    /// [E4] A whole file that changes a line writes no more than the line.
    #[test]
    fn a_whole_file_writes_only_what_differs(lines in source(), at in any::<Index>(), text in "[a-zé]{0,20}") {
        prop_assume!(!lines.is_empty());
        let mut changed = lines.clone();
        let at = at.index(lines.len());
        changed[at].clone_from(&text);
        let base = join(&lines);
        let events = streamed(&base, Format::Document { path: PATH.to_owned() }, &join(&changed), &[]);
        let cost = |event: &PatchEvent| match event {
            PatchEvent::Edit { delete, insert, .. } => (delete.end.0 - delete.start.0) as usize + insert.len(),
            _ => 0,
        };
        prop_assert!(events.iter().map(cost).sum::<usize>() <= text.len() + lines[at].len() + 2);
    }

    /// [E3] However a whole file is interrupted, what it has not reached stays.
    #[test]
    fn an_interrupted_file_keeps_its_tail(
        lines in source(),
        changes in changes(),
        cut in any::<Index>(),
    ) {
        let meant = meant(&lines, &changes, 0, "\n");
        let boundaries: Vec<usize> =
            meant.after.char_indices().map(|(at, _)| at).chain([meant.after.len()]).collect();
        let cut = boundaries[cut.index(boundaries.len())];
        let base: Arc<str> = meant.base.as_str().into();
        let format = Format::Document { path: PATH.to_owned() };
        let mut stream = EditStream::new(format, move |_| Some(Arc::clone(&base)));
        let mut events = stream.push(&meant.after[..cut]);
        events.extend(stream.abort());
        let text = &applied(&meant.base, &events)[PATH];
        // What was read replaced what stood there; everything behind it is still there.
        let read = meant.after[..cut].lines().count();
        let tail: Vec<&str> = meant.base.lines().rev().take(lines.len().saturating_sub(read + 12)).collect();
        prop_assert!(text.lines().rev().zip(&tail).all(|(left, right)| left == *right), "{text}");
    }

    /// What people type in other lines while an answer streams is merged with it.
    #[test]
    fn streams_merge_with_what_people_type(
        lines in source(),
        model in prop::collection::vec((any::<Index>(), "[x-z]{1,4}"), 1..4),
        people in prop::collection::vec((any::<Index>(), "[P-R]{0,4}(\n[P-R]{1,3})?"), 0..5),
        index in 0usize..9,
    ) {
        prop_assume!(!lines.is_empty());
        // Lines are told apart, so that every format has one place for each.
        let lines: Vec<String> =
            lines.iter().enumerate().map(|(at, line)| format!("<{at}> {line}")).collect();
        let (mut ours, mut theirs, mut both) = (lines.clone(), lines.clone(), lines.clone());
        let mut changes = BTreeMap::new();
        for (at, line) in &model {
            let at = at.index(lines.len());
            (ours[at], both[at]) = (line.clone(), line.clone());
            changes.insert(at, line.clone());
        }
        for (at, line) in &people {
            let at = at.index(lines.len());
            if !changes.contains_key(&at) {
                (theirs[at], both[at]) = (line.clone(), line.clone());
            }
        }
        let base = join(&lines);
        let meant = Meant {
            base: base.clone(),
            after: join(&ours),
            blocks: changes.iter().map(|(&at, new)| (at, vec![lines[at].clone()], vec![new.clone()])).collect(),
        };
        let format = match formats(&base).swap_remove(index) {
            Format::Patch(_) | Format::Region { .. } => Format::Document { path: PATH.to_owned() },
            other => other,
        };
        let events = streamed(&base, format.clone(), &answer(&format, &meant), &[]);
        prop_assert!(!events.iter().any(is_missed), "{:?}", events);
        let mut edits = PatchedText::new(base.as_str());
        for event in &events {
            if let PatchEvent::Edit { hunk, delete, insert_at, insert, .. } = event {
                edits.edit(*hunk, delete, *insert_at, insert).unwrap();
            }
        }
                let (before, now) = (TextIndex::new(base.as_str()), TextIndex::new(join(&theirs)));
        // People replace whole lines, so that nothing of theirs reaches into another line.
        let mut start = 0;
        let mut typed: Vec<Utf16Edit> = Vec::new();
        for (old, new) in lines.iter().zip(&theirs) {
            let end = start + old.encode_utf16().count() as u32;
            if old != new {
                typed.push(Utf16Edit { range: Utf16Offset(start)..Utf16Offset(end), replacement: new.clone() });
            }
            start = end + 1;
        }
        let mapping = Mapping::of_edits(&typed).unwrap();
        let merged = mapping.merge(&before, &edits.script().to_utf16(&before).unwrap(), &now);
        prop_assert_eq!(&merged.overlaps, &[], "{:?}", format);
        let result = EditScript::from_utf16(merged.edits, &now).unwrap().apply(now.text()).unwrap();
        prop_assert_eq!(result, join(&both), "{:?}", format);
    }

    /// [E6] Rubbish makes no reader panic, in any format.
    #[test]
    fn rubbish_is_survived(
        base in "(\\PC|[\r\n ]){0,80}",
        text in "(\\PC|[\r\n\t\\\\\"{}\\[\\]:,`<>=+@ -]){0,300}",
        cuts in prop::collection::vec(any::<Index>(), 0..10),
    ) {
        for format in formats(&base) {
            let events = streamed(&base, format.clone(), &text, &cuts);
            applied(&base, &events);
            let quoted = format!(
                "{{\"path\":\"{PATH}\",\"edits\":[{text}\n{PATH}\n```\n{text}\n<<<<<<< SEARCH\n{text}\n=======\n{text}"
            );
            applied(&base, &streamed(&base, format, &quoted, &cuts));
        }
    }
}

/// [E6] Large and hostile answers cost about as much as they are long: at these sizes anything quadratic
/// would not end.
#[test]
fn hostile_sizes_end() {
    let lines: Vec<String> = (0..30_000).map(|line| format!("line {}", line % 7)).collect();
    let base = join(&lines);
    let mut answers: Vec<String> = [
        "<<<<<<< SEARCH\n",
        "=======\n",
        "```\n",
        "a.py\n",
        "{\"path\":\"",
        "\\ud83d",
        "[",
        "--- a\n",
        "+++ b\n",
        "*** Begin Patch\n",
        "@@\n",
        "<edit path=\"a\">\n",
        " line 1\n",
        "line 1\n",
        "\n",
        "x",
    ]
    .iter()
    .map(|piece| piece.repeat(120_000 / piece.len()))
    .collect();
    answers.push(format!(
        "{PATH}\n<<<<<<< SEARCH\n{}\n=======\nx\n>>>>>>> REPLACE\n",
        "line 3\n".repeat(15_000)
    ));
    answers
        .push(format!("*** Begin Patch\n*** Update File: {PATH}\n{}", "-line 3\n line 4\n@@\n".repeat(500)));
    answers
        .push(format!("{{\"path\":\"{PATH}\",\"edits\":[{{\"old_text\":\"{}\"", "line 3\\n".repeat(15_000)));
    for answer in &answers {
        for format in formats(&base) {
            let events = streamed(&base, format, answer, &[]);
            applied(&base, &events);
        }
    }
    // One hunk with as many kept lines as added ones, applied whole.
    let (kept, added) = ("line 1\n".repeat(40_000), "+y\n".repeat(80_000));
    let patch = format!(
        "*** Begin Patch\n*** Update File: {PATH}\n {}{added}*** End Patch\n",
        kept.replace('\n', "\n ").trim_end_matches(' ')
    );
    let outcome = apply_answer(&files(&kept), Format::Patch(Mode::Unique), &patch);
    assert_eq!(outcome.files[PATH].len(), kept.len() + 2 * 80_000);
    let outcome = apply_answer(&files(&kept), Format::Patch(Mode::Codex), &patch);
    assert_eq!(outcome.files[PATH].len(), kept.len() + 2 * 80_000);
}

/// [E4] Files of 100 000 lines and lines of a megabyte are changed by small edits.
#[test]
fn large_files_are_changed_by_small_edits() {
    let lines: Vec<String> = (0..100_000).map(|line| format!("line {line}")).collect();
    let long: Vec<String> = (0..80_000).map(|word| format!("f({word});")).collect();
    for (base, from, to) in
        [(join(&lines), "line 77777\n", "line seven\n"), (long.concat(), "f(77777);", "g(77777);")]
    {
        let after = base.replacen(from, to, 1);
        let format = Format::Document { path: PATH.to_owned() };
        let events = streamed(&base, format, &after, &[]);
        assert_eq!(applied(&base, &events)[PATH], after);
        let written = |event: &PatchEvent| match event {
            PatchEvent::Edit { delete, insert, .. } => delete.end.0 - delete.start.0 + insert.len() as u32,
            _ => 0,
        };
        assert!(events.iter().map(written).sum::<u32>() <= 20, "{events:?}");
        assert!(diff(&base, &after).edits().len() <= 2);
    }
}
