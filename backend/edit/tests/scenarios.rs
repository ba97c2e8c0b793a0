//! The scenarios of `tests/scenarios/patch`: folders with files before, a patch, and files after.
//!
//! A case is `before/`, `patch.txt`, `after/`, and optionally `report.txt`, with one line per hunk that was
//! missed: its number, the reason, and the lines concerned. A missing folder means no files. A patch with
//! prose around it is a whole answer of a model. Adding a case needs no Rust.
//!
//! Every case runs as one piece, streamed in several splits, and must give the same files each time.

#![allow(clippy::unwrap_used, reason = "a helper of a test fails the test")]

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use ensemble_edit::replay::PatchedFiles;
use ensemble_edit::{Mode, PatchEvent, PatchStream, apply_patch};

type Files = BTreeMap<String, String>;

#[test]
fn every_scenario_gives_its_files_and_its_report() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scenarios/patch");
    let mut cases: Vec<_> = fs::read_dir(&root).unwrap().map(|entry| entry.unwrap().path()).collect();
    cases.sort();
    assert!(cases.len() >= 25, "only {} scenarios in {}", cases.len(), root.display());
    let mut failures = String::new();
    for case in &cases {
        let name = case.file_name().unwrap().to_string_lossy();
        let before = read_tree(&case.join("before"));
        let after = read_tree(&case.join("after"));
        let report = fs::read_to_string(case.join("report.txt")).unwrap_or_default();
        let patch = fs::read_to_string(case.join("patch.txt")).unwrap();
        let batch = apply_patch(&before, &patch, Mode::Unique);
        let mut check = |how: &str, files: Files, found: String| {
            if files != after || found != report {
                writeln!(failures, "{name}, {how}: {files:#?}\nexpected {after:#?}").unwrap();
                writeln!(failures, "report:\n{found}expected:\n{report}").unwrap();
            }
        };
        check("as a whole", batch.files, report_of(&batch.events));
        for step in [1, 2, 5, 17, usize::MAX] {
            let events = stream(&before, &patch, step);
            let mut files = PatchedFiles::new(&before);
            for event in &events {
                files.apply(event).unwrap();
            }
            check(&format!("streamed by {step}"), files.texts(), report_of(&events));
        }
    }
    assert!(failures.is_empty(), "{failures}");
}

/// All events of a patch that arrives a few characters at a time.
fn stream(before: &Files, patch: &str, step: usize) -> Vec<PatchEvent> {
    let texts: BTreeMap<String, Arc<str>> =
        before.iter().map(|(path, text)| (path.clone(), Arc::from(text.as_str()))).collect();
    let mut stream = PatchStream::new(Mode::Unique, move |path| texts.get(path).cloned());
    let characters: Vec<char> = patch.chars().collect();
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
