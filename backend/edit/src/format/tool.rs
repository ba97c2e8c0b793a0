//! The arguments of an edit tool while they arrive: `{"path": …, "edits": [{"old_text": …, "new_text": …}]}`.
//!
//! Members may come in any order, and the names other tools have for them are understood too. A call with one
//! edit may give its texts beside the path. Several calls may follow each other.

use super::json::{JsonEvent, JsonReader, NotJson};
use super::{BlockToken, push};

/// What the member that is arriving holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Member {
    Path,
    Edits,
    Old,
    New,
    /// One that says nothing here.
    Other,
}

impl Member {
    fn named(name: &str) -> Self {
        match name {
            "path" | "file_path" | "filePath" | "file" | "filename" => Self::Path,
            "edits" | "replacements" | "changes" => Self::Edits,
            "old_text" | "oldText" | "old_string" | "oldString" | "old_str" | "search" => Self::Old,
            "new_text" | "newText" | "new_string" | "newString" | "new_str" | "replace" => Self::New,
            _ => Self::Other,
        }
    }
}

/// One edit, as far as it is known.
#[derive(Debug, Default)]
#[expect(clippy::struct_excessive_bools, reason = "facts that come in any order")]
struct Edit {
    old: String,
    has_old: bool,
    /// New text that waits for the old one or for the path.
    new: String,
    new_began: bool,
    has_new: bool,
    /// Whether its old text was handed on.
    open: bool,
    /// Whether its end was handed on.
    ended: bool,
}

/// The incremental reader.
#[derive(Debug)]
pub(crate) struct ToolParser {
    json: JsonReader,
    line: u32,
    depth: usize,
    /// The depth of the objects that may hold texts.
    edits_at: Option<usize>,
    member: Member,
    path: Option<String>,
    path_text: String,
    /// Edits that wait for the path.
    waiting: Vec<Edit>,
    edit: Edit,
    is_broken: bool,
}

impl ToolParser {
    pub(crate) fn new() -> Self {
        Self {
            json: JsonReader::new(),
            line: 1,
            depth: 0,
            edits_at: None,
            member: Member::Other,
            path: None,
            path_text: String::new(),
            waiting: Vec::new(),
            edit: Edit::default(),
            is_broken: false,
        }
    }

    /// Takes the end of one call's arguments: whatever they were, the next call is read anew.
    pub(crate) fn end_call(&mut self) -> Vec<BlockToken> {
        let next = Self { line: self.line, ..Self::new() };
        std::mem::replace(self, next).finish()
    }

    /// Takes more text and returns what it completed.
    pub(crate) fn feed(&mut self, text: &str) -> Vec<BlockToken> {
        let mut tokens = Vec::new();
        // Pieces end at line ends, so that a mistake is told with its line.
        for piece in text.split_inclusive('\n') {
            if self.is_broken {
                break;
            }
            let mut events = Vec::new();
            let result = self.json.feed(piece, &mut events);
            for event in events {
                self.take(event, &mut tokens);
            }
            if let Err(NotJson(message)) = result {
                self.give_up(message, &mut tokens);
            }
            self.line += u32::from(piece.ends_with('\n'));
        }
        tokens
    }

    /// Takes the end of the text.
    pub(crate) fn finish(mut self) -> Vec<BlockToken> {
        let mut tokens = Vec::new();
        if self.json.is_open() && !self.is_broken {
            self.give_up("the arguments end in the middle", &mut tokens);
        }
        tokens
    }

    fn give_up(&mut self, message: &str, tokens: &mut Vec<BlockToken>) {
        self.is_broken = true;
        if self.edit.open && !self.edit.ended {
            push(tokens, BlockToken::End { complete: false });
        }
        self.malformed(&format!("the arguments are not JSON: {message}"), tokens);
    }

    fn malformed(&self, message: &str, tokens: &mut Vec<BlockToken>) {
        tokens.push(BlockToken::Malformed { line: self.line, message: message.to_owned() });
    }

