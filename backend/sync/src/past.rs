//! A text as it was at an older version, with the ids of its units.
//!
//! It is made from what is stored, beside the room and not in it: the newest snapshot before the version, and
//! the log from there. Positions in it are ids of units like everywhere, so edits that were made on it find
//! their places in the text of now.

use ensemble_protocol::id::{DocumentId, Version};
use ensemble_protocol::limits;
use ensemble_store::{DocumentKind, LoadedDocument};

use crate::anchor::BaseText;
use crate::document::TextDocument;
use crate::error::RoomError;
use crate::registry::RoomRegistry;

/// The text of a document at a version.
///
/// `None` where the version is unknown: of another epoch, from the future, or so old that more than
/// [`limits::PAST_UPDATES`] updates would have to be read again.
pub async fn text_at(
    registry: &RoomRegistry,
    document: DocumentId,
    version: Version,
) -> Result<Option<BaseText>, RoomError> {
    let store = &registry.options().store;
    let loaded = store.load_version(document, version, limits::PAST_UPDATES).await;
    let loaded = loaded.map_err(|error| RoomError::store(document, error))?;
    let is_live = |loaded: &LoadedDocument| {
        loaded.document.kind == DocumentKind::Text && loaded.document.deleted_at.is_none()
    };
    let Some(loaded) = loaded.filter(is_live) else { return Ok(None) };
    let read = tokio::task::spawn_blocking(move || {
        let mut text = TextDocument::new();
        if let Some(snapshot) = loaded.snapshot {
            text.load(0, &snapshot.bytes)?;
        }
        for update in loaded.updates {
            text.load(update.seq, &update.bytes)?;
        }
        Ok(BaseText { version, text: text.text(), runs: text.index().visible_runs().into() })
    });
    let read: Result<BaseText, crate::document::Unreadable> =
        read.await.map_err(|error| RoomError::Store { document, detail: error.to_string() })?;
    read.map(Some).map_err(|error| RoomError::Store { document, detail: error.to_string() })
}
