//! Telling code from strings and comments.

use std::collections::HashSet;

use super::{Language, is_name};

/// A text as characters, with strings and comments masked. Both halves have the same length, so a position in
/// one is a position in the other.
pub(crate) struct Code {
    /// The characters as they are; lines end with `\n`.
    pub(super) raw: Vec<char>,
    /// The same with every character of a string as `"` and every character of a comment as a space.
    pub(super) masked: Vec<char>,
    /// Where each line begins.
    pub(super) starts: Vec<usize>,
    /// The lines that begin inside a string or a comment.
    inside: HashSet<usize>,
}

/// What a scanner is in.
enum Within {
    Code,
    LineComment,
    /// How many are open: Rust nests them.
    BlockComment(u32),
    /// What closes it, and whether a backslash escapes.
    String {
        close: Vec<char>,
        escapes: bool,
        lines: bool,
    },
    /// A regular expression, and whether a character class is open.
    Regex {
        class: bool,
    },
}

impl Code {
    pub(crate) fn new(language: Language, lines: &[String]) -> Self {
        let mut raw = Vec::new();
        let mut starts = Vec::with_capacity(lines.len());
        for line in lines {
            starts.push(raw.len());
            raw.extend(line.chars());
            raw.push('\n');
        }
        let (masked, continued) = mask(language, &raw);
        let inside = starts.iter().enumerate().filter(|(_, start)| continued.contains(start));
        let inside = inside.map(|(line, _)| line).collect();
        Self { raw, masked, starts, inside }
    }

    pub(crate) fn line_count(&self) -> usize {
        self.starts.len()
    }

    /// Whether a line begins inside a string or a comment.
    pub(super) fn begins_inside(&self, line: usize) -> bool {
        self.inside.contains(&line)
    }

    /// The positions of a line, without its end.
    pub(super) fn range(&self, line: usize) -> std::ops::Range<usize> {
        let end = self.starts.get(line + 1).map_or(self.raw.len(), |next| *next);
        self.starts[line]..end.saturating_sub(1).max(self.starts[line])
    }

    /// A line as it is.
    pub(crate) fn raw_line(&self, line: usize) -> String {
        self.raw[self.range(line)].iter().collect()
    }

    /// A line with strings and comments masked.
    pub(crate) fn code_line(&self, line: usize) -> String {
        self.masked[self.range(line)].iter().collect()
    }

    /// The line of a position.
    pub(super) fn line_of(&self, position: usize) -> usize {
        self.starts.partition_point(|start| *start <= position).saturating_sub(1)
    }

    pub(super) fn raw_text(&self, range: std::ops::Range<usize>) -> String {
        self.raw[range].iter().collect::<String>().split_whitespace().collect::<Vec<_>>().join(" ")
    }

    /// The next position at or after this one that is not white space.
    pub(super) fn skip_space(&self, from: usize) -> usize {
        (from..self.masked.len()).find(|at| !self.masked[*at].is_whitespace()).unwrap_or(self.masked.len())
    }

    /// The name that begins here, and where it ends.
    pub(super) fn name_at(&self, at: usize) -> Option<(String, usize)> {
        let end =
            (at..self.masked.len()).find(|next| !is_name(self.masked[*next])).unwrap_or(self.masked.len());
        (end > at && !self.masked[at].is_numeric()).then(|| (self.masked[at..end].iter().collect(), end))
    }

    /// Whether this word stands here, and where it ends.
    pub(super) fn word_at(&self, at: usize, word: &str) -> Option<usize> {
        let (name, end) = self.name_at(at)?;
        (name == word).then_some(end)
    }

    /// The bracket that closes the one at this position.
    pub(super) fn matching(&self, open: usize) -> Option<usize> {
        let mut depth = 0_usize;
        for at in open..self.masked.len() {
            match self.masked[at] {
                '(' | '[' | '{' => depth += 1,
                ')' | ']' | '}' => {
                    depth = depth.checked_sub(1)?;
                    if depth == 0 {
                        return Some(at);
                    }
                }
                _ => {}
            }
        }
        None
    }

