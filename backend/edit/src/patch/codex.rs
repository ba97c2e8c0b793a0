//! What the Codex command line tool makes of a patch: strict about form, and the first hit wins.
//!
//! Line ends are preserved: kept lines stay as they are, lines that come take the first line end of the
//! file, and a changed file always ends with one.

use std::cell::OnceCell;
use std::collections::{BTreeMap, HashMap};
use std::ops::Range;

use super::{
    ADD_FILE, BEGIN_PATCH, DELETE_FILE, END_OF_FILE, END_PATCH, LineKind, MOVE_TO, PatchLine, UPDATE_FILE,
    normalize_path,
};
use crate::hunk::{Miss, MissReason};
use crate::lines::LineTable;
use crate::locate::block::first_place;

/// Files by path.
pub(crate) type Files = BTreeMap<String, String>;

/// A section of a patch, complete.
#[derive(Debug)]
pub(crate) enum Section {
    Add { path: String, text: String },
    Delete { path: String },
    Update { path: String, move_to: Option<String>, chunks: Vec<Chunk> },
}

impl Section {
    /// The paths it names.
    pub(crate) fn paths(&self) -> Vec<&str> {
        match self {
            Self::Add { path, .. } | Self::Delete { path } => vec![path],
            Self::Update { path, move_to, .. } => {
                std::iter::once(path.as_str()).chain(move_to.as_deref()).collect()
            }
        }
    }
}

/// A chunk of an update.
#[derive(Debug, Default)]
pub(crate) struct Chunk {
    heading: Option<String>,
    lines: Vec<PatchLine>,
    at_end: bool,
}

/// A patch that is not one.
#[derive(Debug)]
pub(crate) struct ParseError {
    /// The line, counted from 1 at the first line that is not blank.
    pub(crate) line: u32,
    pub(crate) message: String,
}

/// A section that could not be applied.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) path: String,
    pub(crate) miss: Miss,
}

/// Reads a whole patch.
pub(crate) fn parse(text: &str) -> Result<Vec<Section>, ParseError> {
    let mut lines: Vec<&str> = text.trim().lines().collect();
    if lines.is_empty() {
        lines.push("");
    }
    let mut number = 1;
    if matches!(lines[0], "<<EOF" | "<<'EOF'" | "<<\"EOF\"")
        && lines.len() >= 4
        && lines[lines.len() - 1] == "EOF"
    {
        lines = lines[1..lines.len() - 1].to_vec();
        number += 1;
    }
    let fail = |line: u32, message: &str| Err(ParseError { line, message: message.to_owned() });
    if lines[0].trim() != BEGIN_PATCH {
        return fail(number, "the first line of a patch is `*** Begin Patch`");
    }
    if lines[lines.len() - 1].trim() != END_PATCH {
        return fail(number + lines.len() as u32 - 1, "the last line of a patch is `*** End Patch`");
    }
    let mut sections = Vec::new();
    let mut rest = lines[1..lines.len() - 1].iter().copied().zip(number + 1..).peekable();
    while let Some((line, number)) = rest.next() {
        let header = line.trim();
        if let Some(path) = header.strip_prefix(ADD_FILE) {
            let mut text = String::new();
            while let Some((line, _)) = rest.next_if(|(line, _)| line.starts_with('+')) {
                text.push_str(&line[1..]);
                text.push('\n');
            }
            sections.push(Section::Add { path: path.to_owned(), text });
        } else if let Some(path) = header.strip_prefix(DELETE_FILE) {
            sections.push(Section::Delete { path: path.to_owned() });
        } else if let Some(path) = header.strip_prefix(UPDATE_FILE) {
            let move_to = rest
                .next_if(|(line, _)| line.starts_with(MOVE_TO))
                .map(|(line, _)| line[MOVE_TO.len()..].trim_end().to_owned());
            let mut body = Vec::new();
            while let Some(line) = rest.next_if(|(line, _)| !is_section(line.trim_end())) {
                body.push(line);
            }
            let chunks = parse_chunks(&body, number)?;
            sections.push(Section::Update { path: path.to_owned(), move_to, chunks });
        } else {
            return fail(
                number,
                "expected `*** Add File: `, `*** Delete File: `, `*** Update File: ` or `*** End Patch`",
            );
        }
    }
    if sections.is_empty() {
        return fail(number, "the patch has no sections");
    }
    Ok(sections)
}

fn is_section(line: &str) -> bool {
    [ADD_FILE, DELETE_FILE, UPDATE_FILE].iter().any(|section| line.starts_with(section))
}

