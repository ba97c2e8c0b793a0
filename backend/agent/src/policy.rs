//! What a turn may touch.
//!
//! Documents are the work of many authors, and some of them may talk to the model. No filter of words keeps a
//! model from listening, so what it may do is bounded instead, by what the person who asked has said: the text
//! of the prompt, and the document it was asked in. Nothing a document says widens it.

use std::collections::HashSet;

use ensemble_protocol::id::DocumentId;

/// Why something was not done, as the turn tells it.
pub const NOT_PART_OF_TURN: &str = "not part of this turn";

/// New files one turn may make: a small feature has that many, a flood has more.
pub const NEW_FILES: usize = 20;

/// Words that may stand between "delete" and the path it is about.
const FILLERS: &[&str] = &[
    "the",
    "a",
    "my",
    "our",
    "this",
    "old",
    "empty",
    "unused",
    "file",
    "files",
    "document",
    "documents",
    "and",
    "also",
    "both",
];
/// Words that ask for a document to go.
const DELETE_VERBS: &[&str] = &["delete", "remove", "erase", "drop", "rid", "of"];
/// Words that ask for a document to get another path.
const MOVE_VERBS: &[&str] = &["rename", "move"];
/// Words for more than one thing.
const ALL_WORDS: &[&str] = &["all", "every", "each", "across", "throughout", "whole", "entire", "over"];
/// Words for a document.
const FILE_WORDS: &[&str] = &["file", "files", "document", "documents", "module", "modules"];
/// Words for all documents together.
const PROJECT_WORDS: &[&str] = &["project", "codebase", "repository", "repo", "workspace"];
/// How far such a word may stand from its companion: "all of the other files".
const REACH: usize = 4;

/// A live document as the policy sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its id.
    pub id: DocumentId,
    /// Its path.
    pub path: String,
}

/// What one turn may touch, worked out from its prompt before the model is called.
#[derive(Debug, Clone)]
pub struct Policy {
    prompt: String,
    named: HashSet<DocumentId>,
    writable: HashSet<DocumentId>,
    everywhere: bool,
}

impl Policy {
    /// Works out what a prompt allows.
    ///
    /// The open document may be written, and those the prompt names; all of them where it speaks of all
    /// files or the whole project. Where none is open and none named, the only one there is.
    pub fn new(prompt: &str, open: Option<DocumentId>, documents: &[Entry]) -> Self {
        let named: HashSet<DocumentId> =
            documents.iter().filter(|entry| names(prompt, &entry.path)).map(|entry| entry.id).collect();
        let everywhere = speaks_of_all(prompt);
        let mut writable: HashSet<DocumentId> = if everywhere {
            documents.iter().map(|entry| entry.id).collect()
        } else {
            named.iter().copied().chain(open).collect()
        };
        if let ([only], true) = (documents, writable.is_empty()) {
            writable.insert(only.id);
        }
        Self { prompt: prompt.to_owned(), named, writable, everywhere }
    }

    /// Whether the text of this document may change, if the model was shown it.
    pub fn may_write(&self, document: DocumentId) -> bool {
        self.writable.contains(&document)
    }

    /// Whether the prompt names this document.
    pub fn is_named(&self, document: DocumentId) -> bool {
        self.named.contains(&document)
    }

    /// Whether the prompt speaks of all documents.
    pub const fn is_everywhere(&self) -> bool {
        self.everywhere
    }

    /// Whether the prompt itself asks to delete the document at this path.
    pub fn may_delete(&self, path: &str) -> bool {
        asks(&self.prompt, DELETE_VERBS, path)
    }

    /// Whether the prompt itself asks to move the document at this path to that one.
    pub fn may_move(&self, from: &str, to: &str) -> bool {
        let folder = |path: &str| path.rsplit_once('/').map_or("", |(folder, _)| folder).to_owned();
        let into_folder = file_name(from) == file_name(to) && names(&self.prompt, &folder(to));
        asks(&self.prompt, MOVE_VERBS, from) && (names(&self.prompt, to) || into_folder)
    }
}

