//! Laws of the patch stream, tried with random texts, edits and splits.

#![allow(clippy::unwrap_used, reason = "a helper of a test fails the test")]

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::ops::Range;
use std::sync::Arc;

use ensemble_edit::patch::parser::PatchParser;
use ensemble_edit::replay::PatchedFiles;
use ensemble_edit::{
    EditScript, EditStream, Format, Mode, PatchEvent, TextEdit, TextIndex, apply_patch, diff,
};
use proptest::prelude::*;

const PATH: &str = "src/a.py";

/// A text of lines from a small vocabulary, so that lines and blocks repeat as they do in source code.
fn source() -> impl Strategy<Value = Vec<String>> {
    let line = prop_oneof![
        Just(String::new()),
        Just("}".to_owned()),
        Just("    }".to_owned()),
        Just("    return x".to_owned()),
        Just("  return x".to_owned()),
        Just("def f():".to_owned()),
        Just("naïve — 😀 “x”".to_owned()),
        Just("naïve - 😀 \"x\"".to_owned()),
        (0u32..12).prop_map(|number| format!("    x = {number}")),
        (0u32..400).prop_map(|number| format!("line {number}")),
    ];
    prop::collection::vec(line, 0..60)
}

/// One change: where, how many lines go, what comes.
#[derive(Clone, Debug)]
struct Change {
    at: prop::sample::Index,
    removed: usize,
    added: Vec<String>,
}

fn changes() -> impl Strategy<Value = Vec<Change>> {
    let change =
        (any::<prop::sample::Index>(), 0usize..4, prop::collection::vec("[a-c }\\-+@*é😀]{0,6}", 0..4))
            .prop_map(|(at, removed, added)| Change { at, removed, added });
    prop::collection::vec(change, 1..4)
}

/// A perfect patch for some changes, and the text it means.
fn patch_for(lines: &[String], changes: &[Change], context: usize, stacked: bool) -> (String, String) {
    let mut places: Vec<(Range<usize>, &[String])> = changes
        .iter()
        .map(|change| {
            let start = change.at.index(lines.len() + 1);
            (start..(start + change.removed).min(lines.len()), change.added.as_slice())
        })
        .collect();
    places.sort_by_key(|(range, _)| range.start);
    let mut patch = format!("*** Begin Patch\n*** Update File: {PATH}\n");
    let mut after = String::new();
    let mut copied = 0;
    let mut last = None;
    for (range, added) in places {
        // Contexts of neighbors may touch, but a change must not stand in the context of another.
        let free_from = last.map_or(0, |end: usize| end + context + 1);
        if range.start < free_from.max(copied) || (range.is_empty() && added.is_empty()) {
            continue;
        }
        write_lines(&mut after, "", &lines[copied..range.start]);
        let from = range.start.saturating_sub(context).max(copied);
        patch.push_str("@@\n");
        if stacked && from > copied && !lines[from - 1].is_empty() {
            writeln!(patch, "@@ {}", lines[from - 1]).unwrap();
        }
        write_lines(&mut patch, " ", &lines[from..range.start]);
        write_lines(&mut patch, "-", &lines[range.clone()]);
        write_lines(&mut patch, "+", added);
        write_lines(&mut after, "", added);
        let to = (range.end + context).min(lines.len());
        write_lines(&mut patch, " ", &lines[range.end..to]);
        copied = range.end;
        last = Some(range.end);
    }
    write_lines(&mut after, "", &lines[copied..]);
    patch.push_str("*** End Patch\n");
    (patch, after)
}

fn write_lines(text: &mut String, sign: &str, lines: &[String]) {
    for line in lines {
        writeln!(text, "{sign}{line}").unwrap();
    }
}

fn text_of(lines: &[String]) -> String {
    lines.iter().flat_map(|line| [line.as_str(), "\n"]).collect()
}

fn files(text: &str) -> BTreeMap<String, String> {
    BTreeMap::from([(PATH.to_owned(), text.to_owned())])
}