    /// The first of these characters at or after a position that stands in no brackets opened since.
    pub(super) fn find_outside(&self, from: usize, wanted: &[char]) -> Option<usize> {
        let mut at = from;
        while at < self.masked.len() {
            if wanted.contains(&self.masked[at]) {
                return Some(at);
            }
            match self.masked[at] {
                '(' | '[' | '{' => at = self.matching(at)?,
                ')' | ']' | '}' => return None,
                _ => {}
            }
            at += 1;
        }
        None
    }

    /// Splits a range at commas outside of brackets; `angles` counts `<` and `>` as brackets too.
    pub(super) fn split_commas(
        &self,
        range: std::ops::Range<usize>,
        angles: bool,
    ) -> Vec<std::ops::Range<usize>> {
        let mut parts = Vec::new();
        let mut depth = 0_i32;
        let mut start = range.start;
        for at in range.clone() {
            let after_dash = at > 0 && matches!(self.masked[at - 1], '-' | '=');
            match self.masked[at] {
                '(' | '[' | '{' => depth += 1,
                ')' | ']' | '}' => depth -= 1,
                '<' if angles => depth += 1,
                '>' if angles && !after_dash => depth -= 1,
                ',' if depth == 0 => {
                    parts.push(start..at);
                    start = at + 1;
                }
                _ => {}
            }
        }
        parts.push(start..range.end);
        parts.retain(|part| self.masked[part.clone()].iter().any(|character| !character.is_whitespace()));
        parts
    }
}

/// The masked characters, and the positions behind line ends that lie inside a string or a comment.
fn mask(language: Language, raw: &[char]) -> (Vec<char>, HashSet<usize>) {
    let mut code = raw.to_vec();
    let mut continued = HashSet::new();
    let mut within = Within::Code;
    // Braces of `${…}` in template strings: how deep each is, to find its end.
    let mut templates: Vec<u32> = Vec::new();
    let mut at = 0;
    let starts_with =
        |at: usize, text: &str| text.chars().enumerate().all(|(offset, c)| raw.get(at + offset) == Some(&c));
    while at < raw.len() {
        let character = raw[at];
        let mut length = 1;
        let was_inside = matches!(within, Within::String { .. } | Within::BlockComment(_));
        match &mut within {
            Within::Code => match language {
                Language::Python if character == '#' => {
                    within = Within::LineComment;
                    continue;
                }
                Language::Python if matches!(character, '"' | '\'') => {
                    let triple = raw.get(at + 1) == Some(&character) && raw.get(at + 2) == Some(&character);
                    length = if triple { 3 } else { 1 };
                    within = Within::String { close: vec![character; length], escapes: true, lines: triple };
                    code[at..at + length].fill('"');
                }
                Language::Python => {}
                _ if starts_with(at, "//") => {
                    within = Within::LineComment;
                    continue;
                }
                _ if starts_with(at, "/*") => {
                    within = Within::BlockComment(1);
                    length = 2;
                    code[at..at + 2].fill(' ');
                }
                Language::Rust => {
                    if let Some((opening, close, escapes)) = rust_string(raw, at) {
                        length = opening;
                        within = Within::String { close, escapes, lines: true };
                        code[at..at + length].fill('"');
                    } else if let Some(end) = rust_character(raw, at) {
                        length = end - at;
                        code[at..end].fill('"');
                    }
                }
                Language::JavaScript | Language::TypeScript => match character {
                    '"' | '\'' => {
                        within = Within::String { close: vec![character], escapes: true, lines: false };
                        code[at] = '"';
                    }
                    '`' => {
                        within = Within::String { close: vec!['`'], escapes: true, lines: true };
                        code[at] = '"';
                    }
                    '{' => {
                        if let Some(depth) = templates.last_mut() {
                            *depth += 1;
                        }
                    }
                    '}' => match templates.last_mut() {
                        Some(0) => {
                            templates.pop();
                            within = Within::String { close: vec!['`'], escapes: true, lines: true };
                            code[at] = '"';
                        }
                        Some(depth) => *depth -= 1,
                        None => {}
                    },
                    '/' if regex_may_begin(&code, at) => {
                        within = Within::Regex { class: false };
                        code[at] = '"';
                    }
                    _ => {}
                },
            },
            Within::LineComment => {
                if character == '\n' {
                    within = Within::Code;
                } else {
                    code[at] = ' ';
                }
            }
            Within::BlockComment(depth) => {
                if starts_with(at, "*/") {
                    length = 2;
                    code[at..at + 2].fill(' ');
                    *depth -= 1;
                    if *depth == 0 {
                        within = Within::Code;
                    }
                } else if language == Language::Rust && starts_with(at, "/*") {
                    length = 2;
                    code[at..at + 2].fill(' ');
                    *depth += 1;
                } else if character != '\n' {
                    code[at] = ' ';
                }
            }
            Within::String { close, escapes, lines } => {
                if character == '\\' && *escapes {
                    code[at] = '"';
                    if let Some(next) = code.get_mut(at + 1).filter(|next| **next != '\n') {
                        *next = '"';
                    }
                    length = 2;
                } else if raw[at..].starts_with(close) {
                    length = close.len();
                    code[at..at + length].fill('"');
                    within = Within::Code;
                } else if close.as_slice() == ['`'] && starts_with(at, "${") {
                    length = 2;
                    code[at..at + 2].fill('"');
                    templates.push(0);
                    within = Within::Code;
                } else if character == '\n' {
                    // A string that was never closed ends with its line.
                    if !*lines {
                        within = Within::Code;
                    }
                } else {
                    code[at] = '"';
                }
            }
            Within::Regex { class } => match character {
                '\n' => within = Within::Code,
                '\\' => {
                    code[at] = '"';
                    if let Some(next) = code.get_mut(at + 1).filter(|next| **next != '\n') {
                        *next = '"';
                    }
                    length = 2;
                }
                '[' => {
                    *class = true;
                    code[at] = '"';
                }
                ']' => {
                    *class = false;
                    code[at] = '"';
                }
                '/' if !*class => {
                    code[at] = '"';
                    within = Within::Code;
                }
                _ => code[at] = '"',
            },
        }
        let still_inside = matches!(within, Within::String { .. } | Within::BlockComment(_));
        if was_inside && still_inside {
            continued.extend((at..at + length).filter(|at| raw.get(*at) == Some(&'\n')).map(|at| at + 1));
        }
        at += length;
    }
    (code, continued)
}

