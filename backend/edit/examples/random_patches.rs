//! Tries random edits of real source files: `random_patches FOLDER [COUNT]`.
//!
//! For each count of context lines it makes COUNT random edits of 1 to 3 places of files below the folder,
//! says each as a perfect answer in every format that names places by their text, and prints how many were
//! applied as meant, elsewhere, or refused. Fails when any but Codex's own rules ever change a wrong place.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use ensemble_edit::replay::PatchedFiles;
use ensemble_edit::{EditStream, Format, Mode, PatchEvent, apply_patch};

const PATH: &str = "src/file.rs";
/// Files outside these sizes, in lines, are not used.
const FILE_LINES: std::ops::RangeInclusive<usize> = 20..=5_000;
/// Enough different files for any count.
const MAX_FILES: usize = 2_000;
/// The most lines of context.
const MAX_CONTEXT: usize = 3;

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

/// One place of an edit: its first line from zero, its context and removed lines, and what they become.
struct Place<'a> {
    start: usize,
    before: &'a [&'a str],
    removed: &'a [&'a str],
    added: Vec<String>,
    behind: &'a [&'a str],
}

/// What came of the answers in one format.
#[derive(Clone, Copy, Default)]
struct Tally {
    right: usize,
    wrong: usize,
    refused: usize,
    early: usize,
}

fn main() -> Result<ExitCode> {
    let folder = std::env::args().nth(1).context("give a folder of source files")?;
    let count: usize = std::env::args().nth(2).map_or(Ok(1_000), |count| count.parse())?;
    Ok(if try_folder(Path::new(&folder), count)? == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Tries so many edits for each count of context lines, prints what came of them, and says how many changed a
/// wrong place.
pub(crate) fn try_folder(folder: &Path, count: usize) -> Result<usize> {
    let files = source_files(folder)?;
    if files.is_empty() {
        bail!("`{}` has no source files", folder.display());
    }
    let formats = [
        ("codex", Format::Patch(Mode::Codex)),
        ("patch", Format::Patch(Mode::Unique)),
        ("unified", Format::UnifiedDiff),
        ("blocks", Format::Blocks),
        ("tool", Format::Tool),
    ];
    println!("{} files, {count} edits for each count of context lines", files.len());
    println!("context  format     right   wrong  refused   share  written early");
    let mut wrong_places = 0;
    for context in 0..=MAX_CONTEXT {
        let mut random = Random(0x9E37_79B9_7F4A_7C15);
        let mut tallies = [Tally::default(); 5];
        let mut made = 0;
        while made < count {
            let text = &files[random.below(files.len())];
            let lines: Vec<&str> = text.lines().collect();
            let Some((places, meant)) = random_edit(&mut random, &lines, context) else { continue };
            made += 1;
            let before = BTreeMap::from([(PATH.to_owned(), text.clone())]);
            for ((_, format), tally) in formats.iter().zip(&mut tallies) {
                let answer = answer(format, &places);
                if *format == Format::Patch(Mode::Codex) {
                    let codex = apply_patch(&before, &answer, Mode::Codex);
                    tally.count(&codex.files[PATH], &meant, codex.missed.is_empty());
                } else {
                    let (after, complete, early) = streamed(&before, format, &answer);
                    tally.count(&after, &meant, complete);
                    tally.early += usize::from(early);
                }
            }
        }
        for ((name, format), tally) in formats.iter().zip(tallies) {
            let Tally { right, wrong, refused, early } = tally;
            let share = refused as f64 * 100.0 / count as f64;
            println!("{context:>7}  {name:<8} {right:>7} {wrong:>7} {refused:>8} {share:>6.2}% {early:>14}");
            if *format != Format::Patch(Mode::Codex) {
                wrong_places += wrong;
            }
        }
    }
    Ok(wrong_places)
}

impl Tally {
    fn count(&mut self, after: &str, meant: &str, complete: bool) {
        *(match (complete, after == meant) {
            (true, true) => &mut self.right,
            (true, false) => &mut self.wrong,
            (false, _) => &mut self.refused,
        }) += 1;
    }
}

/// Applies an answer as it arrives, seven characters at a time: the text, whether nothing was missed, and
/// whether any text was written before the last line of its hunk arrived.
fn streamed(before: &BTreeMap<String, String>, format: &Format, answer: &str) -> (String, bool, bool) {
    let base: Arc<str> = before[PATH].as_str().into();
    let mut stream = EditStream::new(format.clone(), move |_| Some(Arc::clone(&base)));
    let mut files = PatchedFiles::new(before);
    let mut complete = true;
    let mut early = false;
    let characters: Vec<char> = answer.chars().collect();
    let mut settle = |events: Vec<PatchEvent>| {
        early |= matches!(events.last(), Some(PatchEvent::Edit { .. }));
        for event in &events {
            files.apply(event).expect("the stream works on the same text");
            complete &= !matches!(
                event,
                PatchEvent::HunkMissed(_) | PatchEvent::HunkReverted(_) | PatchEvent::Malformed { .. }
            );
        }
    };
    for piece in characters.chunks(7) {
        settle(stream.push(&piece.iter().collect::<String>()));
    }
    settle(stream.finish());
    let text = files.texts().remove(PATH).unwrap_or_default();
    (text, complete, early)
}

/// A random edit of 1 to 3 places with lines of context, and the text it means.
fn random_edit<'a>(
    random: &mut Random,
    lines: &'a [&'a str],
    context: usize,
) -> Option<(Vec<Place<'a>>, String)> {
    let mut starts: Vec<usize> = (0..=random.below(3)).map(|_| random.below(lines.len())).collect();
    starts.sort_unstable();
    let mut places = Vec::new();
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
        let added: Vec<String> = (0..added).map(|number| format!("added {number} at {start}")).collect();
        push_lines(&mut after, "", &lines[copied..start]);
        push_lines(&mut after, "", &added);
        copied = start + removed;
        places.push(Place {
            start: start.saturating_sub(context),
            before: &lines[start.saturating_sub(context)..start],
            removed: &lines[start..copied],
            added,
            behind: &lines[copied..(copied + context).min(lines.len())],
        });
    }
    push_lines(&mut after, "", &lines[copied..]);
    (!places.is_empty()).then_some((places, after))
}