/// The events of a stream that is cut at the given places, with pieces of prose joined.
fn streamed(base: &str, patch: &str, cuts: &[prop::sample::Index]) -> Vec<PatchEvent> {
    let base: Arc<str> = base.into();
    let mut stream =
        EditStream::new(Format::Patch(Mode::Unique), move |path| (path == PATH).then(|| Arc::clone(&base)));
    let boundaries: Vec<usize> = patch.char_indices().map(|(at, _)| at).chain([patch.len()]).collect();
    let mut cuts: Vec<usize> = cuts.iter().map(|cut| boundaries[cut.index(boundaries.len())]).collect();
    cuts.sort_unstable();
    cuts.push(patch.len());
    let mut start = 0;
    let mut events: Vec<PatchEvent> = Vec::new();
    let pieces = cuts.into_iter().flat_map(|cut| {
        let piece = stream.push(&patch[start..cut]);
        start = cut;
        piece
    });
    let mut all: Vec<PatchEvent> = pieces.collect();
    all.extend(stream.finish());
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

fn missed(events: &[PatchEvent]) -> usize {
    let is_miss =
        |event: &&PatchEvent| matches!(event, PatchEvent::HunkMissed(_) | PatchEvent::HunkReverted(_));
    events.iter().filter(is_miss).count()
}

/// Lines as a careless model may write them.
fn careless() -> impl Strategy<Value = String> {
    let line = prop_oneof![
        4 => "[ +\\-]?(    x = [0-9]|line [0-9]{1,2}|\\}|def f\\(\\):|)",
        1 => Just("@@".to_owned()),
        1 => Just("@@ def f():".to_owned()),
        1 => Just("*** End of File".to_owned()),
        1 => Just(" *** End Patch".to_owned()),
        1 => Just("*** Begin Patch".to_owned()),
        1 => Just("*** End Patch".to_owned()),
        2 => Just(format!("*** Update File: {PATH}")),
        1 => Just("*** Update File: ../a".to_owned()),
        1 => Just(format!("*** Add File: {PATH}")),
        1 => Just("*** Add File: new".to_owned()),
        1 => Just("*** Update File: new".to_owned()),
        1 => Just(format!("*** Delete File: {PATH}")),
        1 => Just("*** Move to: b".to_owned()),
        1 => Just("```".to_owned()),
        1 => Just("some prose ```\r".to_owned()),
    ];
    prop::collection::vec(line, 0..40).prop_map(|lines| {
        let body = lines.join("\n");
        format!("*** Begin Patch\n*** Update File: {PATH}\n{body}")
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(250))]

    /// [E1] A perfect patch is applied where it was meant or not at all, never elsewhere; streaming it in
    /// any split gives the same as applying it whole.
    #[test]
    fn perfect_patches_land_where_they_were_meant(
        lines in source(),
        changes in changes(),
        context in 0usize..4,
        stacked in any::<bool>(),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..30),
    ) {
        let base = text_of(&lines);
        let (patch, meant) = patch_for(&lines, &changes, context, stacked);
        let events = streamed(&base, &patch, &cuts);
        let found = applied(&base, &events);
        let batch = apply_patch(&files(&base), &patch, Mode::Unique);
        prop_assert_eq!(&found, &batch.files, "{}", patch);
        prop_assert_eq!(missed(&events), missed(&batch.events));
        if missed(&events) == 0 {
            prop_assert_eq!(&found[PATH], &meant, "{}", patch);
        }
    }

    /// [E2] Whatever a model writes, every split of it gives the same events, and streaming gives the same
    /// files as applying it whole.
    #[test]
    fn any_split_gives_the_same_events(
        lines in source(),
        patch in careless(),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..40),
    ) {
        let base = text_of(&lines);
        let whole = streamed(&base, &patch, &[]);
        prop_assert_eq!(&streamed(&base, &patch, &cuts), &whole);
        let batch = apply_patch(&files(&base), &patch, Mode::Unique);
        prop_assert_eq!(applied(&base, &whole), batch.files, "{}", patch);
        prop_assert_eq!(missed(&whole), missed(&batch.events));
    }

    /// [E3] An interrupted stream leaves whole lines, and names the hunk it cut.
    #[test]
    fn an_interrupted_stream_leaves_what_was_settled(
        lines in source(),
        changes in changes(),
        cut in any::<prop::sample::Index>(),
    ) {
        let base = text_of(&lines);
        let (patch, _) = patch_for(&lines, &changes, 2, false);
        let boundaries: Vec<usize> = patch.char_indices().map(|(at, _)| at).collect();
        let cut = boundaries[cut.index(boundaries.len())];
        let shared: Arc<str> = base.as_str().into();
        let mut stream = EditStream::new(Format::Patch(Mode::Unique), move |_| Some(Arc::clone(&shared)));
        let mut events = stream.push(&patch[..cut]);
        events.extend(stream.abort());
        let all = streamed(&base, &patch, &[]);
        let settled = |event: &&PatchEvent| {
            !matches!(event, PatchEvent::HunkIncomplete { .. } | PatchEvent::Finished(_))
        };
        let kept: Vec<_> = events.iter().filter(settled).collect();
        prop_assert_eq!(&kept, &all.iter().take(kept.len()).collect::<Vec<_>>());
        let text = &applied(&base, &events)[PATH];
        prop_assert!(text.is_empty() || text.ends_with('\n'));
        let written = |event: &PatchEvent| matches!(event, PatchEvent::HunkIncomplete { written: true, .. });
        let is_open = matches!(kept.last(), Some(PatchEvent::Edit { .. }));
        prop_assert_eq!(events.iter().any(written), is_open);
    }

    /// [E4] A diff turns the one text into the other, and says no more than it must.
    #[test]
    fn a_diff_applies(old in source(), new in source(), tail in "[a-zé😀\r]{0,5}") {
        let (old, new) = (text_of(&old), text_of(&new) + &tail);
        let script = diff(&old, &new);
        prop_assert_eq!(script.apply(&old).unwrap(), new.as_str());
        let index = TextIndex::new(old.as_str());
        prop_assert_eq!(script.to_utf16(&index).unwrap().len(), script.edits().len());
        let written: usize = script.edits().iter().map(|edit| edit.replacement.len()).sum();
        prop_assert!(written <= new.len());
        prop_assert!(diff(&old, &old).is_empty());
    }

    /// [E4] One changed line in a long text costs no more than the line.
    #[test]
    fn a_diff_is_small(lines in source(), at in any::<prop::sample::Index>(), text in "[a-zé ]{0,20}") {
        prop_assume!(!lines.is_empty());
        let mut changed = lines.clone();
        let at = at.index(lines.len());
        changed[at].clone_from(&text);
        let script = diff(&text_of(&lines), &text_of(&changed));
        let cost: usize =
            script.edits().iter().map(|edit| edit.replacement.len() + edit.range.end.0 - edit.range.start.0).sum();
        prop_assert!(cost <= text.len() + lines[at].len() + 2, "{:?}", script);
    }

    /// [E6] Nothing a model writes makes the parser, either mode or the search for places panic.
    #[test]
    fn hostile_text_is_survived(base in "(\\PC|[\r\n ]){0,80}", text in "([ +\\-@*]|\\PC|[\r\n]){0,200}") {
        let mut parser = PatchParser::new();
        parser.feed(&text);
        parser.finish();
        let patch = format!("*** Begin Patch\n*** Update File: {PATH}\n{text}\n*** End Patch");
        for mode in [Mode::Unique, Mode::Codex] {
            apply_patch(&files(&base), &patch, mode);
        }
        let whole = streamed(&base, &patch, &[]);
        let batch = apply_patch(&files(&base), &patch, Mode::Unique);
        prop_assert_eq!(applied(&base, &whole), batch.files);
    }
}

/// Scripts with touching edits compose as their order says.
#[test]
fn touching_edits_keep_their_order() {
    let script = EditScript::new(vec![TextEdit::new(0..1, ""), TextEdit::new(1..1, "x")]).unwrap();
    assert_eq!(script.apply("ab").unwrap(), "xb");
}
