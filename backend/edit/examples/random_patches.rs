//! Tries random edits of real source files: `random_patches FOLDER [COUNT]`.
//!
//! For each count of context lines it cuts COUNT perfect patches of 1 to 3 places out of files below the
//! folder, and prints how many were applied as meant, elsewhere, or refused, in both modes. Fails when the
//! default mode ever changes a wrong place.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use ensemble_edit::replay::PatchedFiles;
use ensemble_edit::{EditStream, Format, Mode, PatchEvent, apply_patch};

const PATH: &str = "file";
/// Files outside these sizes, in lines, are not used.
const FILE_LINES: std::ops::RangeInclusive<usize> = 20..=5_000;
/// Enough different files for any count.
const MAX_FILES: usize = 2_000;

/// A small generator, so that a run can be repeated.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % bound.max(1) as u64) as usize
    }
}

fn main() -> Result<ExitCode> {
    let folder = std::env::args().nth(1).context("give a folder of source files")?;
    let count: usize = std::env::args().nth(2).map_or(Ok(1_000), |count| count.parse())?;
    let files = source_files(Path::new(&folder))?;
    if files.is_empty() {
        bail!("`{folder}` has no source files");
    }
    println!("{} files, {count} patches for each count of context lines", files.len());
    println!("context  mode    right   wrong  refused  written early");
    let mut wrong_places = 0;
    for context in 0..=3 {
        let mut random = Random(0x9E37_79B9_7F4A_7C15);
        let mut tallies = [[0usize; 4]; 2];
        let mut made = 0;
        while made < count {
            let text = &files[random.below(files.len())];
            let Some((patch, meant)) = random_patch(&mut random, text, context) else { continue };
            made += 1;
            let before = BTreeMap::from([(PATH.to_owned(), text.clone())]);
            let codex = apply_patch(&before, &patch, Mode::Codex);
            tally(&mut tallies[0], &codex.files[PATH], &meant, codex.missed.is_empty());
            let (after, complete, early) = streamed(&before, &patch);
            tally(&mut tallies[1], &after, &meant, complete);
            tallies[1][3] += usize::from(early);
        }
        for (name, [right, wrong, refused, early]) in ["codex", "unique"].iter().zip(tallies) {
            println!("{context:>7}  {name:<6} {right:>6}  {wrong:>6}  {refused:>7}  {early:>13}");
        }
        wrong_places += tallies[1][1];
    }
    Ok(if wrong_places == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn tally(tally: &mut [usize; 4], after: &str, meant: &str, complete: bool) {
    let index = match (complete, after == meant) {
        (true, true) => 0,
        (true, false) => 1,
        (false, _) => 2,
    };
    tally[index] += 1;
}

/// Applies a patch as it arrives, seven characters at a time: the text, whether no hunk was missed, and
/// whether any text was written before the last line of its hunk arrived.
fn streamed(before: &BTreeMap<String, String>, patch: &str) -> (String, bool, bool) {
    let base: Arc<str> = before[PATH].as_str().into();
    let mut stream = EditStream::new(Format::Patch(Mode::Unique), move |_| Some(Arc::clone(&base)));
    let mut files = PatchedFiles::new(before);
    let mut complete = true;
    let mut early = false;
    let characters: Vec<char> = patch.chars().collect();
    let mut settle = |events: Vec<PatchEvent>| {
        early |= matches!(events.last(), Some(PatchEvent::Edit { .. }));
        for event in &events {
            files.apply(event).expect("the stream works on the same text");
            complete &= !matches!(event, PatchEvent::HunkMissed(_) | PatchEvent::HunkReverted(_));
        }
    };
    for piece in characters.chunks(7) {
        settle(stream.push(&piece.iter().collect::<String>()));
    }
    settle(stream.finish());
    let text = files.texts().remove(PATH).unwrap_or_default();
    (text, complete, early)
}

/// A perfect patch of 1 to 3 places with lines of context, and the text it means.
fn random_patch(random: &mut Random, text: &str, context: usize) -> Option<(String, String)> {
    let lines: Vec<&str> = text.lines().collect();
    let mut starts: Vec<usize> = (0..=random.below(3)).map(|_| random.below(lines.len())).collect();
    starts.sort_unstable();
    let mut patch = format!("*** Begin Patch\n*** Update File: {PATH}\n");
    let mut after = String::new();
    let mut copied = 0;
    for start in starts {
        if copied > 0 && start < copied + 2 * context + 1 {
            continue;
        }
        let removed = random.below(3).min(lines.len() - start);
        let added = random.below(4);
        if (removed, added) == (0, 0) || (context == 0 && removed == 0) {
            continue;
        }
        patch.push_str("@@\n");
        for line in &lines[start.saturating_sub(context)..start] {
            writeln!(patch, " {line}").ok()?;
        }
        for line in &lines[start..start + removed] {
            writeln!(patch, "-{line}").ok()?;
        }
        for line in &lines[copied..start] {
            writeln!(after, "{line}").ok()?;
        }
        for number in 0..added {
            writeln!(patch, "+added {number} at {start}").ok()?;
            writeln!(after, "added {number} at {start}").ok()?;
        }
        copied = start + removed;
        for line in &lines[copied..(copied + context).min(lines.len())] {
            writeln!(patch, " {line}").ok()?;
        }
    }
    if copied == 0 {
        return None;
    }
    for line in &lines[copied..] {
        writeln!(after, "{line}").ok()?;
    }
    patch.push_str("*** End Patch\n");
    Some((patch, after))
}

/// The texts of source files below a folder, in the order of their paths.
fn source_files(root: &Path) -> Result<Vec<String>> {
    let mut paths: Vec<PathBuf> = Vec::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).with_context(|| format!("cannot read `{}`", folder.display()))? {
            let path = entry?.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| {
                ["rs", "py", "ts", "js", "c", "h", "go", "java"].iter().any(|known| extension == *known)
            }) {
                paths.push(path);
            }
        }
    }
    paths.sort();
    let step = paths.len() / MAX_FILES + 1;
    let texts = paths.iter().step_by(step).filter_map(|path| fs::read_to_string(path).ok());
    let fits = |text: &String| {
        FILE_LINES.contains(&text.lines().count()) && text.ends_with('\n') && !text.contains('\r')
    };
    Ok(texts.filter(fits).collect())
}
