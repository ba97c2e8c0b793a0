//! A model's answer while it arrives, as edits that are settled: nothing emitted is ever a guess.
//!
//! All positions are those of the base text, the version the model was shown. A hunk of a patch that begins
//! with lines that can stand in one place only is written while it streams; a later line that contradicts
//! takes the whole hunk back. Every other hunk of a patch waits for its end, and is written when exactly one
//! place fits. An old text is looked for when it is complete, and its new text is written while it streams;
//! a text written anew is compared line by line, and what it has not reached yet stays until its end.
//!
//! How a writer applies the events: deletions take effect once; insertions at the same position follow each
//! other in the order of the events, also across hunks. [`PatchedText`](crate::replay::PatchedText) is such
//! a writer for a text nobody else edits.

mod block;
mod engine;
mod event;
mod file;
mod open_hunk;
mod whole;
mod writer;

use std::sync::Arc;

use crate::format::{BlockParser, BlockToken, Format, RewriteParser, ToolParser, UnifiedParser};
use crate::patch::Mode;
use crate::patch::parser::PatchParser;
pub(crate) use engine::Early;
use engine::Engine;
pub use event::{PatchEvent, Summary};
pub use file::Lookup;

/// The state machine from a model's text to settled edits, in any [`Format`].
///
/// ```
/// use ensemble_edit::{EditStream, Format, Mode, PatchEvent};
///
/// let lookup = |path: &str| (path == "a.txt").then(|| "one\ntwo\n".into());
/// let mut stream = EditStream::new(Format::Patch(Mode::Unique), lookup);
/// let events = stream.push("*** Begin Patch\n*** Update File: a.txt\n one\n+one and a half\n");
/// let Some(PatchEvent::Edit { insert_at, insert, .. }) = events.last() else { panic!() };
/// assert_eq!((insert_at.0, insert.as_str()), (4, "one and a half\n"));
/// ```
#[derive(Debug)]
pub struct EditStream {
    reader: Reader,
    engine: Engine,
}

/// What reads the text, by format.
#[derive(Debug)]
enum Reader {
    Patch(PatchParser),
    /// In Codex mode, everything so far: that tool reads a patch as a whole.
    Codex(String),
    Unified(UnifiedParser),
    Blocks(BlockParser),
    Tool(ToolParser),
    Rewrite(RewriteParser),
}

impl EditStream {
    /// A stream at its start. `lookup` gives the base text of a path in its normal form, and is asked once
    /// per path.
    ///
    /// In [`Mode::Codex`] nothing is emitted before [`EditStream::finish`], because there a mistake
    /// anywhere changes nothing; each changed file then comes as one hunk.
    pub fn new(format: Format, lookup: impl FnMut(&str) -> Option<Arc<str>> + Send + 'static) -> Self {
        Self::with_early(format, Early::Allowed, Box::new(lookup))
    }

    pub(crate) fn with_early(format: Format, early: Early, lookup: Lookup) -> Self {
        let mut engine = Engine::new(early, lookup);
        let reader = match format {
            Format::Patch(Mode::Unique) => Reader::Patch(PatchParser::new()),
            Format::Patch(Mode::Codex) => Reader::Codex(String::new()),
            Format::UnifiedDiff => Reader::Unified(UnifiedParser::new()),
            Format::Blocks => Reader::Blocks(BlockParser::replacements()),
            Format::Files => Reader::Blocks(BlockParser::files()),
            Format::Tool => Reader::Tool(ToolParser::new()),
            Format::Document { path } => {
                engine.block_tokens(vec![BlockToken::File { path }]);
                Reader::Rewrite(RewriteParser::new(engine.starts_fenced(), engine.rewritten_fences()))
            }
            Format::Region { path, range } => {
                engine.begin_region(&path, &range);
                Reader::Rewrite(RewriteParser::new(engine.starts_fenced(), engine.rewritten_fences()))
            }
        };
        Self { reader, engine }
    }

    /// Takes more of the model's text and returns what it settled.
    pub fn push(&mut self, text: &str) -> Vec<PatchEvent> {
        match &mut self.reader {
            Reader::Patch(parser) => self.engine.tokens(parser.feed(text)),
            Reader::Codex(whole) => whole.push_str(text),
            Reader::Unified(parser) => self.engine.tokens(parser.feed(text)),
            Reader::Blocks(parser) => {
                for piece in text.split_inclusive('\n') {
                    let tokens = parser.feed(piece, &mut |path| self.engine.own_fences(path));
                    self.engine.block_tokens(tokens);
                }
            }
            Reader::Tool(parser) => self.engine.block_tokens(parser.feed(text)),
            Reader::Rewrite(parser) => self.engine.block_tokens(parser.feed(text)),
        }
        std::mem::take(&mut self.engine.events)
    }

    /// Takes the end of one tool call, in front of the next one of the same answer.
    ///
    /// The arguments of every call are read by themselves: where those of one are no JSON, the next ones count
    /// all the same. Says nothing in other formats, whose answers are one text.
    pub fn end_call(&mut self) -> Vec<PatchEvent> {
        if let Reader::Tool(parser) = &mut self.reader {
            self.engine.block_tokens(parser.end_call());
        }
        std::mem::take(&mut self.engine.events)
    }

    /// Takes the end of the stream: what is open is closed where that cannot be wrong, and a missing closing
    /// marker of a patch is forgiven.
    pub fn finish(self) -> Vec<PatchEvent> {
        let Self { reader, mut engine } = self;
        match reader {
            Reader::Patch(mut parser) => engine.tokens(parser.finish()),
            Reader::Codex(whole) => engine.finish_codex(&whole),
            Reader::Unified(parser) => engine.tokens(parser.finish()),
            Reader::Blocks(parser) => {
                let tokens = parser.finish(&mut |path| engine.own_fences(path));
                engine.block_tokens(tokens);
            }
            Reader::Tool(parser) => engine.block_tokens(parser.finish()),
            Reader::Rewrite(parser) => engine.block_tokens(parser.finish()),
        }
        engine.finished()
    }

    /// Takes an interruption: what was not settled is dropped, and the hunks this cuts are named.
    pub fn abort(mut self) -> Vec<PatchEvent> {
        self.engine.abort();
        self.engine.finished()
    }
}

/// The events of tokens with old and new texts.
pub(crate) fn edits_of_blocks(tokens: Vec<BlockToken>, lookup: Lookup) -> Vec<PatchEvent> {
    let mut engine = Engine::new(Early::Allowed, lookup);
    engine.block_tokens(tokens);
    engine.finished()
}