fn push_line(text: &mut String, sign: &str, line: &str) {
    text.push_str(sign);
    text.push_str(line);
    text.push('\n');
}

fn push_lines<'a, L: AsRef<str> + 'a>(text: &mut String, sign: &str, lines: impl IntoIterator<Item = &'a L>) {
    for line in lines {
        push_line(text, sign, line.as_ref());
    }
}

/// A perfect answer.
fn answer(format: &Format, places: &[Place<'_>]) -> String {
    let hunks = |heading: fn(&Place<'_>) -> String| {
        let mut text = String::new();
        for place in places {
            push_line(&mut text, "", &heading(place));
            push_lines(&mut text, " ", place.before);
            push_lines(&mut text, "-", place.removed);
            push_lines(&mut text, "+", &place.added);
            push_lines(&mut text, " ", place.behind);
        }
        text
    };
    let texts = |place: &Place<'_>| {
        let (mut old, mut new) = (String::new(), String::new());
        push_lines(&mut old, "", place.before.iter().chain(place.removed).chain(place.behind));
        push_lines(&mut new, "", place.before);
        push_lines(&mut new, "", &place.added);
        push_lines(&mut new, "", place.behind);
        (old, new)
    };
    let mut text = String::new();
    match format {
        Format::UnifiedDiff => {
            // Models count badly, so every number is wrong.
            let heading =
                |place: &Place<'_>| format!("@@ -{},9 +{},9 @@", place.start + 100_000, place.start);
            let _ = write!(text, "--- a/{PATH}\n+++ b/{PATH}\n{}", hunks(heading));
        }
        Format::Blocks => {
            for (old, new) in places.iter().map(texts) {
                let _ = writeln!(text, "{PATH}\n<<<<<<< SEARCH\n{old}=======\n{new}>>>>>>> REPLACE");
            }
        }
        Format::Tool => {
            let edits: Vec<String> = places
                .iter()
                .map(texts)
                .map(|(old, new)| format!("{{\"old_text\":{},\"new_text\":{}}}", json(&old), json(&new)))
                .collect();
            let _ = write!(text, "{{\"path\":\"{PATH}\",\"edits\":[{}]}}", edits.join(","));
        }
        _ => {
            let hunks = hunks(|_| "@@".to_owned());
            let _ = write!(text, "*** Begin Patch\n*** Update File: {PATH}\n{hunks}*** End Patch\n");
        }
    }
    text
}

/// A string of JSON, escaped as some servers do: everything that is not ASCII, in UTF-16 units.
fn json(text: &str) -> String {
    let mut quoted = String::from("\"");
    for unit in text.encode_utf16() {
        match unit {
            0x20..=0x7e if unit != u16::from(b'"') && unit != u16::from(b'\\') => {
                quoted.push(char::from(unit as u8));
            }
            _ => {
                let _ = write!(quoted, "\\u{unit:04x}");
            }
        }
    }
    quoted + "\""
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
