//! When a patch stream says what: order and time of its events.

#![allow(clippy::unwrap_used, reason = "a helper of a test fails the test")]

use std::sync::Arc;

use ensemble_edit::{EditStream, Format, HunkId, MissReason, Mode, PatchEvent, Utf16Offset};

const BASE: &str = "fn a() {\n    one();\n}\n\nfn b() {\n    two();\n}\n";

fn stream(mode: Mode) -> EditStream {
    EditStream::new(Format::Patch(mode), |path| (path == "a.rs").then(|| Arc::from(BASE)))
}

fn shown(events: &[PatchEvent]) -> Vec<String> {
    events
        .iter()
        .map(|event| match event {
            PatchEvent::Prose(text) => format!("prose {text:?}"),
            PatchEvent::FileBegan { path, kind } => format!("{kind:?} {path}"),
            PatchEvent::HunkAimed { hunk, base_line, range, .. } => {
                format!("{hunk} aimed at line {base_line}, {}..{}", range.start.0, range.end.0)
            }
            PatchEvent::Edit { hunk, delete, insert_at, insert, .. } => {
                assert_eq!(delete.start, *insert_at);
                format!("{hunk} {}..{} {insert:?}", delete.start.0, delete.end.0)
            }
            PatchEvent::HunkDone { hunk } => format!("{hunk} done"),
            PatchEvent::HunkMissed(missed) => format!("{} missed, {:?}", missed.hunk, missed.miss.reason),
            PatchEvent::HunkReverted(missed) => format!("{} reverted, {:?}", missed.hunk, missed.miss.reason),
            PatchEvent::AddFile { hunk, path, text } => format!("{hunk} add {path} {text:?}"),
            PatchEvent::DeleteFile { hunk, path } => format!("{hunk} delete {path}"),
            PatchEvent::MoveFile { hunk, from, to } => format!("{hunk} move {from} {to}"),
            PatchEvent::Malformed { line, .. } => format!("line {line} malformed"),
            PatchEvent::HunkIncomplete { hunk, written, .. } => format!("{hunk} incomplete, {written}"),
            PatchEvent::Finished(summary) => format!(
                "finished {}/{}/{} {}",
                summary.patches, summary.hunks, summary.missed, summary.unclosed
            ),
        })
        .collect()
}