fn file_name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

/// Whether a prompt names a path: in full, or by its file name.
fn names(prompt: &str, path: &str) -> bool {
    !places(prompt, path).is_empty()
}

/// Where in a prompt a path is named, in bytes.
fn places(prompt: &str, path: &str) -> Vec<usize> {
    let mut found = occurrences(prompt, path);
    let name = file_name(path);
    if name != path {
        // `b/util.py` does not name `a/util.py`: a slash before it belongs to another path.
        found.extend(occurrences(prompt, name));
    }
    found
}

/// Where a name stands in a text as a word of its own.
fn occurrences(prompt: &str, name: &str) -> Vec<usize> {
    if name.is_empty() {
        return Vec::new();
    }
    let of_a_word = |character: char| character.is_alphanumeric() || matches!(character, '_' | '-');
    // A plain lower-case word such as `test` is a path only where it is marked as one.
    let distinct = name.contains(['.', '/', '_']) || name.chars().any(char::is_uppercase);
    let quotes = ['`', '"', '\'', '“', '”'];
    prompt
        .match_indices(name)
        .filter(|(at, _)| {
            let before = prompt[..*at].strip_suffix("./").unwrap_or(&prompt[..*at]);
            let after = &prompt[at + name.len()..];
            let before = before.chars().next_back();
            let mut following = after.chars();
            let next = following.next();
            let starts =
                before.is_none_or(|character| !of_a_word(character) && !matches!(character, '/' | '.'));
            let ends = match next {
                None => true,
                // A full stop ends the sentence; a dot goes on with the name.
                Some('.') => following.next().is_none_or(|character| !of_a_word(character)),
                Some(character) => !of_a_word(character) && character != '/',
            };
            let marked = before.is_some_and(|character| quotes.contains(&character))
                && next.is_some_and(|character| quotes.contains(&character));
            starts && ends && (distinct || marked)
        })
        .map(|(at, _)| at)
        .collect()
}

/// Whether one of these verbs is about this path: it stands before it, with nothing but fillers and other
/// paths between them. "Remove the imports in a.py" does not ask to remove `a.py`.
fn asks(prompt: &str, verbs: &[&str], path: &str) -> bool {
    places(prompt, path).into_iter().any(|at| {
        for word in prompt[..at].split_whitespace().rev() {
            let word = word.trim_matches(|character: char| !character.is_alphanumeric());
            let lower = word.to_lowercase();
            if verbs.contains(&lower.as_str()) {
                if lower == "of" {
                    // Only as a part of "get rid of".
                    continue;
                }
                return true;
            }
            let is_path = word.contains(['.', '/']);
            if !(word.is_empty() || is_path || FILLERS.contains(&lower.as_str())) {
                return false;
            }
        }
        false
    })
}

