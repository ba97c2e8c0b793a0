//! Code fences, and where the text in one ends that may have fences of its own.

use std::collections::HashSet;

use super::blocks::path_in;
use super::{BlockToken, push};

/// Endings of the names of texts that have code fences even where none was in them before.
const FENCED_ENDINGS: [&str; 4] = ["md", "markdown", "mdx", "qmd"];

/// The backticks or tildes a line opens a code fence with.
pub(crate) fn fence_of(line: &str) -> Option<&str> {
    let trimmed = line.trim_start();
    let mark = trimmed.chars().next().filter(|mark| matches!(mark, '`' | '~'))?;
    let fence = &trimmed[..trimmed.len() - trimmed.trim_start_matches(mark).len()];
    // Text in backticks within one line is not a fence.
    (fence.len() >= 3 && !trimmed[fence.len()..].contains('`')).then_some(fence)
}

/// Follows the lines inside a code fence to its end.
#[derive(Clone, Debug)]
pub(super) struct Fence {
    mark: String,
    /// Fences of the same length that were opened inside.
    nested: u32,
}

impl Fence {
    pub(super) fn new(mark: &str) -> Self {
        Self { mark: mark.to_owned(), nested: 0 }
    }

    /// Whether a line closes the fence.
    pub(super) fn closes(&mut self, line: &str) -> bool {
        match (self.is_bare(line), self.nested) {
            (None, _) => {}
            (Some(false), _) => self.nested += 1,
            (Some(true), 0) => return true,
            (Some(true), _) => self.nested -= 1,
        }
        false
    }

    /// Whether nothing stands behind the mark of a line that is a fence like this one.
    fn is_bare(&self, line: &str) -> Option<bool> {
        let mark = fence_of(line).filter(|mark| mark.starts_with(self.mark.as_str()))?;
        Some(line.trim().len() == mark.len())
    }
}

/// What is known of a text that may have code fences of its own.
#[derive(Clone, Debug)]
pub(crate) struct OwnFences {
    /// The lines of the old text that say something, without the blanks at their ends.
    old: HashSet<Box<str>>,
}

impl OwnFences {
    /// What is known of the text of a document, by its lines so far; `None` where it has no fences and its
    /// name is not that of a text that has some.
    pub(crate) fn of<'a>(path: &str, old: impl Iterator<Item = &'a str> + Clone) -> Option<Self> {
        let ending = path.rsplit_once('.').map_or("", |(_, ending)| ending);
        let is_fenced = FENCED_ENDINGS.iter().any(|fenced| ending.eq_ignore_ascii_case(fenced));
        if !is_fenced && !old.clone().any(|line| fence_of(line).is_some()) {
            return None;
        }
        let telling = old.filter(|line| line.contains(char::is_alphanumeric) && fence_of(line).is_none());
        Some(Self { old: telling.map(|line| line.trim_end().into()).collect() })
    }
}

/// What may stand behind a text in a code fence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Behind {
    /// Prose alone.
    Prose,
    /// Further files too, each below a line that names it.
    Files,
}

/// Follows a text in a code fence to its end.
///
/// In a text that has no fences the first one that closes is the end. In one that may have some it either ends
/// the text or opens a block in it, and what follows tells: a line of the old text, or a further fence without
/// a name, belongs to the text; a fence with a language, or nothing at all, does not. Until then what follows
/// is held back.
#[derive(Debug)]
pub(super) struct FencedText {
    fence: Fence,
    own: Option<OwnFences>,
    behind: Behind,
    /// The fence in doubt and the lines behind it.
    held: Vec<String>,
}

impl FencedText {
    pub(super) fn new(mark: &str, own: Option<OwnFences>, behind: Behind) -> Self {
        Self { fence: Fence::new(mark), own, behind, held: Vec::new() }
    }

    /// Takes a line; where the text has ended, the lines behind it.
    pub(super) fn line(&mut self, line: String, tokens: &mut Vec<BlockToken>) -> Option<Vec<String>> {
        let Some(own) = self.own.as_ref().filter(|_| !self.held.is_empty()) else {
            if !self.fence.closes(&line) {
                push(tokens, BlockToken::New(line));
            } else if self.own.is_none() {
                push(tokens, BlockToken::End { complete: true });
                return Some(Vec::new());
            } else {
                self.held.push(line);
            }
            return None;
        };
        let is_text = match self.fence.is_bare(&line) {
            None => own.old.contains(line.trim_end()).then_some(true),
            Some(true) => Some(self.behind == Behind::Prose || !self.ends_with_name()),
            Some(false) => Some(false),
        };
        self.held.push(line);
        match is_text {
            None => None,
            Some(true) => {
                // The first line opened a block, and the last one may end it.
                self.fence.nested += 1;
                for (at, line) in std::mem::take(&mut self.held).into_iter().enumerate() {
                    if at > 0 {
                        self.fence.closes(&line);
                    }
                    push(tokens, BlockToken::New(line));
                }
                None
            }
            Some(false) => Some(self.end(tokens)),
        }
    }

    /// Takes the end of the answer and returns the lines behind the text.
    pub(super) fn finish(mut self, tokens: &mut Vec<BlockToken>) -> Vec<String> {
        if self.held.is_empty() {
            push(tokens, BlockToken::End { complete: false });
            return Vec::new();
        }
        self.end(tokens)
    }

    fn end(&mut self, tokens: &mut Vec<BlockToken>) -> Vec<String> {
        push(tokens, BlockToken::DoubtfulEnd);
        self.held.drain(1..).collect()
    }

    /// Whether the last line held back may name the next file.
    fn ends_with_name(&self) -> bool {
        let last = self.held.iter().skip(1).rev().find(|line| !line.trim().is_empty());
        last.is_some_and(|line| path_in(line.trim()).is_some())
    }
}
