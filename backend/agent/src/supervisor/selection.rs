//! A selection as it arrives, held fast in the text of that moment.

use std::ops::Range;

use ensemble_edit::{TextIndex, Utf16Offset};
use ensemble_protocol::rest::{AnchorSelection, OffsetSelection, Selection};
use ensemble_sync::anchor::{BaseText, RelativePosition};

use crate::context::HeldSelection;
use crate::error::AgentError;

/// Holds a selection fast.
///
/// Refused are offsets of another version than the current one, offsets outside the text or inside a character,
/// and what is no relative position. Relative positions of text that is gone select nothing.
pub(super) fn hold(base: BaseText, selection: &Selection) -> Result<Option<HeldSelection>, AgentError> {
    let range = match selection {
        Selection::Offsets(offsets) => Some(by_offsets(&base, offsets)?),
        Selection::Anchors(anchors) => by_anchors(&base, anchors)?,
    };
    Ok(range.map(|range| HeldSelection { base, range }))
}

fn by_offsets(base: &BaseText, selection: &OffsetSelection) -> Result<Range<u32>, AgentError> {
    if let Some(given) = selection.version.filter(|given| *given != base.version) {
        return Err(AgentError::VersionUnknown { given, current: base.version });
    }
    if selection.start > selection.end {
        return Err(AgentError::BadRequest("the selection ends before it starts".into()));
    }
    let index = TextIndex::new(base.text.clone());
    let is_place = |offset| index.byte_of(Utf16Offset(offset)).is_some();
    if !is_place(selection.start) || !is_place(selection.end) {
        return Err(AgentError::BadRequest("the selection is not within the text".into()));
    }
    Ok(selection.start..selection.end)
}

fn by_anchors(base: &BaseText, selection: &AnchorSelection) -> Result<Option<Range<u32>>, AgentError> {
    let read = |position| {
        RelativePosition::from_json(position)
            .ok_or_else(|| AgentError::BadRequest("an end of the selection is no relative position".into()))
    };
    let anchor = base.resolve(read(&selection.anchor)?);
    let head = base.resolve(read(&selection.head)?);
    Ok(match (anchor, head) {
        (Some(anchor), Some(head)) => Some(anchor.min(head)..anchor.max(head)),
        // One end was deleted meanwhile: what is left is a place.
        (Some(place), None) | (None, Some(place)) => Some(place..place),
        (None, None) => None,
    })
}

#[cfg(test)]
mod tests {
    use ensemble_protocol::error::ErrorCode;
    use ensemble_protocol::id::Version;
    use ensemble_sync::anchor::{BaseRun, UnitRange};
    use serde_json::json;

    use super::*;

    fn base() -> BaseText {
        // "ab😀c", typed by client 7.
        BaseText {
            version: Version { epoch: 1, seq: 4 },
            text: "ab😀c".into(),
            runs: [BaseRun { offset: 0, units: UnitRange { client: 7, clock: 0, length: 5 } }].into(),
        }
    }

    fn held(selection: serde_json::Value) -> Result<Option<Range<u32>>, ErrorCode> {
        let selection = serde_json::from_value(selection).expect("it is a selection");
        hold(base(), &selection).map(|held| held.map(|held| held.range)).map_err(|error| error.code())
    }

    #[test]
    fn offsets_are_of_the_current_version_and_within_the_text() {
        assert_eq!(held(json!({ "start": 1, "end": 4 })), Ok(Some(1..4)));
        assert_eq!(held(json!({ "start": 5, "end": 5, "version": "1.4" })), Ok(Some(5..5)));
        assert_eq!(held(json!({ "start": 1, "end": 2, "version": "1.3" })), Err(ErrorCode::VersionUnknown));
        for (start, end) in [(2, 1), (0, 6), (3, 4), (2, 3)] {
            assert_eq!(
                held(json!({ "start": start, "end": end })),
                Err(ErrorCode::BadRequest),
                "{start}..{end}"
            );
        }
    }

    #[test]
    fn relative_positions_hold_in_either_direction() {
        let at = |clock| json!({ "tname": "content", "item": { "client": 7, "clock": clock }, "assoc": 0 });
        assert_eq!(held(json!({ "anchor": at(1), "head": at(4) })), Ok(Some(1..4)));
        assert_eq!(held(json!({ "anchor": at(4), "head": at(1) })), Ok(Some(1..4)));
        assert_eq!(held(json!({ "anchor": at(4), "head": at(99) })), Ok(Some(4..4)));
        assert_eq!(held(json!({ "anchor": at(98), "head": at(99) })), Ok(None));
        assert_eq!(held(json!({ "anchor": 3, "head": at(1) })), Err(ErrorCode::BadRequest));
    }
}
