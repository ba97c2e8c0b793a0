//! Reads a patch while it arrives, line by line, and lets the prose around it through.
//!
//! Lenient where a reading cannot be wrong: markers may be padded, the patch may stand in a fenced block or
//! a heredoc, headings may be stacked, and the closing marker may be missing. Where each line belongs is
//! decided by the lines alone, so every split of the stream gives the same tokens.

use super::{
    ADD_FILE, BEGIN_PATCH, DELETE_FILE, END_OF_FILE, END_PATCH, LineKind, MOVE_TO, PatchLine, UPDATE_FILE,
};

/// What the parser recognized.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PatchToken {
    /// Text outside any patch, in pieces as it arrives.
    Prose(String),
    /// A patch begins.
    Began,
    /// A section that changes a file, and moves it when a second path is given.
    Update {
        /// The path as written.
        path: String,
        /// The new path as written.
        move_to: Option<String>,
    },
    /// A section that writes a file; its lines follow.
    Add {
        /// The path as written.
        path: String,
    },
    /// A section that removes a file.
    Delete {
        /// The path as written.
        path: String,
    },
    /// A line that opens a chunk, with the text behind `@@`.
    Heading(String),
    /// A line of a chunk or of a file that is written.
    Line(PatchLine),
    /// The chunk stands at the end of its file.
    EndOfFile,
    /// A line the grammar has no place for.
    Malformed {
        /// Its number in everything fed so far, counted from 1.
        line: u32,
        /// What is wrong with it.
        message: String,
    },
    /// The patch ended.
    Ended {
        /// Whether its closing marker was there.
        marked: bool,
    },
}

/// Where the parser is.
#[derive(Clone, Debug, PartialEq, Eq)]
enum State {
    /// Outside any patch.
    Prose,
    /// In a patch, in front of a section.
    Between,
    /// Behind the first line of an update; the next line may give a new path.
    UpdateBegan(String),
    /// In an update; `open` once a heading or a line was there.
    Updating { open: bool },
    /// Behind the end-of-file marker of a chunk.
    FileEnded,
    /// In a file that is written; counts empty lines that only matter if more follows.
    Adding { blanks: u32 },
    /// Behind a line nothing could be made of, up to the next marker.
    Skipping,
}

/// The incremental parser.
#[derive(Debug)]
pub struct PatchParser {
    state: State,
    /// The line that is arriving.
    partial: String,
    /// How much of it was already let through as prose.
    passed: usize,
    line_number: u32,
    /// Complete lines that may open a block around a patch.
    openers: Vec<String>,
    /// Lines that would close the blocks around the patch, the innermost last.
    closers: Vec<String>,
    /// A padded end marker inside an update and the empty lines behind it, until it is clear whether it is
    /// a line of the file.
    padded_end: Vec<String>,
}

impl Default for PatchParser {
    fn default() -> Self {
        Self::new()
    }
}

impl PatchParser {
    /// A parser at the start of a model's answer.
    pub fn new() -> Self {
        Self {
            state: State::Prose,
            partial: String::new(),
            passed: 0,
            line_number: 0,
            openers: Vec::new(),
            closers: Vec::new(),
            padded_end: Vec::new(),
        }
    }

    /// Takes more text and returns what it completed.
    pub fn feed(&mut self, mut text: &str) -> Vec<PatchToken> {
        let mut tokens = Vec::new();
        while let Some(end) = text.find('\n') {
            self.partial.push_str(&text[..end]);
            text = &text[end + 1..];
            self.complete_line(true, &mut tokens);
        }
        self.partial.push_str(text);
        if self.state == State::Prose && (self.passed > 0 || !self.may_be_special()) {
            self.flush_openers(&mut tokens);
            self.pass_partial(&mut tokens);
        }
        tokens
    }

