//! Old and new texts between conflict marks or in tags, and whole files in fences or tags, with prose around.
//!
//! A file is named by a line of its own right above the marks or the fence, by the fence itself, or by the
//! tag. Further edits without a name mean the file before.

use super::fence::{Behind, FencedText};
use super::{BlockToken, Fence, OwnFences, fence_of, push};
use crate::patch::MAX_PATH_BYTES;

/// What is looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Replacements,
    Files,
}

#[derive(Debug)]
enum State {
    Prose,
    /// In a fence that has nothing to do with edits.
    OtherFence(Fence),
    /// Between `<<<<<<< SEARCH` and `=======`.
    Old {
        path: String,
        old: String,
    },
    /// Between `=======` and `>>>>>>> REPLACE`.
    New,
    /// In a fence with a file.
    File(FencedText),
    /// In a `<file>` tag.
    FileTag,
    /// In an `<edit>` tag.
    Edit(Edit),
    /// In its `<old_text>`.
    EditOld(Edit),
    /// In its `<new_text>`.
    EditNew(Edit),
}

/// An `<edit>` tag, as far as it is known.
#[derive(Debug, Default)]
#[expect(clippy::struct_excessive_bools, reason = "facts that come in any order")]
struct Edit {
    path: String,
    old: String,
    has_old: bool,
    has_new: bool,
    /// Whether the tag around the text that is arriving stands on a line of its own.
    is_block: bool,
    /// Whether the last line of the new text is complete and its line end not yet handed on.
    owes_line_end: bool,
    /// Whether any new text was handed on.
    has_text: bool,
}

/// Says what is known of code fences in the text of a path.
pub(crate) type Known<'a> = &'a mut dyn FnMut(&str) -> Option<OwnFences>;

/// The incremental reader.
#[derive(Debug)]
pub(crate) struct BlockParser {
    kind: Kind,
    state: State,
    partial: String,
    line_number: u32,
    /// A line that may name a file, with the empty lines and the fence behind it.
    held: Vec<String>,
    last_path: Option<String>,
    /// The fence around edits.
    around: Option<Fence>,
}

impl BlockParser {
    /// A reader of old and new texts.
    pub(crate) fn replacements() -> Self {
        Self::new(Kind::Replacements)
    }

    /// A reader of whole files.
    pub(crate) fn files() -> Self {
        Self::new(Kind::Files)
    }

    fn new(kind: Kind) -> Self {
        Self {
            kind,
            state: State::Prose,
            partial: String::new(),
            line_number: 0,
            held: Vec::new(),
            last_path: None,
            around: None,
        }
    }

    /// Takes more text, no more than a line of it, and returns what it completed.
    ///
    /// Line by line, so that `known` speaks of the files as the lines before left them.
    pub(crate) fn feed(&mut self, text: &str, known: Known<'_>) -> Vec<BlockToken> {
        let mut tokens = Vec::new();
        for piece in text.split_inclusive('\n') {
            self.partial.push_str(piece);
            if piece.ends_with('\n') {
                let line = std::mem::take(&mut self.partial);
                self.line(line, &mut tokens, known);
            }
        }
        tokens
    }

    /// Takes the end of the text.
    pub(crate) fn finish(mut self, known: Known<'_>) -> Vec<BlockToken> {
        let mut tokens = Vec::new();
        let line = std::mem::take(&mut self.partial);
        if !line.is_empty() {
            self.line(line, &mut tokens, known);
        }
        loop {
            match std::mem::replace(&mut self.state, State::Prose) {
                State::File(text) => {
                    let behind = text.finish(&mut tokens);
                    self.lines_behind(behind, &mut tokens, known);
                }
                state => {
                    self.state = state;
                    break;
                }
            }
        }
        match &self.state {
            State::New | State::FileTag | State::EditNew(_) => {
                push(&mut tokens, BlockToken::End { complete: false });
            }
            State::Old { .. } | State::EditOld(_) => {
                self.malformed("the answer ends inside of an old text", &mut tokens);
            }
            State::Edit(edit) => self.check_edit(edit, &mut tokens),
            State::Prose | State::OtherFence(_) | State::File(_) => {}
        }
        self.flush_held(&mut tokens);
        tokens
    }

