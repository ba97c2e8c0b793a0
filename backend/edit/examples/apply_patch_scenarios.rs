//! Runs a folder of patch scenarios in Codex mode: `apply_patch_scenarios FOLDER`.
//!
//! Each folder in it is a case: `input/` (missing when there are no files), `patch.txt`, and `expected/`.
//! Prints one line per case, and fails when the files of one differ from what it expects.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use ensemble_edit::{Mode, apply_patch};

fn main() -> Result<ExitCode> {
    let folder = std::env::args().nth(1).context("give the folder of the scenarios")?;
    let mut cases = Vec::new();
    for entry in fs::read_dir(&folder).with_context(|| format!("cannot read `{folder}`"))? {
        let path = entry?.path();
        if path.join("patch.txt").is_file() {
            cases.push(path);
        }
    }
    cases.sort();
    if cases.is_empty() {
        bail!("`{folder}` has no scenarios");
    }
    let mut failed = 0;
    for case in &cases {
        let name = case.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let before = read_tree(&case.join("input"))?;
        let expected = read_tree(&case.join("expected"))?;
        let outcome = apply_patch(&before, &fs::read_to_string(case.join("patch.txt"))?, Mode::Codex);
        if outcome.files == expected {
            println!("ok      {name}");
        } else {
            failed += 1;
            println!("FAILED  {name}: expected {expected:?}, got {:?}", outcome.files);
        }
    }
    println!("{} of {} scenarios give the expected files", cases.len() - failed, cases.len());
    Ok(if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// All files below a folder, by their path in it; nothing when there is no such folder.
fn read_tree(root: &Path) -> Result<BTreeMap<String, String>> {
    let mut files = BTreeMap::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        if !folder.is_dir() {
            continue;
        }
        for entry in fs::read_dir(&folder)? {
            let path = entry?.path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let name = path.strip_prefix(root)?.to_string_lossy().replace('\\', "/");
                files.insert(name, fs::read_to_string(&path)?);
            }
        }
    }
    Ok(files)
}