    /// Takes the end of the text: what is left counts as a whole line, and an open patch is closed.
    pub fn finish(&mut self) -> Vec<PatchToken> {
        let mut tokens = Vec::new();
        if !self.partial.is_empty() {
            self.complete_line(false, &mut tokens);
        }
        if let State::UpdateBegan(path) = &self.state {
            tokens.push(PatchToken::Update { path: path.clone(), move_to: None });
        }
        if self.state != State::Prose {
            let marked = !self.padded_end.is_empty();
            self.end(marked, &mut tokens);
        }
        self.flush_openers(&mut tokens);
        tokens
    }

    /// Whether a patch has begun and not ended.
    pub fn is_in_patch(&self) -> bool {
        self.state != State::Prose
    }

    /// Handles the line that is now complete.
    fn complete_line(&mut self, terminated: bool, tokens: &mut Vec<PatchToken>) {
        self.line_number = self.line_number.saturating_add(1);
        let passed = std::mem::take(&mut self.passed);
        let mut line = std::mem::take(&mut self.partial);
        if self.state == State::Prose {
            if terminated {
                line.push('\n');
            }
            self.prose_line(line, passed, tokens);
        } else {
            if line.ends_with('\r') {
                line.pop();
            }
            self.patch_line(&line, terminated, tokens);
        }
    }

    /// Handles a line outside any patch.
    fn prose_line(&mut self, line: String, passed: usize, tokens: &mut Vec<PatchToken>) {
        if passed > 0 {
            push_prose(tokens, &line[passed..]);
            return;
        }
        let trimmed = line.trim();
        if self.closers.last().is_some_and(|closer| closer == trimmed) {
            self.closers.pop();
        } else if trimmed == BEGIN_PATCH {
            self.begin(tokens);
        } else if is_section(trimmed) {
            // A model that forgets the opening marker still means a patch.
            self.begin(tokens);
            self.section_line(trimmed, tokens);
        } else if closer_of(trimmed).is_some() {
            if self.openers.len() > 1 {
                push_prose(tokens, &self.openers.remove(0));
            }
            self.closers.clear();
            self.openers.push(line);
        } else {
            if !trimmed.is_empty() {
                self.closers.clear();
            }
            self.flush_openers(tokens);
            push_prose(tokens, &line);
        }
    }

    /// Handles a line inside a patch.
    fn patch_line(&mut self, line: &str, terminated: bool, tokens: &mut Vec<PatchToken>) {
        let trimmed = line.trim();
        match self.state.clone() {
            State::Prose => {}
            State::Between => self.section_line(trimmed, tokens),
            State::UpdateBegan(path) => {
                self.state = State::Updating { open: false };
                if let Some(to) = trimmed.strip_prefix(MOVE_TO) {
                    tokens.push(PatchToken::Update { path, move_to: Some(to.to_owned()) });
                } else {
                    tokens.push(PatchToken::Update { path, move_to: None });
                    self.update_line(line, terminated, tokens);
                }
            }
            State::Updating { .. } => self.update_line(line, terminated, tokens),
            State::FileEnded => {
                if let Some(heading) = line.strip_prefix("@@") {
                    self.state = State::Updating { open: true };
                    tokens.push(PatchToken::Heading(heading_text(heading)));
                } else if is_section(trimmed) || self.is_end(trimmed) {
                    self.section_line(trimmed, tokens);
                } else if !trimmed.is_empty() {
                    self.malformed("nothing may follow `*** End of File` in a chunk", tokens);
                }
            }
            State::Adding { blanks } => {
                if let Some(text) = line.strip_prefix('+') {
                    for _ in 0..blanks {
                        tokens.push(added(""));
                    }
                    tokens.push(added(text));
                    self.state = State::Adding { blanks: 0 };
                } else if trimmed.is_empty() {
                    self.state = State::Adding { blanks: blanks + 1 };
                } else if is_section(trimmed) || self.is_end(trimmed) {
                    self.section_line(trimmed, tokens);
                } else {
                    self.state = State::Skipping;
                    self.malformed("every line of a new file starts with `+`", tokens);
                }
            }
            State::Skipping => {
                if is_section(trimmed) || self.is_end(trimmed) {
                    self.section_line(trimmed, tokens);
                }
            }
        }
    }