    /// Reads lines again that turned out to stand behind a file.
    fn lines_behind(&mut self, lines: Vec<String>, tokens: &mut Vec<BlockToken>, known: Known<'_>) {
        self.line_number = self.line_number.saturating_sub(u32::try_from(lines.len()).unwrap_or(u32::MAX));
        for line in lines {
            self.line(line, tokens, known);
        }
    }

    fn line(&mut self, line: String, tokens: &mut Vec<BlockToken>, known: Known<'_>) {
        self.line_number = self.line_number.saturating_add(1);
        let trimmed = line.trim();
        match std::mem::replace(&mut self.state, State::Prose) {
            State::Prose => self.prose_line(line, tokens, known),
            State::OtherFence(mut fence) => {
                if !fence.closes(&line) {
                    self.state = State::OtherFence(fence);
                }
                push(tokens, BlockToken::Prose(line));
            }
            State::Old { path, mut old } => {
                if is_mark(trimmed, '=', "") {
                    push(tokens, BlockToken::Replace { path, old, whole_lines: true });
                    self.state = State::New;
                } else if is_mark(trimmed, '>', "REPLACE") {
                    self.malformed("`>>>>>>> REPLACE` without `=======` before it", tokens);
                } else {
                    old.push_str(&line);
                    self.state = State::Old { path, old };
                }
            }
            State::New => {
                if is_mark(trimmed, '>', "REPLACE") {
                    push(tokens, BlockToken::End { complete: true });
                } else {
                    push(tokens, BlockToken::New(line));
                    self.state = State::New;
                }
            }
            State::File(mut text) => match text.line(line, tokens) {
                Some(behind) => self.lines_behind(behind, tokens, known),
                None => self.state = State::File(text),
            },
            State::FileTag => {
                if trimmed == "</file>" {
                    push(tokens, BlockToken::End { complete: true });
                } else {
                    push(tokens, BlockToken::New(line));
                    self.state = State::FileTag;
                }
            }
            State::Edit(edit) => self.edit_line(edit, &line, tokens),
            State::EditOld(edit) => self.old_line(edit, &line, tokens),
            State::EditNew(edit) => self.new_line(edit, &line, tokens),
        }
    }

    fn prose_line(&mut self, line: String, tokens: &mut Vec<BlockToken>, known: Known<'_>) {
        if let Some(fence) = &mut self.around
            && fence.closes(&line)
        {
            self.around = None;
            return;
        }
        let trimmed = line.trim();
        if self.kind == Kind::Replacements && is_mark(trimmed, '<', "SEARCH") {
            let path = self.take_name(tokens).or_else(|| self.last_path.clone()).unwrap_or_default();
            self.last_path = Some(path.clone());
            self.state = State::Old { path, old: String::new() };
        } else if let Some(path) = tag_path(trimmed, if self.kind == Kind::Files { "file" } else { "edit" }) {
            self.flush_held(tokens);
            let path = path.or_else(|| self.last_path.clone()).unwrap_or_default();
            self.last_path = Some(path.clone());
            if self.kind == Kind::Files {
                push(tokens, BlockToken::File { path });
                self.state = State::FileTag;
            } else {
                self.state = State::Edit(Edit { path, ..Edit::default() });
            }
        } else if let Some(mark) = fence_of(&line) {
            if self.kind == Kind::Replacements {
                if self.held.iter().any(|held| fence_of(held).is_some()) {
                    self.flush_held(tokens);
                }
                self.held.push(line);
                return;
            }
            let named = path_in_fence(&line);
            if named.is_some() {
                self.flush_held(tokens);
            }
            let Some(path) = named.or_else(|| self.take_name(tokens)) else {
                self.state = State::OtherFence(Fence::new(mark));
                push(tokens, BlockToken::Prose(line));
                return;
            };
            self.state = State::File(FencedText::new(mark, known(&path), Behind::Files));
            push(tokens, BlockToken::File { path });
        } else if path_in(trimmed).is_some() {
            self.flush_held(tokens);
            self.held.push(line);
        } else if trimmed.is_empty() && !self.held.is_empty() && self.held.len() < 3 {
            self.held.push(line);
        } else {
            self.flush_held(tokens);
            push(tokens, BlockToken::Prose(line));
        }
    }

