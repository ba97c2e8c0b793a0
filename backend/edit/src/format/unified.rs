//! A unified diff while it arrives, as the tokens of a patch.
//!
//! Where a hunk stands is decided by its lines, as in a patch. Of its heading only the line number is used,
//! and only to tell equal places apart: models count lines badly.

use super::fence_of;
use crate::patch::parser::{PatchToken, added, kept, push_prose};

/// The path that stands for no file.
const NO_FILE: &str = "/dev/null";

#[derive(Debug)]
enum State {
    Prose,
    /// Behind `diff --git`, before the paths.
    Head(Head),
    Updating,
    Adding,
    Deleting,
}

/// What is said of a file before its hunks.
#[derive(Debug, Default)]
struct Head {
    new_path: String,
    is_new: bool,
    is_deleted: bool,
    from: Option<String>,
    to: Option<String>,
}

/// The incremental reader.
#[derive(Debug)]
pub(crate) struct UnifiedParser {
    state: State,
    partial: String,
    line_number: u32,
    /// Lines that may name the paths of a file: `--- a`, and `+++ b` behind it.
    paths: Vec<String>,
    /// A line that may open the fence around a diff.
    opener: Option<String>,
    is_fenced: bool,
    is_open: bool,
}

impl UnifiedParser {
    pub(crate) fn new() -> Self {
        Self {
            state: State::Prose,
            partial: String::new(),
            line_number: 0,
            paths: Vec::new(),
            opener: None,
            is_fenced: false,
            is_open: false,
        }
    }

    /// Takes more text and returns what it completed.
    pub(crate) fn feed(&mut self, text: &str) -> Vec<PatchToken> {
        let mut tokens = Vec::new();
        for piece in text.split_inclusive('\n') {
            self.partial.push_str(piece);
            if piece.ends_with('\n') {
                let line = std::mem::take(&mut self.partial);
                self.look_ahead(&line, &mut tokens);
            }
        }
        tokens
    }

    /// Takes the end of the text.
    pub(crate) fn finish(mut self) -> Vec<PatchToken> {
        let mut tokens = Vec::new();
        let line = std::mem::take(&mut self.partial);
        if !line.is_empty() {
            self.look_ahead(&line, &mut tokens);
        }
        for line in std::mem::take(&mut self.paths) {
            self.line(&line, &mut tokens);
        }
        self.end(&mut tokens);
        if let Some(opener) = self.opener.take() {
            push_prose(&mut tokens, &opener);
        }
        tokens
    }

    /// Holds lines back that name paths only when a hunk follows.
    fn look_ahead(&mut self, line: &str, tokens: &mut Vec<PatchToken>) {
        let follows = match self.paths.len() {
            0 => line.starts_with("--- "),
            1 => line.starts_with("+++ "),
            _ => false,
        };
        if follows {
            self.paths.push(line.to_owned());
            return;
        }
        let paths = std::mem::take(&mut self.paths);
        if let [old, new] = &paths[..]
            && line.starts_with("@@")
        {
            self.line_number += 2;
            self.begin_file(&path_of(old), &path_of(new), tokens);
            self.line(line, tokens);
            return;
        }
        for held in paths {
            self.line(&held, tokens);
        }
        if line.starts_with("--- ") {
            self.paths.push(line.to_owned());
        } else {
            self.line(line, tokens);
        }
    }

