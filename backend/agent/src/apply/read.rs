//! The model's events, one at a time: text and tool input go to the patch stream, the end says how it ended.

use ensemble_edit::EditStream;
use ensemble_model::{DoneReason, ModelError, ModelEvent, Usage};
use ensemble_protocol::limits;
use ensemble_store::TurnError;

use super::{Applier, End, Source, Try, failed};

impl Applier {
    pub(super) async fn model_said(&mut self, event: ModelEvent) -> Option<End> {
        self.said_bytes += self.bytes_of(&event);
        if self.said_bytes > limits::ANSWER_BYTES {
            let most = limits::ANSWER_BYTES / (1024 * 1024);
            return Some(End::Failed(TurnError {
                code: "answer_too_long".into(),
                detail: format!("the answer was longer than {most} MiB and was cut off"),
            }));
        }
        match event {
            ModelEvent::Started { response_id } => {
                tracing::debug!(call.id = %response_id, "the model answers");
            }
            ModelEvent::TextDelta(text) if self.job.answering.is_in_text() => {
                self.feed(Source::Text, &text).await;
            }
            ModelEvent::TextDelta(text) => self.say(&text),
            ModelEvent::ToolBegin { item, name, .. } => {
                if self.job.answering.tool() == Some(name.as_str()) {
                    self.inputs.insert(item, String::new());
                } else {
                    tracing::debug!("the model called a tool it was not given");
                }
            }
            ModelEvent::ToolInputDelta { item, delta } => {
                if let Some(input) = self.inputs.get_mut(&item) {
                    input.push_str(&delta);
                    self.feed(Source::Tool(item), &delta).await;
                }
            }
            ModelEvent::ToolEnd { item, input } => {
                if let Some(taken) = self.inputs.remove(&item) {
                    if let Some(rest) = input.strip_prefix(taken.as_str()) {
                        self.feed(Source::Tool(item), rest).await;
                    } else {
                        // What was taken may be in a document already, and every hunk of it was checked.
                        tracing::warn!("a tool's whole input differs from its pieces");
                    }
                    self.end_line().await;
                    self.end_call().await;
                }
            }
            ModelEvent::ReasoningDelta(_) => {}
            ModelEvent::Usage(usage) => self.usage = Some(sum(self.usage, usage)),
            ModelEvent::Done { reason, output } => {
                self.output = output;
                return Some(match reason {
                    DoneReason::Completed => End::Done,
                    DoneReason::Length => End::Failed(TurnError {
                        code: "answer_too_long".into(),
                        detail: "the answer reached the model's limit and was cut off".into(),
                    }),
                    DoneReason::Filtered => End::Failed(TurnError {
                        code: "answer_filtered".into(),
                        detail: "the model's provider stopped the answer".into(),
                    }),
                    DoneReason::Other => End::Failed(TurnError {
                        code: "answer_incomplete".into(),
                        detail: "the model ended its answer early".into(),
                    }),
                });
            }
            ModelEvent::Failed(ModelError::Interrupted) => return Some(End::Interrupted),
            ModelEvent::Failed(error) => return Some(failed(&error)),
        }
        None
    }

    /// What an event adds to the answer: at least a byte, so that a stream of empty ones ends as well.
    fn bytes_of(&self, event: &ModelEvent) -> usize {
        let bytes = match event {
            ModelEvent::TextDelta(text) | ModelEvent::ReasoningDelta(text) => text.len(),
            ModelEvent::ToolInputDelta { delta, .. } => delta.len(),
            // It says again what came in pieces.
            ModelEvent::ToolEnd { item, input } => {
                input.len().saturating_sub(self.inputs.get(item).map_or(0, String::len))
            }
            _ => 0,
        };
        bytes.max(1)
    }

    /// Gives text to the patch stream. Outputs of the model stand on lines of their own there.
    async fn feed(&mut self, source: Source, text: &str) {
        if text.is_empty() {
            return;
        }
        if self.source.replace(source) != Some(source) {
            self.end_line().await;
        }
        self.ends_line = text.ends_with('\n');
        self.push(text).await;
    }

    async fn end_line(&mut self) {
        if !self.ends_line {
            self.ends_line = true;
            self.push("\n").await;
        }
    }

    async fn push(&mut self, text: &str) {
        let events = self.stream.as_mut().map(|stream| stream.push(text)).unwrap_or_default();
        for event in events {
            self.handle(event).await;
        }
    }

    /// Tells the stream that a tool call is over, so that the next one is read by itself.
    async fn end_call(&mut self) {
        let events = self.stream.as_mut().map(EditStream::end_call).unwrap_or_default();
        for event in events {
            self.handle(event).await;
        }
    }

    /// Adds to the answer, as far as it is kept.
    pub(super) fn say(&mut self, text: &str) {
        if self.which == Try::SecondInSilence && !text.trim().is_empty() {
            self.which = Try::Second;
            let ended = self.answer.trim_end().len().max(self.told);
            self.answer.truncate(ended);
            if !self.answer.is_empty() {
                self.say("\n\n");
            }
            return self.say(text.trim_start());
        }
        let text = if self.answer.is_empty() { text.trim_start() } else { text };
        let left = limits::ANSWER_CHARS - self.answer_chars;
        let kept: String = text.chars().take(left).collect();
        self.answer_chars += kept.chars().count();
        self.answer.push_str(&kept);
    }
}

/// What two calls of a turn used together.
fn sum(first: Option<Usage>, second: Usage) -> Usage {
    let Some(first) = first else { return second };
    Usage {
        input_tokens: first.input_tokens + second.input_tokens,
        cached_input_tokens: first.cached_input_tokens + second.cached_input_tokens,
        output_tokens: first.output_tokens + second.output_tokens,
        reasoning_tokens: first.reasoning_tokens + second.reasoning_tokens,
    }
}