    /// Takes the lines held back: the name they give, and the fence around what follows.
    fn take_name(&mut self, tokens: &mut Vec<BlockToken>) -> Option<String> {
        let mut name = None;
        for line in std::mem::take(&mut self.held) {
            if let Some(mark) = fence_of(&line) {
                self.around = Some(Fence::new(mark));
                name = path_in_fence(&line).or(name);
            } else if let Some(path) = path_in(line.trim()) {
                name = Some(path);
            } else if !line.trim().is_empty() {
                push(tokens, BlockToken::Prose(line));
            }
        }
        name
    }

    fn flush_held(&mut self, tokens: &mut Vec<BlockToken>) {
        for line in std::mem::take(&mut self.held) {
            push(tokens, BlockToken::Prose(line));
        }
    }

    /// A line inside of an `<edit>` tag.
    fn edit_line(&mut self, mut edit: Edit, line: &str, tokens: &mut Vec<BlockToken>) {
        let trimmed = line.trim();
        if trimmed == "</edit>" {
            self.check_edit(&edit, tokens);
            return;
        }
        if let Some(path) = trimmed.strip_prefix("<path>").and_then(|rest| rest.strip_suffix("</path>")) {
            path.trim().clone_into(&mut edit.path);
            self.last_path = Some(edit.path.clone());
            self.state = State::Edit(edit);
        } else if let Some(text) = line.trim_start().strip_prefix("<old_text>").filter(|_| !edit.has_old) {
            edit.has_old = true;
            edit.is_block = text.trim().is_empty();
            if edit.is_block {
                self.state = State::EditOld(edit);
            } else {
                self.old_line(edit, text, tokens);
            }
        } else if let Some(text) = line.trim_start().strip_prefix("<new_text>").filter(|_| !edit.has_new) {
            edit.has_new = true;
            edit.is_block = text.trim().is_empty();
            if !edit.has_old {
                let path = edit.path.clone();
                push(tokens, BlockToken::Replace { path, old: String::new(), whole_lines: true });
            }
            if edit.is_block {
                self.state = State::EditNew(edit);
            } else {
                self.new_line(edit, text, tokens);
            }
        } else {
            if !trimmed.is_empty() {
                self.malformed("expected `<old_text>`, `<new_text>` or `</edit>`", tokens);
            }
            self.state = State::Edit(edit);
        }
    }

    /// A line of an old text, its closing tag perhaps behind it.
    fn old_line(&mut self, mut edit: Edit, line: &str, tokens: &mut Vec<BlockToken>) {
        let Some(last) = line.trim_end().strip_suffix("</old_text>") else {
            edit.old.push_str(line);
            self.state = State::EditOld(edit);
            return;
        };
        if !last.trim().is_empty() || !edit.is_block {
            edit.old.push_str(last);
        }
        let whole_lines = edit.is_block && edit.old.ends_with('\n');
        let (path, old) = (edit.path.clone(), edit.old.clone());
        push(tokens, BlockToken::Replace { path, old, whole_lines });
        self.state = State::Edit(edit);
    }

    /// A line of a new text, its closing tag perhaps behind it.
    fn new_line(&mut self, mut edit: Edit, line: &str, tokens: &mut Vec<BlockToken>) {
        let closing = line.trim_end().strip_suffix("</new_text>");
        let text = match closing {
            Some(last) if last.trim().is_empty() && edit.is_block => "",
            Some(last) => last,
            None => line,
        };
        if !text.is_empty() {
            if std::mem::take(&mut edit.owes_line_end) {
                push(tokens, BlockToken::New("\n".to_owned()));
            }
            let body = text.strip_suffix('\n').unwrap_or(text);
            edit.owes_line_end = body.len() < text.len();
            edit.has_text = true;
            if !body.is_empty() {
                push(tokens, BlockToken::New(body.to_owned()));
            }
        }
        if closing.is_none() {
            self.state = State::EditNew(edit);
            return;
        }
        // A new text ends with a line end where the old one does, whatever lines its tags stand on.
        let ends_line = if edit.old.is_empty() { edit.owes_line_end } else { edit.old.ends_with('\n') };
        if ends_line && edit.has_text {
            push(tokens, BlockToken::New("\n".to_owned()));
        }
        push(tokens, BlockToken::End { complete: true });
        self.state = State::Edit(edit);
    }

