//! Hunks that are not in the text the model was shown, but in the text as it is now: it may have guessed what
//! somebody would type, or speak of what its own answer wrote.

use ensemble_edit::{FoundIn, Mapping, MissReason, Missed, TextIndex, place};

use super::Applier;
use crate::context;

/// Hunks of a turn that are looked for so; each costs a reading of the whole text, and an answer that misses more
/// has misunderstood the document.
const LOOKED_FOR: usize = 100;

impl Applier {
    /// Looks for a missed hunk in the text as it is now, and takes its edits if it stands there in one place.
    /// Answers whether it did.
    pub(super) async fn place_now(&mut self, missed: &Missed) -> bool {
        let (MissReason::NotFound, Some(text)) = (missed.miss.reason, &missed.text) else { return false };
        let Some(&at) = self.paths.get(&*missed.path) else { return false };
        if self.looked_for_now >= LOOKED_FOR {
            return false;
        }
        self.looked_for_now += 1;
        let document = self.writers[at].document;
        let read = tokio::select! {
            biased;
            () = self.job.stop.cancelled() => return false,
            read = context::read_room(&self.job.rooms, document) => read,
        };
        let Ok((_, now)) = read else { return false };
        let shown = self.writers[at].shown().base;
        let (base, current) = (TextIndex::new(shown.text.clone()), TextIndex::new(now.text.clone()));
        // What is in the base text was refused there for another reason than not being in it, which holds.
        let placed = match place(text, &missed.path, &base, &Mapping::default(), &current) {
            Ok(placed) if placed.found_in == FoundIn::Current => placed,
            _ => return false,
        };
        if placed.edits.is_empty() {
            return false;
        }
        let hunk = self.number(missed.hunk);
        self.writer_of.insert(hunk, at);
        self.writers[at].push_now(hunk, &now, &current, placed.edits);
        true
    }
}