/// [E5] A place is announced with the first line that settles it, and added lines are written one by one.
#[test]
fn added_lines_are_written_as_they_arrive() {
    let mut stream = stream(Mode::Unique);
    assert!(stream.push("*** Begin Patch\n*** Update File: ./a.rs\n@@\n").len() <= 1);
    assert_eq!(shown(&stream.push("     two();")), [] as [String; 0]);
    assert_eq!(shown(&stream.push("\n")), ["0 aimed at line 6, 32..43"]);
    assert_eq!(shown(&stream.push("+    th")), [] as [String; 0]);
    assert_eq!(shown(&stream.push("ree();\n+")), [r#"0 43..43 "    three();\n""#]);
    assert_eq!(shown(&stream.push("    four();\n }\n")), [r#"0 43..43 "    four();\n""#]);
    assert_eq!(shown(&stream.push("*** End Patch\n")), ["0 done"]);
    assert_eq!(shown(&stream.finish()), ["finished 1/1/0 false"]);
}

/// [E5] Replaced lines settle when the lines that replace them end, and only what differs is written.
#[test]
fn replaced_lines_are_reduced_to_what_differs() {
    let mut stream = stream(Mode::Unique);
    let events = stream.push("*** Begin Patch\n*** Update File: a.rs\n@@ fn b\n-    two();\n+    too();\n");
    assert_eq!(shown(&events), ["Update a.rs", "0 aimed at line 6, 32..43"]);
    assert_eq!(shown(&stream.push(" }\n")), [r#"0 37..38 "o""#]);
    assert_eq!(shown(&stream.finish()), ["0 done", "finished 1/1/0 true"]);
}

/// [E7] A hunk that fits two places waits for its end, and is refused when nothing tells them apart.
#[test]
fn an_ambiguous_hunk_waits_for_its_end() {
    let mut stream = stream(Mode::Unique);
    let events = stream.push("*** Begin Patch\n*** Update File: a.rs\n@@\n }\n+// end\n");
    assert_eq!(shown(&events), ["Update a.rs"]);
    assert_eq!(shown(&stream.push("@@\n }\n+// end\n")), ["0 missed, Ambiguous"]);
    let events = stream.push("*** End of File\n*** End Patch\n");
    assert_eq!(shown(&events), ["1 aimed at line 7, 43..45", r#"1 45..45 "// end\n""#, "1 done"]);
}

/// [E8] A line that contradicts takes the whole hunk back, with the line it is about.
#[test]
fn a_contradiction_takes_the_hunk_back() {
    let mut stream = stream(Mode::Unique);
    stream.push("*** Begin Patch\n*** Update File: a.rs\n@@\n     two();\n+    three();\n");
    let events = stream.push(" fn c() {\n");
    let [PatchEvent::HunkReverted(missed)] = &events[..] else { panic!("{events:?}") };
    assert_eq!((missed.hunk, missed.miss.reason), (HunkId(0), MissReason::NotFound));
    assert_eq!(missed.miss.lines, [7]);
    assert_eq!(missed.miss.message, "Line 7 of `a.rs` is `}`, but the hunk expects `fn c() {`.");
    assert_eq!(shown(&stream.push("+more\n }\n*** End Patch\n")), [] as [String; 0]);
    assert_eq!(shown(&stream.finish()), ["finished 1/1/1 false"]);
}

/// [E3] An interruption names the hunk it cut, and says whether any of it was written.
#[test]
fn an_interruption_names_what_it_cut() {
    let mut first = stream(Mode::Unique);
    first.push("*** Begin Patch\n*** Update File: a.rs\n@@\n     two();\n+    three();\n+    fo");
    assert_eq!(shown(&first.abort()), ["0 incomplete, true", "finished 1/1/0 true"]);
    let mut second = stream(Mode::Unique);
    second
        .push("*** Begin Patch\n*** Update File: a.rs\n*** Move to: b.rs\n@@\n-    two();\n+    three();\n");
    assert_eq!(shown(&second.abort()), ["0 incomplete, false", "1 incomplete, false", "finished 1/2/0 true"]);
    let mut third = stream(Mode::Unique);
    third.push("*** Begin Patch\n*** Add File: b.rs\n+text\n");
    assert_eq!(shown(&third.abort()), ["0 incomplete, false", "finished 1/1/0 true"]);
    assert_eq!(shown(&stream(Mode::Unique).abort()), ["finished 0/0/0 true"]);
}

/// Files are added, removed and moved when their section closes, and never before.
#[test]
fn files_change_when_their_section_closes() {
    let mut stream = stream(Mode::Unique);
    let patch = "*** Begin Patch\n*** Add File: b.rs\n+one\n+two\n";
    assert_eq!(shown(&stream.push(patch)), ["Add b.rs"]);
    assert_eq!(
        shown(&stream.push("*** Update File: b.rs\n one\n+more\n")),
        [r#"0 add b.rs "one\ntwo\n""#, "Update b.rs", "1 aimed at line 1, 0..4", r#"1 4..4 "more\n""#]
    );
    assert_eq!(shown(&stream.push("*** Update File: a.rs\n*** Move to: c.rs\n")), ["1 done", "Move a.rs"]);
    assert_eq!(
        shown(&stream.push("*** Delete File: c.rs\n*** Delete File: a.rs\n")),
        ["2 move a.rs c.rs", "Delete c.rs", "3 delete c.rs", "Delete a.rs", "4 missed, NoSuchFile"]
    );
}

/// In Codex mode nothing happens before the end, and a mistake in form anywhere changes nothing.
#[test]
fn codex_mode_settles_at_the_end() {
    let patch = "*** Begin Patch\n*** Update File: a.rs\n@@\n }\n+// first hit\n*** End Patch\n";
    let mut whole = stream(Mode::Codex);
    assert_eq!(whole.push(patch), []);
    let events = whole.finish();
    assert_eq!(
        shown(&events),
        [
            "Update a.rs",
            "0 aimed at line 4, 22..22",
            r#"0 22..22 "// first hit\n""#,
            "0 done",
            "finished 1/1/0 false"
        ]
    );
    let mut broken = stream(Mode::Codex);
    broken.push("*** Begin Patch\n*** Update File: a.rs\n@@\n }\n+// first hit\n");
    assert_eq!(shown(&broken.finish()), ["line 5 malformed", "finished 0/0/0 false"]);
}

/// Positions are UTF-16 units of the base text.
#[test]
fn positions_count_utf16_units() {
    let mut stream = EditStream::new(Format::Patch(Mode::Unique), |_| Some(Arc::from("😀\nx\n")));
    let events = stream.push("*** Begin Patch\n*** Update File: a\n 😀\n+y\n");
    let Some(PatchEvent::Edit { insert_at, .. }) = events.last() else { panic!("{events:?}") };
    assert_eq!(*insert_at, Utf16Offset(3));
}

/// [E14] Every call of a tool counts by itself: what is wrong with one keeps no other from being done.
#[test]
fn a_call_that_is_no_json_leaves_the_others_standing() {
    let mut stream = EditStream::new(Format::Tool, |_| Some(Arc::from(BASE)));
    let call = |old: &str, new: &str| format!(r#"{{"path":"a.rs","old_text":"{old}","new_text":"{new}"}}"#);
    stream.push(&call("one", "1"));
    assert_eq!(shown(&stream.end_call()), [] as [String; 0]);
    assert_eq!(shown(&stream.push(&call(r"fn a\d", "x")[..])).len(), 1);
    assert_eq!(shown(&stream.end_call()), [] as [String; 0]);
    let third = shown(&stream.push(&call("two", "2")));
    assert_eq!(third.last().map(String::as_str), Some("1 done"), "{third:?}");
    assert_eq!(shown(&stream.finish()), ["finished 0/2/0 false"]);
}