    fn check_edit(&self, edit: &Edit, tokens: &mut Vec<BlockToken>) {
        if !edit.has_new {
            if edit.has_old {
                push(tokens, BlockToken::End { complete: false });
            }
            self.malformed("an edit has no `<new_text>`", tokens);
        }
    }

    fn malformed(&self, message: &str, tokens: &mut Vec<BlockToken>) {
        tokens.push(BlockToken::Malformed { line: self.line_number, message: message.to_owned() });
    }
}

/// Whether a line is a conflict mark: five to nine times the same sign, and a word.
fn is_mark(line: &str, sign: char, word: &str) -> bool {
    let rest = line.trim_start_matches(sign);
    (5..=9).contains(&(line.len() - rest.len())) && rest.trim() == word
}

/// The path of an opening tag; `None` inside where it names none, and outside where it is no such tag.
#[expect(clippy::option_option, reason = "a tag without a path is not the same as no tag")]
fn tag_path(line: &str, name: &str) -> Option<Option<String>> {
    let attributes = line.strip_prefix('<')?.strip_prefix(name)?.strip_suffix('>')?;
    if attributes.is_empty() {
        return Some(None);
    }
    let value = attributes.trim().strip_prefix("path")?.trim_start().strip_prefix('=')?.trim();
    let unquoted = ['"', '\''].iter().find_map(|&quote| value.strip_prefix(quote)?.strip_suffix(quote));
    Some(Some(unquoted?.to_owned()))
}

/// The path a line consists of, but for the marks prose puts around a name.
pub(super) fn path_in(line: &str) -> Option<String> {
    let name = line.trim_start_matches('#').trim();
    let name = name.strip_suffix(':').unwrap_or(name);
    let name = name.trim_matches(['*', '`']);
    let name = name.strip_suffix(':').unwrap_or(name).trim();
    let is_marked = line.contains('`') || line.contains("**");
    let can_be = name.len() <= MAX_PATH_BYTES
        && !name.ends_with('.')
        && (is_marked || name.contains(['.', '/']))
        && name.contains(char::is_alphanumeric)
        && !name.contains(|one: char| one.is_whitespace() || "<>\"'|*{};,=:`".contains(one));
    // Whether it may be named is decided where it is used, so that a refusal is told.
    can_be.then(|| name.to_owned())
}

/// The path behind the language of a fence, such as in `rust src/main.rs` or `rust:src/main.rs`.
fn path_in_fence(line: &str) -> Option<String> {
    let info = line.trim_start().trim_start_matches(['`', '~']);
    info.split_whitespace().rev().find_map(|word| {
        let word = word.rsplit(['=', ':']).next().unwrap_or(word).trim_matches(['"', '\'']);
        path_in(word).filter(|path| path.contains(['.', '/']))
    })
}

#[cfg(test)]
mod tests {
    use super::super::tests::{CUT, DONE, in_pieces, new, prose, replace};
    use super::*;

    fn check(parser: fn() -> BlockParser, table: Vec<(&str, Vec<BlockToken>)>) {
        for (text, expected) in table {
            for step in [1, 2, 3, 7, 1000] {
                let feed = |parser: &mut BlockParser, text: &str| parser.feed(text, &mut own_fences);
                let finish = |parser: BlockParser| parser.finish(&mut own_fences);
                let found = in_pieces(parser(), text, step, feed, finish);
                assert_eq!(found, expected, "{text:?} by {step}");
            }
        }
    }

    fn own_fences(path: &str) -> Option<OwnFences> {
        OwnFences::of(path, std::iter::once("a line"))
    }

    fn file(path: &str) -> BlockToken {
        BlockToken::File { path: path.to_owned() }
    }

    fn malformed(line: u32, message: &str) -> BlockToken {
        BlockToken::Malformed { line, message: message.to_owned() }
    }