    /// Handles a line where a section or the end is expected.
    fn section_line(&mut self, trimmed: &str, tokens: &mut Vec<PatchToken>) {
        if trimmed.is_empty() {
            return;
        }
        if self.is_end(trimmed) {
            if trimmed != END_PATCH {
                self.closers.pop();
            }
            self.end(trimmed == END_PATCH, tokens);
        } else if let Some(path) = trimmed.strip_prefix(UPDATE_FILE) {
            self.state = State::UpdateBegan(path.to_owned());
        } else if let Some(path) = trimmed.strip_prefix(ADD_FILE) {
            self.state = State::Adding { blanks: 0 };
            tokens.push(PatchToken::Add { path: path.to_owned() });
        } else if let Some(path) = trimmed.strip_prefix(DELETE_FILE) {
            self.state = State::Between;
            tokens.push(PatchToken::Delete { path: path.to_owned() });
        } else {
            self.state = State::Skipping;
            self.malformed(
                "expected `*** Add File: `, `*** Delete File: `, `*** Update File: ` or `*** End Patch`",
                tokens,
            );
        }
    }

    /// Handles a line inside an update, where only the right side of a marker may be padded.
    fn update_line(&mut self, line: &str, terminated: bool, tokens: &mut Vec<PatchToken>) {
        let marker = line.trim_end();
        if !self.padded_end.is_empty() {
            if marker.is_empty() {
                self.padded_end.push(String::new());
                return;
            }
            let goes_on = line.starts_with([' ', '+', '-']) || marker.starts_with("@@") || is_section(marker);
            if !goes_on && marker != END_PATCH && marker != END_OF_FILE {
                self.end(true, tokens);
                let line = if terminated { format!("{line}\n") } else { line.to_owned() };
                self.prose_line(line, 0, tokens);
                return;
            }
            for held in std::mem::take(&mut self.padded_end) {
                tokens.push(kept(&held));
            }
        }
        let open = self.state == State::Updating { open: true };
        if marker == END_PATCH || is_section(marker) {
            self.section_line(marker, tokens);
        } else if marker == END_OF_FILE {
            self.state = State::FileEnded;
            tokens.push(PatchToken::EndOfFile);
        } else if let Some(heading) = marker.strip_prefix("@@") {
            self.state = State::Updating { open: true };
            tokens.push(PatchToken::Heading(heading_text(heading)));
        } else if self.is_end(marker) {
            self.section_line(marker, tokens);
        } else if line.trim() == END_PATCH {
            self.padded_end.push(line.to_owned());
        } else if !marker.is_empty() || open {
            // A remark of other diff formats that says nothing about the text.
            if marker == "\\ No newline at end of file" {
                return;
            }
            self.state = State::Updating { open: true };
            tokens.push(match line.strip_prefix('+') {
                Some(text) => added(text),
                None => kept(line),
            });
        }
    }

    /// Whether a line ends the patch: its marker, or the end of the block around it.
    fn is_end(&self, trimmed: &str) -> bool {
        trimmed == END_PATCH || self.closers.last().is_some_and(|closer| closer == trimmed)
    }

    /// Whether the line of prose that is arriving may turn out to be more than prose.
    fn may_be_special(&self) -> bool {
        let start = self.partial.trim_start();
        [BEGIN_PATCH, UPDATE_FILE, ADD_FILE, DELETE_FILE, "```", "~~~", "<<", "apply_patch", "cat <<"]
            .into_iter()
            .chain(self.closers.last().map(String::as_str))
            .any(|special| special.starts_with(start) || start.starts_with(special))
    }

    fn begin(&mut self, tokens: &mut Vec<PatchToken>) {
        let openers = std::mem::take(&mut self.openers);
        self.closers = openers.iter().filter_map(|opener| closer_of(opener.trim())).collect();
        self.state = State::Between;
        tokens.push(PatchToken::Began);
    }

    fn end(&mut self, marked: bool, tokens: &mut Vec<PatchToken>) {
        self.padded_end.clear();
        self.state = State::Prose;
        tokens.push(PatchToken::Ended { marked });
    }

    fn malformed(&self, message: &str, tokens: &mut Vec<PatchToken>) {
        tokens.push(PatchToken::Malformed { line: self.line_number, message: message.to_owned() });
    }

