//! The second try: hunks that were missed for reasons the model can mend are asked for once more.
//!
//! The first answer is over and all of it is written by then. The documents concerned are read again, and from
//! there on their texts as they are now are what positions refer to. Nothing but what was missed is wanted: the
//! other documents cannot be changed, and none is made, deleted or moved.

use ensemble_edit::Miss;
use ensemble_model::{EventStream, InputItem};
use ensemble_protocol::id::{DocumentId, HunkId};
use ensemble_sync::anchor::BaseText;
use ensemble_sync::registry::RoomRegistry;
use futures_util::stream::StreamExt as _;
use tokio::time::{Instant, sleep_until};
use tracing::Instrument as _;

use super::writer::DocumentWriter;
use super::{Applier, End, Try};
use crate::context::{self, Again, Shown, Unfit};

/// Why a hunk of the second answer is missed that nobody asked for.
pub(super) const NOT_ASKED_AGAIN: &str = "only what had been missed was asked for again";
/// What is added to the reason of a hunk that was asked for again.
const ASKED_AGAIN: &str = "the model was asked for this once more";

impl Applier {
    /// Asks once more for what was missed, and applies the answer. Answers with how that ended, or with nothing
    /// where there was nothing to ask for or nobody to ask: then what the first answer did stands.
    pub(super) async fn try_again(&mut self) -> Option<End> {
        let unfit = std::mem::take(&mut self.unfit);
        let output = std::mem::take(&mut self.output);
        if unfit.is_empty() {
            return None;
        }
        let concerned: Vec<Shown> = self
            .writers
            .iter()
            .filter(|writer| unfit.iter().any(|unfit| unfit.document == writer.document))
            .map(DocumentWriter::shown)
            .collect();
        let documents = tokio::select! {
            biased;
            () = self.job.stop.cancelled() => return Some(End::Interrupted),
            documents = read_again(&self.job.rooms, concerned) => documents,
        };
        let unfit: Vec<Unfit> = unfit
            .into_iter()
            .filter(|unfit| documents.iter().any(|(shown, _)| shown.document == unfit.document))
            .collect();
        if unfit.is_empty() {
            return None;
        }
        let events = match self.call_again(&unfit, output, &documents).await {
            Ok(events) => events,
            Err(end) => return end,
        };
        tracing::debug!("asked again for {} hunks", unfit.len());
        let texts = documents.into_iter().map(|(shown, _)| shown).collect::<Vec<_>>();
        self.begin_again(&texts);
        let end = self.attempt(events).await;
        for hunk in unfit.iter().map(|unfit| unfit.hunk) {
            self.say_asked_again(hunk);
        }
        Some(end)
    }

    /// Calls the model. What is under way goes on meanwhile.
    async fn call_again(
        &mut self,
        unfit: &[Unfit],
        output: Vec<InputItem>,
        documents: &[(Shown, BaseText)],
    ) -> Result<EventStream, Option<End>> {
        let job = &self.job;
        let asked = job.asked.clone();
        let request = context::request_again(Again {
            first: &asked.request,
            output,
            unfit,
            documents,
            prompt: &asked.prompt,
            open: asked.open,
            selection: asked.selection.as_ref(),
            capability: asked.provider.capability(),
        });
        let Some(request) = request else {
            tracing::debug!("what was missed does not fit into the model's window a second time");
            return Err(None);
        };
        let provider = asked.provider.clone();
        let stop = job.stop.clone();
        let call = async move { provider.call(request, stop).await };
        let mut call = Box::pin(call.instrument(tracing::info_span!("call")));
        loop {
            self.flush(Instant::now());
            let wake = self.next_due();
            tokio::select! {
                biased;
                () = self.job.stop.cancelled() => return Err(Some(End::Interrupted)),
                Some(finished) = self.under_way.next(), if !self.under_way.is_empty() => self.finished(finished),
                () = sleep_until(wake.unwrap_or_else(Instant::now)), if wake.is_some() => {}
                called = &mut call => return called.map_err(|error| {
                    // The first answer stands: a turn does not fail by what it would have been asked besides.
                    tracing::warn!(error = &error as &dyn std::error::Error, "the model was not asked again");
                    None
                }),
            }
        }
    }

    /// From here on positions are those of the texts as they are now, and hunks are numbered on.
    fn begin_again(&mut self, documents: &[Shown]) {
        for shown in documents {
            if let Some(writer) = self.writers.iter_mut().find(|writer| writer.document == shown.document) {
                writer.begin_again(shown.room.clone(), shown.base.clone());
            }
        }
        self.stream = Some(self.job.answering.stream(context::texts(documents)));
        self.first_hunk += self.hunks_of_answer;
        self.which = Try::SecondInSilence;
        self.inputs.clear();
        self.source = None;
        self.ends_line = true;
        self.malformed = None;
        self.said_bytes = 0;
    }

    /// A hunk that was missed once the model could be asked for it again.
    pub(super) fn note_unfit(&mut self, hunk: HunkId, document: Option<DocumentId>, miss: &Miss) {
        if self.which == Try::First
            && self.job.answering.can_be_repeated()
            && context::can_be_mended(miss.reason)
            && let Some(document) = document
            && self.writers.iter().any(|writer| writer.document == document)
        {
            self.unfit.push(Unfit { hunk, document, miss: miss.clone() });
        }
    }

    fn say_asked_again(&mut self, hunk: HunkId) {
        let Some(reason) = self.hunks.reason(hunk) else { return };
        let reason = match reason.strip_suffix('.') {
            Some(sentence) => format!("{sentence}; {ASKED_AGAIN}."),
            None => format!("{reason}; {ASKED_AGAIN}"),
        };
        self.hunks.remark(hunk, &reason);
    }
}

/// Documents as they are now, each with the text the model was shown before. Those that are gone meanwhile are
/// left out.
async fn read_again(rooms: &RoomRegistry, documents: Vec<Shown>) -> Vec<(Shown, BaseText)> {
    let mut read = Vec::with_capacity(documents.len());
    for before in documents {
        if let Ok((room, base)) = context::read_room(rooms, before.document).await {
            read.push((Shown { room, base, ..before.clone() }, before.base));
        }
    }
    read
}