fn parse_chunks(body: &[(&str, u32)], header: u32) -> Result<Vec<Chunk>, ParseError> {
    let error = |line: u32, message: &str| ParseError { line, message: message.to_owned() };
    let mut chunks: Vec<Chunk> = Vec::new();
    // Whether the last chunk takes further lines.
    let mut open = false;
    for &(line, number) in body {
        let marker = line.trim_end();
        if marker == "@@" || marker.starts_with("@@ ") {
            if open && chunks.last().is_some_and(|chunk| chunk.lines.is_empty()) {
                return Err(error(number, "the chunk in front of this one has no lines"));
            }
            let heading = marker.strip_prefix("@@ ").map(ToOwned::to_owned);
            chunks.push(Chunk { heading, ..Chunk::default() });
            open = true;
        } else if marker == END_OF_FILE {
            if chunks.is_empty() {
                continue;
            }
            let Some(chunk) = chunks.last_mut().filter(|chunk| open && !chunk.lines.is_empty()) else {
                return Err(error(number, "the chunk has no lines"));
            };
            chunk.at_end = true;
            open = false;
        } else {
            if !open && !chunks.is_empty() && marker.is_empty() {
                continue;
            }
            if !open && !chunks.is_empty() {
                return Err(error(number, "a further chunk starts with `@@`"));
            }
            let (kind, text) = match line.as_bytes().first() {
                Some(b' ') => (LineKind::Kept, &line[1..]),
                Some(b'-') => (LineKind::Removed, &line[1..]),
                Some(b'+') => (LineKind::Added, &line[1..]),
                None => (LineKind::Kept, ""),
                Some(_) => return Err(error(number, "every line of a chunk starts with ` `, `-` or `+`")),
            };
            if !open {
                chunks.push(Chunk::default());
                open = true;
            }
            let Some(chunk) = chunks.last_mut() else { continue };
            chunk.lines.push(PatchLine { kind, text: text.to_owned(), bare: line.is_empty() });
        }
    }
    if chunks.last().is_none_or(|chunk| chunk.lines.is_empty()) {
        return Err(error(header, "the update has no lines, or its last chunk has none"));
    }
    Ok(chunks)
}

/// Applies sections in order, up to the first that fails; those before it stay applied.
pub(crate) fn apply(sections: &[Section], files: &mut Files) -> Result<(), Box<Failure>> {
    for section in sections {
        let given = section.paths()[0];
        let fail = |miss| Box::new(Failure { path: given.to_owned(), miss });
        let refused =
            |error: super::PathRefused| fail(Miss::new(MissReason::PathRefused, format!("{error}.")));
        let path = normalize_path(given).map_err(refused)?;
        let missing = || fail(Miss::new(MissReason::NoSuchFile, format!("There is no document `{path}`.")));
        match section {
            Section::Add { text, .. } => {
                files.insert(path, text.clone());
            }
            Section::Delete { .. } => {
                files.remove(&path).ok_or_else(missing)?;
            }
            Section::Update { move_to, chunks, .. } => {
                let text = files.get(&path).ok_or_else(missing)?;
                let changed = update(text, chunks, &path).map_err(fail)?;
                let to = move_to.as_deref().map(normalize_path).transpose().map_err(refused)?;
                if let Some(to) = to {
                    // In this order a file that is moved onto itself is gone, as it is there.
                    files.insert(to, changed);
                    files.remove(&path);
                } else {
                    files.insert(path, changed);
                }
            }
        }
    }
    Ok(())
}

/// Neighboring lines that go and come, at their place.
struct Run {
    at: u32,
    removed: u32,
    added: Vec<String>,
}

fn update(text: &str, chunks: &[Chunk], path: &str) -> Result<String, Miss> {
    let table = LineTable::new(text);
    let levels = Levels::new(&table);
    let mut runs = Vec::new();
    let mut cursor = 0;
    for chunk in chunks {
        if let Some(heading) = &chunk.heading {
            let found = levels.first_hit(&[heading], cursor, false);
            let missing = || Miss::new(MissReason::NotFound, format!("`{heading}` is not in `{path}`."));
            cursor = found.ok_or_else(missing)? + 1;
        }
        let mut lines = chunk.lines.clone();
        if old_lines(&lines).is_empty() {
            push_runs(lines, table.len(), &mut runs);
            continue;
        }
        let mut at = levels.first_hit(&old_lines(&lines), cursor, chunk.at_end);
        if at.is_none() && old_lines(&lines).last().is_some_and(|line| line.is_empty()) {
            lines = without_last_empty(lines);
            at = levels.first_hit(&old_lines(&lines), cursor, chunk.at_end);
        }
        let Some(at) = at else {
            let old = old_lines(&chunk.lines).join("\n");
            return Err(Miss::new(MissReason::NotFound, format!("These lines are not in `{path}`:\n{old}")));
        };
        cursor = at + old_lines(&lines).len() as u32;
        push_runs(lines, at, &mut runs);
    }
    runs.sort_by_key(|run| run.at);
    Ok(write(&table, runs))
}