    /// Lets lines through that turned out not to open a block around a patch.
    fn flush_openers(&mut self, tokens: &mut Vec<PatchToken>) {
        for opener in std::mem::take(&mut self.openers) {
            push_prose(tokens, &opener);
        }
    }

    /// Lets through what has arrived of a line of prose.
    fn pass_partial(&mut self, tokens: &mut Vec<PatchToken>) {
        // Only what stands right behind a patch can close the block around it.
        self.closers.clear();
        push_prose(tokens, &self.partial[self.passed..]);
        self.passed = self.partial.len();
    }
}

/// Appends prose, joined with prose in front of it.
pub(crate) fn push_prose(tokens: &mut Vec<PatchToken>, text: &str) {
    if text.is_empty() {
        return;
    }
    if let Some(PatchToken::Prose(prose)) = tokens.last_mut() {
        prose.push_str(text);
    } else {
        tokens.push(PatchToken::Prose(text.to_owned()));
    }
}

pub(crate) fn added(text: &str) -> PatchToken {
    PatchToken::Line(PatchLine { kind: LineKind::Added, text: text.to_owned(), bare: false })
}

/// A kept or removed line by its sign; a line without a sign counts as kept.
pub(crate) fn kept(line: &str) -> PatchToken {
    let (kind, text, bare) = match line.as_bytes().first() {
        Some(b' ') => (LineKind::Kept, &line[1..], false),
        Some(b'-') => (LineKind::Removed, &line[1..], false),
        _ => (LineKind::Kept, line, true),
    };
    PatchToken::Line(PatchLine { kind, text: text.to_owned(), bare })
}

fn is_section(marker: &str) -> bool {
    [UPDATE_FILE, ADD_FILE, DELETE_FILE].iter().any(|section| marker.starts_with(section))
}

/// The text of a heading, without a closing `@@`.
fn heading_text(behind: &str) -> String {
    let text = behind.strip_prefix(' ').unwrap_or(behind).trim_end();
    // `@@ -1,2 +1,2 @@ text` keeps its inner marks: they tell that it is a line hint.
    if text.trim_start().starts_with('-') {
        text.to_owned()
    } else {
        text.trim_end_matches("@@").trim_end().to_owned()
    }
}

