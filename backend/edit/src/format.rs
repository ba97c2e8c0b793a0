//! The formats a model may answer in, and what reads them.
//!
//! Each reader takes text in any pieces and gives tokens; where a piece ends never matters. What the tokens
//! do is decided in one place for all formats, in [`stream`](crate::stream).

mod blocks;
mod fence;
mod json;
mod rewrite;
mod tool;
mod unified;

use std::ops::Range;

use crate::patch::Mode;
use crate::position::Utf16Offset;
pub(crate) use blocks::BlockParser;
use fence::Fence;
pub(crate) use fence::{OwnFences, fence_of};
pub(crate) use rewrite::RewriteParser;
pub(crate) use tool::ToolParser;
pub(crate) use unified::UnifiedParser;

/// What a model was asked to answer in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Format {
    /// A patch of the Codex family's language, bare or fenced, with prose around it.
    Patch(Mode),
    /// A unified diff, bare or fenced, with prose around it. Its line numbers only tell equal places apart.
    UnifiedDiff,
    /// Old and new texts between conflict marks or in tags, with prose around them:
    ///
    /// ```text
    /// src/main.rs                              <edit path="src/main.rs">
    /// <<<<<<< SEARCH                           <old_text>
    /// let x = 1;                               let x = 1;
    /// =======                                  </old_text>
    /// let x = 2;                               <new_text>
    /// >>>>>>> REPLACE                          let x = 2;
    ///                                          </new_text>
    ///                                          </edit>
    /// ```
    Blocks,
    /// The arguments of a tool call as JSON: `{"path": …, "edits": [{"old_text": …, "new_text": …}]}`.
    Tool,
    /// Whole files in fenced blocks that name a path, or in `<file path="…">` tags, with prose around them.
    Files,
    /// The whole text of one document, bare or in one fence.
    Document {
        /// Its path.
        path: String,
    },
    /// The new text of a part of one document, bare or in one fence.
    Region {
        /// The path of the document, in its normal form.
        path: String,
        /// What is rewritten, in the base text; empty for an insertion.
        range: Range<Utf16Offset>,
    },
}

/// What readers of old and new texts recognize.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum BlockToken {
    /// Text beside the edits, in pieces.
    Prose(String),
    /// An old text is complete; its new text follows.
    Replace {
        /// The path as written.
        path: String,
        /// The old text.
        old: String,
        /// Whether the format gives whole lines.
        whole_lines: bool,
    },
    /// A file that is written as a whole; its text follows.
    File {
        /// The path as written.
        path: String,
    },
    /// A piece of the new text.
    New(String),
    /// The new text ends.
    End {
        /// Whether its end was there; otherwise the answer broke off.
        complete: bool,
    },
    /// The new text ends with a fence that may also have opened a block in it.
    DoubtfulEnd,
    /// Something the format has no place for.
    Malformed {
        /// The line of the answer, counted from 1.
        line: u32,
        /// What is wrong with it.
        message: String,
    },
}

/// Appends a token, joined with the one before it where both are prose or both new text.
fn push(tokens: &mut Vec<BlockToken>, token: BlockToken) {
    match (tokens.last_mut(), token) {
        (Some(BlockToken::Prose(before)), BlockToken::Prose(text))
        | (Some(BlockToken::New(before)), BlockToken::New(text)) => before.push_str(&text),
        (_, token) => tokens.push(token),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::{BlockToken, push};

    /// All tokens of a text given in pieces of so many characters.
    pub(crate) fn in_pieces<P>(
        mut parser: P,
        text: &str,
        step: usize,
        feed: impl Fn(&mut P, &str) -> Vec<BlockToken>,
        finish: impl Fn(P) -> Vec<BlockToken>,
    ) -> Vec<BlockToken> {
        let mut tokens = Vec::new();
        let characters: Vec<char> = text.chars().collect();
        for piece in characters.chunks(step) {
            for token in feed(&mut parser, &piece.iter().collect::<String>()) {
                push(&mut tokens, token);
            }
        }
        for token in finish(parser) {
            push(&mut tokens, token);
        }
        tokens
    }

    pub(crate) fn replace(path: &str, old: &str, whole_lines: bool) -> BlockToken {
        BlockToken::Replace { path: path.to_owned(), old: old.to_owned(), whole_lines }
    }

    pub(crate) fn new(text: &str) -> BlockToken {
        BlockToken::New(text.to_owned())
    }

    pub(crate) fn prose(text: &str) -> BlockToken {
        BlockToken::Prose(text.to_owned())
    }

    pub(crate) const DONE: BlockToken = BlockToken::End { complete: true };
    pub(crate) const CUT: BlockToken = BlockToken::End { complete: false };
}