/// Whether a prompt speaks of all files or of the whole project.
fn speaks_of_all(prompt: &str) -> bool {
    let words: Vec<String> = prompt
        .split(|character: char| !character.is_alphanumeric())
        .filter(|word| !word.is_empty())
        .map(str::to_lowercase)
        .collect();
    if words.iter().any(|word| word == "everywhere") || words.ends_with(&["in".into(), "all".into()]) {
        return true;
    }
    words.iter().enumerate().any(|(at, word)| {
        let follows = |companions: &[&str]| {
            words[at + 1..].iter().take(REACH).any(|next| companions.contains(&next.as_str()))
        };
        let precedes = |companion: &str| words[at + 1..].iter().take(1).any(|next| next == companion);
        match word.as_str() {
            "whole" | "entire" | "throughout" | "across" | "over" => {
                follows(PROJECT_WORDS) || (word == "across" && follows(&["files", "documents", "modules"]))
            }
            word if ALL_WORDS.contains(&word) => follows(FILE_WORDS),
            "project" => precedes("wide"),
            _ => false,
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn document(number: u8) -> DocumentId {
        DocumentId::from_slice(&[number; 16]).expect("sixteen bytes")
    }

    fn project(paths: &[&str]) -> Vec<Entry> {
        paths
            .iter()
            .zip(1..)
            .map(|(path, number)| Entry { id: document(number), path: (*path).to_owned() })
            .collect()
    }

    #[test]
    fn the_open_document_and_named_ones_may_be_written() {
        let documents = project(&["main.py", "lib/util.py", "src/util.py", "notes.md"]);
        let cases: [(&str, &[u8]); 9] = [
            ("rename total to subtotal", &[1]),
            ("rename total to subtotal in lib/util.py", &[1, 2]),
            ("rename total in util.py.", &[1, 2, 3]),
            ("use `./src/util.py` here", &[1, 3]),
            ("see notes.md, please", &[1, 4]),
            ("see old-notes.md", &[1]),
            ("see notes.mdx", &[1]),
            ("rename total to subtotal in all files", &[1, 2, 3, 4]),
            ("rename total to subtotal everywhere", &[1, 2, 3, 4]),
        ];
        for (prompt, expected) in cases {
            let policy = Policy::new(prompt, Some(document(1)), &documents);
            let writable: Vec<u8> = (1..=4).filter(|number| policy.may_write(document(*number))).collect();
            assert_eq!(writable, expected, "{prompt}");
        }
    }

    #[test]
    fn without_an_open_document_only_a_lone_one_may_be_written() {
        let one = project(&["main.py"]);
        assert!(Policy::new("tidy up", None, &one).may_write(document(1)));
        let two = project(&["main.py", "other.py"]);
        let policy = Policy::new("tidy up", None, &two);
        assert!(!policy.may_write(document(1)) && !policy.may_write(document(2)));
        assert!(Policy::new("tidy up other.py", None, &two).may_write(document(2)));
    }

    #[test]
    fn what_speaks_of_all_files_does() {
        let all = [
            "rename a to b in all files",
            "rename a to b in all the other documents",
            "in every Python file, add a header",
            "Everywhere: a to b",
            "rename a across the project",
            "rename a across all of the files",
            "rename a throughout our codebase",
            "a project-wide rename",
            "rename a to b in all",
        ];
        for prompt in all {
            assert!(speaks_of_all(prompt), "{prompt}");
        }
        let one = [
            "rename all occurrences of a",
            "document all functions",
            "handle every case",
            "explain the whole function",
            "loop over each item",
            "all in all it is fine",
            "",
        ];
        for prompt in one {
            assert!(!speaks_of_all(prompt), "{prompt}");
        }
    }

    #[test]
    fn documents_go_only_when_the_prompt_says_so() {
        let policy = |prompt| Policy::new(prompt, None, &[]);
        for prompt in [
            "delete a.py",
            "please delete the file `a.py`",
            "remove b.py and a.py",
            "Get rid of a.py.",
            "Remove the old documents lib/b.py, a.py",
        ] {
            assert!(policy(prompt).may_delete("a.py"), "{prompt}");
        }
        for prompt in [
            "remove the imports in a.py",
            "delete everything",
            "a.py: delete the last function",
            "make a copy of a.py",
            "delete lib/a.py",
            "delete a.pyc",
            "",
        ] {
            assert!(!policy(prompt).may_delete("a.py"), "{prompt}");
        }
    }

    #[test]
    fn documents_move_only_where_the_prompt_says_so() {
        let policy = Policy::new("rename a.py to lib/b.py, and move c.py to `old`", None, &[]);
        assert!(policy.may_move("a.py", "lib/b.py"));
        assert!(policy.may_move("c.py", "old/c.py"));
        assert!(!policy.may_move("a.py", "other.py"));
        assert!(!policy.may_move("d.py", "lib/b.py"));
        assert!(!Policy::new("rename total to sum in a.py", None, &[]).may_move("a.py", "sum.py"));
    }
}