/// The opening of a Rust string: its length, what closes it, and whether a backslash escapes.
fn rust_string(raw: &[char], at: usize) -> Option<(usize, Vec<char>, bool)> {
    if at > 0 && is_name(raw[at - 1]) && raw[at] != '"' {
        return None;
    }
    let mut next = at;
    while next < at + 2 && matches!(raw.get(next), Some('b' | 'c' | 'r')) {
        next += 1;
    }
    let is_raw = raw[at..next].contains(&'r');
    let hashes = raw[next..].iter().take_while(|character| is_raw && **character == '#').count();
    if raw.get(next + hashes) != Some(&'"') {
        return None;
    }
    let mut close = vec!['"'];
    close.extend(std::iter::repeat_n('#', hashes));
    Some((next + hashes + 1 - at, close, !is_raw))
}

/// The end of a Rust character literal; a lifetime is none.
fn rust_character(raw: &[char], at: usize) -> Option<usize> {
    if raw[at] != '\'' {
        return None;
    }
    if raw.get(at + 1) == Some(&'\\') {
        let end = (at + 3..raw.len().min(at + 14)).find(|end| raw[*end] == '\'')?;
        return Some(end + 1);
    }
    (raw.get(at + 2) == Some(&'\'') && raw.get(at + 1) != Some(&'\n')).then_some(at + 3)
}

/// Whether a slash begins a regular expression here rather than dividing.
fn regex_may_begin(code: &[char], at: usize) -> bool {
    let Some(before) = code[..at].iter().rposition(|character| !character.is_whitespace()) else {
        return true;
    };
    if is_name(code[before]) {
        let start = code[..=before].iter().rposition(|character| !is_name(*character)).map_or(0, |at| at + 1);
        let word: String = code[start..=before].iter().collect();
        return matches!(
            word.as_str(),
            "return" | "typeof" | "case" | "in" | "of" | "delete" | "void" | "throw"
        );
    }
    !matches!(code[before], ')' | ']' | '}' | '"')
}