    fn line(&mut self, line: &str, tokens: &mut Vec<PatchToken>) {
        self.line_number = self.line_number.saturating_add(1);
        let text = line.strip_suffix('\n').unwrap_or(line);
        let text = text.strip_suffix('\r').unwrap_or(text);
        if let Some(paths) = text.strip_prefix("diff --git ") {
            self.end_head(tokens);
            self.begin(tokens);
            let new_path = paths.rsplit_once(" b/").map_or("", |(_, path)| path).to_owned();
            self.state = State::Head(Head { new_path, ..Head::default() });
            return;
        }
        let is_taken = match &mut self.state {
            State::Prose => false,
            State::Head(head) => head.take(text),
            State::Updating => match text.as_bytes().first() {
                Some(b'@') if text.starts_with("@@") => {
                    tokens.push(PatchToken::Heading(numbers_of(text)));
                    true
                }
                Some(b'+') => {
                    tokens.push(added(&text[1..]));
                    true
                }
                Some(b' ' | b'-') | None => {
                    tokens.push(kept(text));
                    true
                }
                // The remark about a missing line end says nothing about the lines.
                Some(first) => *first == b'\\',
            },
            State::Adding => {
                if let Some(text) = text.strip_prefix('+') {
                    tokens.push(added(text));
                }
                text.starts_with(['+', '@', '\\'])
            }
            State::Deleting => text.starts_with(['-', '@', '\\']),
        };
        if !is_taken {
            self.end(tokens);
            self.prose(line, tokens);
        }
    }

    fn prose(&mut self, line: &str, tokens: &mut Vec<PatchToken>) {
        if self.is_fenced && fence_of(line).is_some() {
            self.is_fenced = false;
            return;
        }
        if let Some(opener) = self.opener.take() {
            push_prose(tokens, &opener);
        }
        if fence_of(line).is_some() {
            self.opener = Some(line.to_owned());
        } else {
            push_prose(tokens, line);
        }
    }

    /// Begins the hunks of a file.
    fn begin_file(&mut self, old: &str, new: &str, tokens: &mut Vec<PatchToken>) {
        self.begin(tokens);
        let head = match std::mem::replace(&mut self.state, State::Prose) {
            State::Head(head) => head,
            _ => Head::default(),
        };
        if new == NO_FILE {
            self.state = State::Deleting;
            tokens.push(PatchToken::Delete { path: old.to_owned() });
        } else if old == NO_FILE {
            self.state = State::Adding;
            tokens.push(PatchToken::Add { path: new.to_owned() });
        } else {
            self.state = State::Updating;
            tokens.push(match (head.from, head.to) {
                (Some(from), Some(to)) => PatchToken::Update { path: from, move_to: Some(to) },
                _ => PatchToken::Update { path: new.to_owned(), move_to: None },
            });
        }
    }

    fn begin(&mut self, tokens: &mut Vec<PatchToken>) {
        self.is_fenced |= self.opener.take().is_some();
        if !self.is_open {
            self.is_open = true;
            tokens.push(PatchToken::Began);
        }
    }

    fn end(&mut self, tokens: &mut Vec<PatchToken>) {
        self.end_head(tokens);
        self.state = State::Prose;
        if self.is_open {
            self.is_open = false;
            tokens.push(PatchToken::Ended { marked: true });
        }
    }

    /// Ends what is said of a file without hunks.
    fn end_head(&mut self, tokens: &mut Vec<PatchToken>) {
        let State::Head(head) = std::mem::replace(&mut self.state, State::Prose) else { return };
        match (head.from, head.to) {
            (Some(from), Some(to)) => tokens.push(PatchToken::Update { path: from, move_to: Some(to) }),
            _ if head.is_deleted => tokens.push(PatchToken::Delete { path: head.new_path }),
            _ if head.is_new => tokens.push(PatchToken::Add { path: head.new_path }),
            _ => {
                let message = "nothing is said of this file but its name".to_owned();
                tokens.push(PatchToken::Malformed { line: self.line_number, message });
            }
        }
    }
}

impl Head {
    /// Takes a line between `diff --git` and the paths; `false` for one that is none.
    fn take(&mut self, line: &str) -> bool {
        if let Some(path) = line.strip_prefix("rename from ") {
            self.from = Some(path.to_owned());
        } else if let Some(path) = line.strip_prefix("rename to ") {
            self.to = Some(path.to_owned());
        }
        self.is_new |= line.starts_with("new file mode");
        self.is_deleted |= line.starts_with("deleted file mode");
        let known =
            ["rename ", "copy ", "new ", "old ", "deleted ", "index ", "similarity ", "dissimilarity "];
        known.iter().any(|start| line.starts_with(start))
    }
}