    fn take(&mut self, event: JsonEvent, tokens: &mut Vec<BlockToken>) {
        match event {
            JsonEvent::ObjectBegan => {
                self.depth += 1;
                // Texts stand in the call itself, or in the objects of its list of edits.
                if self.depth == 1 || self.edits_at == Some(self.depth) {
                    self.edit = Edit::default();
                }
                self.member = Member::Other;
            }
            JsonEvent::ArrayBegan => {
                self.depth += 1;
                if self.depth == 2 && self.member == Member::Edits {
                    self.end_edit(false, tokens);
                    self.edits_at = Some(3);
                }
                self.member = Member::Other;
            }
            JsonEvent::ArrayEnded => {
                self.depth -= 1;
                if self.depth == 1 {
                    self.edits_at = None;
                    self.edit = Edit::default();
                }
            }
            JsonEvent::ObjectEnded => {
                if self.holds_texts() {
                    self.end_edit(self.depth > 1, tokens);
                }
                self.depth -= 1;
                if self.depth == 0 {
                    self.end_object(tokens);
                }
                self.member = Member::Other;
            }
            JsonEvent::Key(name) => {
                let member = Member::named(&name);
                self.member = match member {
                    Member::Path | Member::Edits if self.depth != 1 => Member::Other,
                    Member::Old | Member::New if !self.holds_texts() => Member::Other,
                    // What is said twice counts the first time.
                    Member::Path if self.path.is_some() => Member::Other,
                    Member::Old if self.edit.has_old => Member::Other,
                    Member::New if self.edit.new_began => Member::Other,
                    member => member,
                };
                self.edit.new_began |= self.member == Member::New;
            }
            JsonEvent::Text(text) => match self.member {
                Member::Path => self.path_text.push_str(&text),
                Member::Old => self.edit.old.push_str(&text),
                Member::New if self.edit.open => push(tokens, BlockToken::New(text)),
                Member::New => self.edit.new.push_str(&text),
                Member::Edits | Member::Other => {}
            },
            JsonEvent::TextEnded => {
                match self.member {
                    Member::Path => {
                        let path = std::mem::take(&mut self.path_text);
                        for edit in std::mem::take(&mut self.waiting) {
                            whole(edit, &path, tokens);
                        }
                        self.path = Some(path);
                    }
                    Member::Old => self.edit.has_old = true,
                    Member::New => self.edit.has_new = true,
                    Member::Edits | Member::Other => {}
                }
                self.hand_on(tokens);
                self.member = Member::Other;
            }
            JsonEvent::Scalar => self.member = Member::Other,
        }
    }

    fn holds_texts(&self) -> bool {
        match self.edits_at {
            Some(depth) => self.depth == depth,
            None => self.depth == 1,
        }
    }

    /// Hands on what is known of the open edit.
    fn hand_on(&mut self, tokens: &mut Vec<BlockToken>) {
        let (Some(path), edit) = (&self.path, &mut self.edit) else { return };
        if edit.has_old && !edit.open {
            edit.open = true;
            let (path, old) = (path.clone(), std::mem::take(&mut edit.old));
            push(tokens, BlockToken::Replace { path, old, whole_lines: false });
            if !edit.new.is_empty() {
                push(tokens, BlockToken::New(std::mem::take(&mut edit.new)));
            }
        }
        if edit.open && edit.has_new && !edit.ended {
            edit.ended = true;
            push(tokens, BlockToken::End { complete: true });
        }
    }

    /// Takes the end of an edit; `is_item` says that it is one of a list, where every one must say something.
    fn end_edit(&mut self, is_item: bool, tokens: &mut Vec<BlockToken>) {
        let mut edit = std::mem::take(&mut self.edit);
        if edit.ended {
            return;
        }
        if edit.has_new {
            // Without an old text it is for an empty document or a new one.
            edit.has_old = true;
            match &self.path {
                Some(path) => whole(edit, &path.clone(), tokens),
                None => self.waiting.push(edit),
            }
            return;
        }
        if edit.open {
            push(tokens, BlockToken::End { complete: false });
        }
        if is_item || edit.has_old {
            self.malformed("an edit has no `new_text`", tokens);
        }
    }

    fn end_object(&mut self, tokens: &mut Vec<BlockToken>) {
        if self.path.take().is_none() {
            self.malformed("the call has no `path`", tokens);
        }
        self.waiting.clear();
        self.edit = Edit::default();
        self.edits_at = None;
    }
}