/// Cuts a chunk into runs.
fn push_runs(lines: Vec<PatchLine>, mut at: u32, runs: &mut Vec<Run>) {
    let mut open = false;
    for line in lines {
        if line.kind == LineKind::Kept {
            open = false;
            at += 1;
            continue;
        }
        if !open {
            runs.push(Run { at, removed: 0, added: Vec::new() });
            open = true;
        }
        let Some(run) = runs.last_mut() else { continue };
        if line.kind == LineKind::Removed {
            run.removed += 1;
            at += 1;
        } else {
            run.added.push(line.text);
        }
    }
}

/// The text with all runs applied.
fn write(table: &LineTable, runs: Vec<Run>) -> String {
    let usual = table.usual_line_end();
    let mut result = String::with_capacity(table.text().len());
    let mut next = 0;
    let copy = |lines: Range<u32>, result: &mut String| {
        for line in lines {
            result.push_str(table.line(line));
            let end = table.line_end(line);
            result.push_str(if end.is_empty() { usual } else { end });
        }
    };
    for run in runs {
        copy(next..run.at, &mut result);
        next = next.max(run.at) + run.removed;
        for line in run.added {
            result.push_str(&line);
            result.push_str(usual);
        }
    }
    copy(next..table.len(), &mut result);
    result
}

fn old_lines(lines: &[PatchLine]) -> Vec<&str> {
    lines.iter().filter(|line| line.kind != LineKind::Added).map(|line| line.text.as_str()).collect()
}

/// Drops the empty line at the end of what goes, and one at the end of what comes.
fn without_last_empty(mut lines: Vec<PatchLine>) -> Vec<PatchLine> {
    if let Some(last) = lines.iter().rposition(|line| line.kind != LineKind::Added) {
        if lines[last].kind == LineKind::Kept {
            lines[last].kind = LineKind::Added;
        } else {
            lines.remove(last);
        }
    }
    if let Some(last) = lines.iter().rposition(|line| line.kind != LineKind::Removed)
        && lines[last].text.is_empty()
    {
        if lines[last].kind == LineKind::Kept {
            lines[last].kind = LineKind::Removed;
        } else {
            lines.remove(last);
        }
    }
    lines
}

/// A text with its lines numbered once for each way of agreeing.
struct Levels<'a> {
    table: &'a LineTable,
    /// Made when first needed; the loosest way is that of the table.
    numbered: [OnceCell<Numbered<'a>>; STRICT.len()],
}

/// The ways of agreeing, from exact to loose, but for the loosest.
const STRICT: [fn(&str) -> &str; 3] = [|line| line, str::trim_end, str::trim];

struct Numbered<'a> {
    numbers: Vec<u32>,
    known: HashMap<&'a str, u32>,
}

impl<'a> Levels<'a> {
    fn new(table: &'a LineTable) -> Self {
        Self { table, numbered: Default::default() }
    }

    /// The first place of a block from a line on, in the best way of agreeing that has one.
    fn first_hit<S: AsRef<str>>(&self, block: &[S], from: u32, at_end: bool) -> Option<u32> {
        if block.is_empty() {
            return Some(from);
        }
        let last = self.table.len().checked_sub(block.len() as u32)?;
        if at_end && last < from {
            return None;
        }
        let from = if at_end { last } else { from };
        // What agrees in a strict way agrees in the loosest, so most blocks that stand nowhere cost one search.
        let loosest = self.loosest(block, from)?;
        let strict = (0..STRICT.len()).find_map(|level| self.strict(level, block, from));
        Some(strict.unwrap_or(loosest))
    }

    fn loosest<S: AsRef<str>>(&self, block: &[S], from: u32) -> Option<u32> {
        let wanted = block.iter().map(|line| self.table.number_of(line.as_ref()));
        first_place(self.table.numbers(), &wanted.collect::<Option<Vec<u32>>>()?, from)
    }

    fn strict<S: AsRef<str>>(&self, level: usize, block: &[S], from: u32) -> Option<u32> {
        let form = STRICT[level];
        let numbered = self.numbered[level].get_or_init(|| Numbered::new(self.table, form));
        let wanted = block.iter().map(|line| numbered.known.get(form(line.as_ref())).copied());
        first_place(&numbered.numbers, &wanted.collect::<Option<Vec<u32>>>()?, from)
    }
}

impl<'a> Numbered<'a> {
    fn new(table: &'a LineTable, form: fn(&str) -> &str) -> Self {
        let mut known = HashMap::new();
        let number = |line: u32| {
            let next = known.len() as u32;
            *known.entry(form(table.line(line))).or_insert(next)
        };
        let numbers = (0..table.len()).map(number).collect();
        Self { numbers, known }
    }
}