    #[test]
    fn old_and_new_texts_are_read_between_marks() {
        check(
            BlockParser::replacements,
            vec![
                (
                    "I will.\n\nsrc/a.rs\n```rust\n<<<<<<< SEARCH\na\n=======\nb\n>>>>>>> REPLACE\n```\nDone. a.b\n",
                    vec![
                        prose("I will.\n\n"),
                        replace("src/a.rs", "a\n", true),
                        new("b\n"),
                        DONE,
                        prose("Done. a.b\n"),
                    ],
                ),
                (
                    "**a.py**:\n<<<<<<< SEARCH\n=======\n>>>>>>> REPLACE\n\n<<<<<<< SEARCH\nx\n=======\ny",
                    vec![
                        replace("a.py", "", true),
                        DONE,
                        prose("\n"),
                        replace("a.py", "x\n", true),
                        new("y"),
                        CUT,
                    ],
                ),
                (
                    "```py a.py\n<<<<<<< SEARCH\n```\n=======\n>>>>>>> REPLACE\n```\n```\nls\n```\n",
                    vec![replace("a.py", "```\n", true), DONE, prose("```\nls\n```\n")],
                ),
                (
                    "see a.py\nb.py\n\nmore\n<<<<<<< SEARCH\nx\n>>>>>>> REPLACE\n",
                    vec![
                        prose("see a.py\nb.py\n\nmore\n"),
                        malformed(7, "`>>>>>>> REPLACE` without `=======` before it"),
                    ],
                ),
            ],
        );
    }

    #[test]
    fn old_and_new_texts_are_read_in_tags() {
        check(
            BlockParser::replacements,
            vec![
                (
                    "Hi\n<edit path=\"a.rs\">\n<old_text>\na\n</old_text>\n<new_text>\nb\nc\n</new_text>\n</edit>\nBye",
                    vec![prose("Hi\n"), replace("a.rs", "a\n", true), new("b\nc\n"), DONE, prose("Bye")],
                ),
                (
                    "<edit>\n<path>a</path>\n  <old_text>x</old_text>\n  <new_text>\ny\n</new_text>\n</edit>\n",
                    vec![replace("a", "x", false), new("y"), DONE],
                ),
                (
                    "<edit path='a'>\n<old_text>\nx\n</old_text>\n<new_text>y</new_text>\n</edit>\n",
                    vec![replace("a", "x\n", true), new("y\n"), DONE],
                ),
                (
                    "<edit path='a'>\n<new_text>\ny\n</new_text>\n</edit>\n<edit>\n<old_text>\nx\n</old_text>\n</edit>\n",
                    vec![
                        replace("a", "", true),
                        new("y\n"),
                        DONE,
                        replace("a", "x\n", true),
                        CUT,
                        malformed(10, "an edit has no `<new_text>`"),
                    ],
                ),
            ],
        );
    }

    #[test]
    fn whole_files_are_read_where_they_are_named() {
        check(
            BlockParser::files,
            vec![
                (
                    "Here:\n\n`src/a.rs`\n\n```rust\nfn a() {}\n```\n\n```sh\ncargo run a/b.rs\n```\n",
                    vec![
                        prose("Here:\n\n"),
                        file("src/a.rs"),
                        new("fn a() {}\n"),
                        DONE,
                        prose("\n```sh\ncargo run a/b.rs\n```\n"),
                    ],
                ),
                ("```rust:src/a.rs\nx\n```\n", vec![file("src/a.rs"), new("x\n"), DONE]),
                (
                    "```md title=\"a.md\"\n```sh\nx\n```\ny\n```\n",
                    vec![file("a.md"), new("```sh\nx\n```\ny\n"), BlockToken::DoubtfulEnd],
                ),
                (
                    "a.md\n```md\n# A\n```\nls\n```\nx\n```\n\nb.txt\n```\ny\n```\n\nDone.\n",
                    vec![
                        file("a.md"),
                        new("# A\n```\nls\n```\nx\n"),
                        BlockToken::DoubtfulEnd,
                        prose("\n"),
                        file("b.txt"),
                        new("y\n"),
                        DONE,
                        prose("\nDone.\n"),
                    ],
                ),
                (
                    "a.md\n```md\nx\n```\nb.md\n```md\ny\n```\n```\na line\n```\n",
                    vec![
                        file("a.md"),
                        new("x\n"),
                        BlockToken::DoubtfulEnd,
                        file("b.md"),
                        new("y\n```\n```\na line\n"),
                        BlockToken::DoubtfulEnd,
                    ],
                ),
                ("<file path=\"a\">\nx\n</file>\n", vec![file("a"), new("x\n"), DONE]),
                ("a.rs\n```\nx\n", vec![file("a.rs"), new("x\n"), CUT]),
            ],
        );
    }
}
