//! The Responses API over HTTP streaming: one POST per call, events in its body.

use futures_util::StreamExt;
use tokio_util::sync::CancellationToken;

use crate::{
    ModelError, ModelProvider,
    capability::Capability,
    event::{EventStream, ModelEvent},
    http::{Delivery, Endpoint, PostError, RefusedFields, timed_out},
    request::CallRequest,
    responses_wire::{Reading, WireEnd, WireRequest},
    settings::ModelSettings,
    sse::SseParser,
};

/// A provider that posts every call anew. It has no chain: each request carries the whole input.
#[derive(Debug)]
pub(crate) struct ResponsesSse {
    settings: ModelSettings,
    capability: Capability,
    endpoint: Endpoint,
    refused: RefusedFields,
}

impl ResponsesSse {
    pub(crate) fn new(settings: ModelSettings) -> Result<Self, ModelError> {
        Ok(Self {
            capability: settings.capability(),
            endpoint: Endpoint::new(&settings, "responses")?,
            refused: RefusedFields::default(),
            settings,
        })
    }
}

#[async_trait::async_trait]
impl ModelProvider for ResponsesSse {
    fn name(&self) -> &str {
        &self.settings.name
    }

    fn model(&self) -> &str {
        &self.settings.model
    }

    fn capability(&self) -> &Capability {
        &self.capability
    }

    async fn call(&self, request: CallRequest, cancel: CancellationToken) -> Result<EventStream, ModelError> {
        let response = loop {
            let wire =
                WireRequest::new(&request, &self.settings.model, &self.capability, &self.refused.get());
            match self.endpoint.post(&wire.body(), &cancel).await {
                Ok(response) => break response,
                Err(PostError::Refused(failure)) => match failure.unsupported_field() {
                    // The model does not take this field after all: remember it, and ask again without.
                    Some(field) if self.refused.add(field) => {}
                    _ => return Err(failure.into_error()),
                },
                Err(PostError::Model(error)) => return Err(error),
            }
        };
        let (sender, cancel, stream) = EventStream::new(&cancel);
        let limit = self.settings.limits.event_silence;
        tokio::spawn(async move {
            let delivery = Delivery::new(sender, cancel);
            let terminal = follow(response, &delivery, limit).await;
            delivery.send(terminal).await;
        });
        Ok(stream)
    }

    async fn warm(&self) -> Result<(), ModelError> {
        Ok(())
    }
}

/// Reads an answer to its end and returns the terminal event. Dropping the response closes its connection.
async fn follow(response: reqwest::Response, delivery: &Delivery, limit: std::time::Duration) -> ModelEvent {
    let mut body = response.bytes_stream();
    let mut parser = SseParser::default();
    let mut reading = Reading::default();
    let mut texts = Vec::new();
    let mut events = Vec::new();
    let mut deadline = tokio::time::Instant::now() + limit;
    loop {
        let chunk = tokio::select! {
            biased;
            () = delivery.cancel.cancelled() => return ModelEvent::Failed(ModelError::Interrupted),
            () = tokio::time::sleep_until(deadline) => {
                return ModelEvent::Failed(timed_out("answering", limit));
            }
            chunk = body.next() => chunk,
        };
        let over = match chunk {
            Some(Ok(bytes)) => {
                if let Err(error) = parser.feed(&bytes, &mut texts) {
                    return ModelEvent::Failed(error);
                }
                false
            }
            Some(Err(_)) => true,
            None => {
                texts.extend(parser.end());
                true
            }
        };
        let heard = !texts.is_empty();
        for text in texts.drain(..) {
            // Some servers say this after the last event, some before closing without one.
            if text.trim() == "[DONE]" || text.trim().is_empty() {
                continue;
            }
            let end = match reading.take(&text, &mut events) {
                Ok(end) => end,
                Err(error) => return ModelEvent::Failed(error),
            };
            if !delivery.deliver(&mut events).await {
                return ModelEvent::Failed(ModelError::Interrupted);
            }
            match end {
                Some(WireEnd::Done { reason, .. }) => {
                    tracing::trace!(passed_over = reading.passed_over(), "the answer is over");
                    return ModelEvent::Done { reason, output: reading.take_output() };
                }
                Some(WireEnd::Failed(failure)) => return ModelEvent::Failed(failure.into_error()),
                None => {}
            }
        }
        if over {
            return ModelEvent::Failed(if reading.streamed() {
                ModelError::Closed
            } else {
                ModelError::Retryable { reason: "the connection closed before it answered".into() }
            });
        }
        if heard {
            deadline = tokio::time::Instant::now() + limit;
        }
    }
}