/// An edit all of which is known.
fn whole(edit: Edit, path: &str, tokens: &mut Vec<BlockToken>) {
    push(tokens, BlockToken::Replace { path: path.to_owned(), old: edit.old, whole_lines: false });
    if !edit.new.is_empty() {
        push(tokens, BlockToken::New(edit.new));
    }
    push(tokens, BlockToken::End { complete: true });
}

#[cfg(test)]
mod tests {
    use super::super::tests::{CUT, DONE, in_pieces, new, replace};
    use super::*;

    fn malformed(line: u32, message: &str) -> BlockToken {
        BlockToken::Malformed { line, message: message.to_owned() }
    }

    #[test]
    fn every_order_and_split_gives_the_same_edits() {
        let edit = |path: &str, old: &str, text: &str| [replace(path, old, false), new(text), DONE];
        let table: Vec<(&str, Vec<BlockToken>)> = vec![
            (
                r#"{"path":"a","edits":[{"old_text":"x\n","new_text":"y\u00e9"},{"new_text":"2","old_text":"1"}]}"#,
                [edit("a", "x\n", "yé"), edit("a", "1", "2")].concat(),
            ),
            (
                r#"{"edits":[{"old_text":"x","new_text":"y"},{"old_text":"1","new_text":"2"}],"path":"a"}"#,
                [edit("a", "x", "y"), edit("a", "1", "2")].concat(),
            ),
            (
                r#"{"file_path":"a","old_string":"x","new_string":"y","replace_all":false}"#,
                edit("a", "x", "y").to_vec(),
            ),
            (r#"{"new_text":"y","path":"a"}"#, edit("a", "", "y").to_vec()),
            (
                r#"{"old_text":"x","why":{"path":"b","edits":[{"old_text":"no"}]},"new_text":"","path":"a"}"#,
                vec![replace("a", "x", false), DONE],
            ),
            (
                "{\"path\":\"a\",\"old_text\":\"x\",\"new_text\":\"y\"}\n{\"path\":\"b\",\"edits\":[]}",
                edit("a", "x", "y").to_vec(),
            ),
            (
                r#"{"path":"a","edits":[{"old_text":"x"}]}"#,
                vec![replace("a", "x", false), CUT, malformed(1, "an edit has no `new_text`")],
            ),
            (
                "{\"path\":\"a\",\n\"edits\":[{\"old_text\":\"x\",\"new_text\":\"y",
                vec![
                    replace("a", "x", false),
                    new("y"),
                    CUT,
                    malformed(2, "the arguments are not JSON: the arguments end in the middle"),
                ],
            ),
            (r#"{"edits":[]}"#, vec![malformed(1, "the call has no `path`")]),
        ];
        for (text, expected) in table {
            for step in [1, 2, 3, 7, 1000] {
                let found = in_pieces(ToolParser::new(), text, step, ToolParser::feed, ToolParser::finish);
                assert_eq!(found, expected, "{text} by {step}");
            }
        }
    }

    /// A call that is no JSON is told, and says nothing about the calls behind it.
    #[test]
    fn every_call_is_read_by_itself() {
        let mut parser = ToolParser::new();
        let mut tokens = parser.feed("{\"path\":\"a\",\"old_text\":\"x\",\"new_text\":\"y\"}\n");
        tokens.extend(parser.end_call());
        tokens.extend(parser.feed("{\"path\":\"a\",\"old_text\":\"\\x\",\"new_text\":\"\"}\n"));
        tokens.extend(parser.end_call());
        tokens.extend(parser.feed("{\"path\":\"b\",\"old_text\":\"1\",\"new_"));
        tokens.extend(parser.end_call());
        tokens.extend(parser.feed("{\"path\":\"c\",\"old_text\":\"1\",\"new_text\":\"2\"}"));
        tokens.extend(parser.finish());
        let expected = [
            replace("a", "x", false),
            new("y"),
            DONE,
            malformed(2, "the arguments are not JSON: an unknown escape in a string"),
            replace("b", "1", false),
            CUT,
            malformed(3, "the arguments are not JSON: the arguments end in the middle"),
            replace("c", "1", false),
            new("2"),
            DONE,
        ];
        assert_eq!(tokens, expected);
    }
}
