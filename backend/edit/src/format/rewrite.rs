//! A text written anew: bare, or in one code fence.

use super::fence::{Behind, FencedText};
use super::{BlockToken, OwnFences, fence_of, push};

#[derive(Debug)]
enum State {
    /// In front of the first line with text.
    Start,
    /// The answer is the text.
    Bare,
    Fenced(FencedText),
    /// Behind the fence.
    Behind,
}

/// The incremental reader.
#[derive(Debug)]
pub(crate) struct RewriteParser {
    state: State,
    /// What is held back until its line is complete.
    partial: String,
    /// Empty lines in front of the first with text.
    blanks: String,
    /// What is known of fences in the text.
    own: Option<OwnFences>,
}

impl RewriteParser {
    /// A reader; `is_bare` says that a fence in the answer belongs to the text, and `own` what is known of
    /// others in it.
    pub(crate) fn new(is_bare: bool, own: Option<OwnFences>) -> Self {
        Self {
            state: if is_bare { State::Bare } else { State::Start },
            partial: String::new(),
            blanks: String::new(),
            own,
        }
    }

    /// Takes more text and returns what it completed.
    pub(crate) fn feed(&mut self, text: &str) -> Vec<BlockToken> {
        let mut tokens = Vec::new();
        for piece in text.split_inclusive('\n') {
            if matches!(self.state, State::Bare) {
                push(&mut tokens, BlockToken::New(piece.to_owned()));
                continue;
            }
            self.partial.push_str(piece);
            if piece.ends_with('\n') {
                self.line(&mut tokens);
            }
        }
        tokens
    }

    /// Takes the end of the text.
    pub(crate) fn finish(mut self) -> Vec<BlockToken> {
        let mut tokens = Vec::new();
        self.line(&mut tokens);
        if matches!(self.state, State::Start) && !self.blanks.is_empty() {
            push(&mut tokens, BlockToken::New(self.blanks));
        }
        match self.state {
            State::Start | State::Bare => push(&mut tokens, BlockToken::End { complete: true }),
            State::Fenced(text) => {
                for line in text.finish(&mut tokens) {
                    push(&mut tokens, BlockToken::Prose(line));
                }
            }
            State::Behind => {}
        }
        tokens
    }

    fn line(&mut self, tokens: &mut Vec<BlockToken>) {
        if self.partial.is_empty() {
            return;
        }
        match &mut self.state {
            State::Start => {
                let line = std::mem::take(&mut self.partial);
                if line.trim().is_empty() {
                    self.blanks.push_str(&line);
                } else if let Some(mark) = fence_of(&line) {
                    self.state = State::Fenced(FencedText::new(mark, self.own.take(), Behind::Prose));
                } else {
                    self.state = State::Bare;
                    push(tokens, BlockToken::New(std::mem::take(&mut self.blanks) + &line));
                }
            }
            State::Bare => push(tokens, BlockToken::New(std::mem::take(&mut self.partial))),
            State::Fenced(text) => {
                let Some(behind) = text.line(std::mem::take(&mut self.partial), tokens) else { return };
                self.state = State::Behind;
                for line in behind {
                    push(tokens, BlockToken::Prose(line));
                }
            }
            State::Behind => push(tokens, BlockToken::Prose(std::mem::take(&mut self.partial))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{CUT, DONE, in_pieces, new, prose};
    use super::*;

    #[test]
    fn a_fence_around_the_text_is_not_a_part_of_it() {
        let table = [
            ("a\nb", false, vec![new("a\nb"), DONE]),
            ("\n  a\n", false, vec![new("\n  a\n"), DONE]),
            ("```rust\na\nb\n```\nDone.", false, vec![new("a\nb\n"), DONE, prose("Done.")]),
            ("\n````md\n```\nx\n```\n````", false, vec![new("```\nx\n```\n"), DONE]),
            ("```md\n# T\n```sh\nls\n```\nx\n```\n", false, vec![new("# T\n```sh\nls\n```\nx\n"), DONE]),
            ("```rust\na\n", false, vec![new("a\n"), CUT]),
            ("```\na\n```\n", true, vec![new("```\na\n```\n"), DONE]),
            ("", false, vec![DONE]),
            ("\n", false, vec![new("\n"), DONE]),
        ];
        for (text, is_bare, expected) in table {
            for step in [1, 2, 3, 1000] {
                let parser = RewriteParser::new(is_bare, None);
                let found = in_pieces(parser, text, step, RewriteParser::feed, RewriteParser::finish);
                assert_eq!(found, expected, "{text:?} by {step}");
            }
        }
    }

    /// [E13] A fence in the text is told from the one behind it by what follows.
    #[test]
    fn fences_in_the_text_do_not_end_it() {
        let doubtful = || BlockToken::DoubtfulEnd;
        let table = [
            ("```md\n# T\n```\nls\n```\nx\n```\n", vec![new("# T\n```\nls\n```\nx\n"), doubtful()]),
            (
                "```md\n```\nnew\n```\n```\nDone.\n",
                vec![new("```\nnew\n```\n"), doubtful(), prose("Done.\n")],
            ),
            (
                "```md\nx\n```\nRun:\n```sh\nls\n```",
                vec![new("x\n"), doubtful(), prose("Run:\n```sh\nls\n```")],
            ),
            ("```md\n```py\ny\n```\n```\n", vec![new("```py\ny\n```\n"), doubtful()]),
            ("```md\n```\nls\n", vec![new("```\nls\n"), CUT]),
        ];
        for (text, expected) in table {
            for step in [1, 2, 3, 1000] {
                let own = OwnFences::of("a.md", "ls\nx\n".lines());
                let parser = RewriteParser::new(false, own);
                let found = in_pieces(parser, text, step, RewriteParser::feed, RewriteParser::finish);
                assert_eq!(found, expected, "{text:?} by {step}");
            }
        }
    }
}