/// The path of a `--- ` or `+++ ` line, without the folder that stands for old or new.
fn path_of(line: &str) -> String {
    let path = line[4..].trim_end();
    let path = path.split('\t').next().unwrap_or_default().trim().trim_matches('"');
    if path == NO_FILE {
        return path.to_owned();
    }
    let side = if line.starts_with('-') { "a/" } else { "b/" };
    path.strip_prefix(side).unwrap_or(path).to_owned()
}

/// The numbers of a heading, without the text behind them.
fn numbers_of(line: &str) -> String {
    let numbers = line.trim_start_matches('@').split("@@").next().unwrap_or_default().trim();
    if numbers.starts_with('-') { format!("{numbers} @@") } else { String::new() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokens(text: &str, step: usize) -> Vec<PatchToken> {
        let mut parser = UnifiedParser::new();
        let mut found: Vec<PatchToken> = Vec::new();
        let characters: Vec<char> = text.chars().collect();
        let pieces = characters.chunks(step).map(|piece| piece.iter().collect::<String>());
        let mut all: Vec<PatchToken> = pieces.flat_map(|piece| parser.feed(&piece)).collect();
        all.extend(parser.finish());
        for token in all {
            match token {
                PatchToken::Prose(text) => push_prose(&mut found, &text),
                token => found.push(token),
            }
        }
        found
    }

    #[test]
    fn every_split_gives_the_same_tokens() {
        use PatchToken::{Add, Began, Delete, Ended, Heading, Prose, Update};
        let update = |path: &str| Update { path: path.to_owned(), move_to: None };
        let heading = |text: &str| Heading(text.to_owned());
        let end = Ended { marked: true };
        let table = vec![
            (
                "Hi\n```diff\n--- a/x.rs\t2026\n+++ b/x.rs\n@@ -1,2 +1,2 @@ fn f\n a\n-b\n+c\n\\ No newline at end of file\n```\nBye\n",
                vec![
                    Prose("Hi\n".into()),
                    Began,
                    update("x.rs"),
                    heading("-1,2 +1,2 @@"),
                    kept(" a"),
                    kept("-b"),
                    added("c"),
                    end.clone(),
                    Prose("Bye\n".into()),
                ],
            ),
            (
                "--- x\n+++ x\n@@ @@\n--- y\n+++ z\n y\n--- a/q\n+++ /dev/null\n@@ -1 +0,0 @@\n-q\n",
                vec![
                    Began,
                    update("x"),
                    heading(""),
                    kept("--- y"),
                    added("++ z"),
                    kept(" y"),
                    Delete { path: "q".into() },
                    end.clone(),
                ],
            ),
            (
                "diff --git a/o b/n\nsimilarity index 90%\nrename from o\nrename to n\n--- a/o\n+++ b/n\n@@ -1 +1 @@\n-x\n+y\ndiff --git a/e b/e\nnew file mode 100644\nindex 0..1\ndiff --git a/f b/f\ndeleted file mode 100644\n--- a/f\n+++ /dev/null\n@@ -1 +0,0 @@\n-x\ndiff --git a/g b/g\nnew file mode 100644\n--- /dev/null\n+++ b/g\n@@ -0,0 +1 @@\n+g\n",
                vec![
                    Began,
                    Update { path: "o".into(), move_to: Some("n".into()) },
                    heading("-1 +1 @@"),
                    kept("-x"),
                    added("y"),
                    Add { path: "e".into() },
                    Delete { path: "f".into() },
                    Add { path: "g".into() },
                    added("g"),
                    end.clone(),
                ],
            ),
            ("--- not\na diff\n---\n", vec![Prose("--- not\na diff\n---\n".into())]),
        ];
        for (text, expected) in table {
            for step in [1, 2, 3, 7, 1000] {
                assert_eq!(tokens(text, step), expected, "{text:?} by {step}");
            }
        }
    }
}
