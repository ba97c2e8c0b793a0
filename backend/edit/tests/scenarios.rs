//! The scenarios of `tests/scenarios`: folders with files before, a model's answer, and files after.
//!
//! The folder above a case names the format. A case is `before/`, `answer.txt` (`patch.txt` for patches),
//! `after/`, and optionally `report.txt`, with one line per hunk that was missed: its number, the reason, and
//! the lines concerned. Where one document or a part of it is rewritten, `target.txt` has its path, and the
//! ends of the part in UTF-16 units. A missing folder means no files. Adding a case needs no Rust.
//!
//! Every case runs as one piece, streamed in several splits, and must give the same files each time.

#![allow(clippy::unwrap_used, reason = "a helper of a test fails the test")]

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use ensemble_edit::replay::PatchedFiles;
use ensemble_edit::{EditStream, Format, Mode, PatchEvent, Utf16Offset, apply_answer};

type Files = BTreeMap<String, String>;

/// How many cases there are at least, so that none is lost unseen.
const LEAST_CASES: usize = 100;

#[test]
fn every_scenario_gives_its_files_and_its_report() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scenarios");
    let folders = fs::read_dir(&root).unwrap().map(|entry| entry.unwrap().path());
    let folders = folders.filter(|path| path.is_dir());
    let cases = folders.flat_map(|folder| fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()));
    let mut cases: Vec<_> = cases.collect();
    cases.sort();
    assert!(cases.len() >= LEAST_CASES, "only {} scenarios in {}", cases.len(), root.display());
    let mut failures = String::new();
    for case in &cases {
        let name = case.strip_prefix(&root).unwrap().display().to_string();
        let before = read_tree(&case.join("before"));
        let after = read_tree(&case.join("after"));
        let report = fs::read_to_string(case.join("report.txt")).unwrap_or_default();
        let answer = if name.starts_with("patch") { "patch.txt" } else { "answer.txt" };
        let answer = fs::read_to_string(case.join(answer)).unwrap();
        let format = format_of(case);
        let batch = apply_answer(&before, format.clone(), &answer);
        let mut check = |how: &str, files: Files, found: String| {
            if files != after || found != report {
                writeln!(failures, "{name}, {how}: {files:#?}\nexpected {after:#?}").unwrap();
                writeln!(failures, "report:\n{found}expected:\n{report}").unwrap();
            }
        };
        check("as a whole", batch.files, report_of(&batch.events));
        for step in [1, 2, 5, 17, usize::MAX] {
            let events = stream(&before, format.clone(), &answer, step);
            let mut files = PatchedFiles::new(&before);
            for event in &events {
                files.apply(event).unwrap();
            }
            check(&format!("streamed by {step}"), files.texts(), report_of(&events));
        }
    }
    assert!(failures.is_empty(), "{failures}");
}

/// The format the folder of a case names.
fn format_of(case: &Path) -> Format {
    let target = fs::read_to_string(case.join("target.txt")).unwrap_or_default();
    let mut target = target.split_whitespace();
    let path = target.next().unwrap_or_default().to_owned();
    let mut at = || Utf16Offset(target.next().unwrap().parse().unwrap());
    match case.parent().unwrap().file_name().unwrap().to_str().unwrap() {
        "patch" => Format::Patch(Mode::Unique),
        "unified" => Format::UnifiedDiff,
        "blocks" => Format::Blocks,
        "tool" => Format::Tool,
        "files" => Format::Files,
        "document" => Format::Document { path },
        "region" => Format::Region { path, range: at()..at() },
        other => panic!("no format is called {other}"),
    }
}

/// All events of an answer that arrives a few characters at a time.
fn stream(before: &Files, format: Format, answer: &str, step: usize) -> Vec<PatchEvent> {
    let texts: BTreeMap<String, Arc<str>> =
        before.iter().map(|(path, text)| (path.clone(), Arc::from(text.as_str()))).collect();
    let mut stream = EditStream::new(format, move |path| texts.get(path).cloned());
    let characters: Vec<char> = answer.chars().collect();
    let mut events = Vec::new();
    for piece in characters.chunks(step.min(characters.len().max(1))) {
        events.extend(stream.push(&piece.iter().collect::<String>()));
    }
    events.extend(stream.finish());
    events
}

fn report_of(events: &[PatchEvent]) -> String {
    let mut report = String::new();
    for event in events {
        match event {
            PatchEvent::HunkMissed(missed) | PatchEvent::HunkReverted(missed) => {
                write!(report, "{} {}", missed.hunk, missed.miss.reason.as_str()).unwrap();
                // Where a contradiction shows depends on how much had to be known; the ambiguous lines do not.
                if missed.miss.reason.as_str() == "ambiguous" {
                    write!(report, " {:?}", missed.miss.lines).unwrap();
                }
                report.push('\n');
            }
            PatchEvent::Malformed { line, .. } => writeln!(report, "line {line} malformed").unwrap(),
            PatchEvent::HunkIncomplete { hunk, .. } => writeln!(report, "{hunk} incomplete").unwrap(),
            _ => {}
        }
    }
    report
}

fn read_tree(root: &Path) -> Files {
    let mut files = Files::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).into_iter().flatten() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let name = path.strip_prefix(root).unwrap().to_string_lossy().replace('\\', "/");
                files.insert(name, fs::read_to_string(&path).unwrap());
            }
        }
    }
    files
}