/// The line that closes the block a line opens: a code fence, or a heredoc.
fn closer_of(trimmed: &str) -> Option<String> {
    for fence in ["```", "~~~"] {
        if trimmed.starts_with(fence) {
            let mark = fence.chars().next()?;
            return Some(trimmed.chars().take_while(|&character| character == mark).collect());
        }
    }
    let (command, tag) = trimmed.split_once("<<")?;
    if !matches!(command.trim(), "" | "apply_patch" | "cat") {
        return None;
    }
    let tag = tag.trim();
    let unquoted = tag
        .strip_prefix('\'')
        .and_then(|tag| tag.strip_suffix('\''))
        .or_else(|| tag.strip_prefix('"').and_then(|tag| tag.strip_suffix('"')))
        .unwrap_or(tag);
    let is_word = unquoted.chars().all(|character| character.is_ascii_alphanumeric() || character == '_');
    (!unquoted.is_empty() && is_word).then(|| unquoted.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokens(text: &str, step: usize) -> Vec<PatchToken> {
        let mut parser = PatchParser::new();
        let mut found = Vec::new();
        let characters: Vec<char> = text.chars().collect();
        for piece in characters.chunks(step) {
            for token in parser.feed(&piece.iter().collect::<String>()) {
                push(&mut found, token);
            }
        }
        for token in parser.finish() {
            push(&mut found, token);
        }
        found
    }

    fn push(found: &mut Vec<PatchToken>, token: PatchToken) {
        match token {
            PatchToken::Prose(text) => push_prose(found, &text),
            other => found.push(other),
        }
    }

    fn prose(text: &str) -> PatchToken {
        PatchToken::Prose(text.to_owned())
    }

    fn update(path: &str) -> PatchToken {
        PatchToken::Update { path: path.to_owned(), move_to: None }
    }

    #[test]
    fn every_split_gives_the_same_tokens() {
        use PatchToken::{Began, EndOfFile, Ended, Heading};
        let table: Vec<(&str, Vec<PatchToken>)> = vec![
            ("just\nprose *** x", vec![prose("just\nprose *** x")]),
            ("*** Begin Patch\n*** End Patch\n", vec![Began, Ended { marked: true }]),
            (
                "Hi:\n```diff\n*** Begin Patch\n*** Update File: a\n@@\n-x\n+y\n*** End Patch\n```\nBye",
                vec![
                    prose("Hi:\n"),
                    Began,
                    update("a"),
                    Heading(String::new()),
                    kept("-x"),
                    added("y"),
                    Ended { marked: true },
                    prose("Bye"),
                ],
            ),
            (
                "<<'EOF'\n*** Begin Patch\n*** Delete File: a b\n*** End Patch\nEOF\n",
                vec![Began, PatchToken::Delete { path: "a b".into() }, Ended { marked: true }],
            ),
            (
                "*** Begin Patch\r\n*** Update File: a\r\n*** Move to: b\r\n@@ f\r\n@@ g\r\n x\r\n\r\n+y\r\n*** End of File\r\n",
                vec![
                    Began,
                    PatchToken::Update { path: "a".into(), move_to: Some("b".into()) },
                    Heading("f".into()),
                    Heading("g".into()),
                    kept(" x"),
                    kept(""),
                    added("y"),
                    EndOfFile,
                    Ended { marked: false },
                ],
            ),
            (
                "*** Begin Patch\n*** Add File: a\n+x\n\n+y\n\n*** End Patch",
                vec![
                    Began,
                    PatchToken::Add { path: "a".into() },
                    added("x"),
                    added(""),
                    added("y"),
                    Ended { marked: true },
                ],
            ),
            (
                "*** Update File: a\n x\n *** End Patch\n\n*** End Patch\n",
                vec![
                    Began,
                    update("a"),
                    kept(" x"),
                    kept(" *** End Patch"),
                    kept(""),
                    Ended { marked: true },
                ],
            ),
            (
                "*** Begin Patch \n *** Update File: a\n-x\n *** End Patch\nDone.\n",
                vec![Began, update("a"), kept("-x"), Ended { marked: true }, prose("Done.\n")],
            ),
            (
                "```\n*** Begin Patch\n*** Update File: a\n-x\n```\nDone.\n```rust\nfn\n```\n",
                vec![
                    Began,
                    update("a"),
                    kept("-x"),
                    Ended { marked: false },
                    prose("Done.\n```rust\nfn\n```\n"),
                ],
            ),
        ];
        for (text, expected) in table {
            for step in [1, 2, 3, 7, 1000] {
                assert_eq!(tokens(text, step), expected, "{text:?} by {step}");
            }
        }
    }

    #[test]
    fn lines_without_a_place_are_reported_and_skipped() {
        let found =
            tokens("*** Begin Patch\n*** Frobnicate File: a\n-x\n*** Delete File: b\n*** End Patch\n", 5);
        assert!(matches!(&found[1], PatchToken::Malformed { line: 2, .. }), "{found:?}");
        assert_eq!(found[2], PatchToken::Delete { path: "b".into() });
        let found = tokens("*** Begin Patch\n*** Add File: a\n+x\noops\n+y\n*** End Patch\n", 5);
        assert!(matches!(&found[3], PatchToken::Malformed { line: 4, .. }), "{found:?}");
        assert_eq!(found.len(), 5);
    }

    #[test]
    fn prose_is_let_through_as_it_arrives() {
        let mut parser = PatchParser::new();
        assert_eq!(parser.feed("I will"), [prose("I will")]);
        assert_eq!(parser.feed(" do it"), [prose(" do it")]);
        assert_eq!(parser.feed("\n*"), [prose("\n")]);
        assert_eq!(parser.feed("** Beg"), []);
        assert_eq!(parser.feed("un"), [prose("*** Begun")]);
    }
}
