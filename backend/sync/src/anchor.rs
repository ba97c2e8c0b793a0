//! Places that survive other people's typing.
//!
//! Every UTF-16 unit ever inserted has an id: the client that inserted it and its number there.
//! A place is named by the unit before it, so it stays where it is whatever is typed or deleted around it.
//! A [`BaseText`] is a text together with the ids of its units: what a model was shown.
//! A position in it can be found again in any later version.

use std::sync::Arc;

use ensemble_edit::position::Utf16Offset;
use ensemble_protocol::id::Version;
use serde_json::{Value, json};

/// The name of the one root of a text document.
pub const CONTENT: &str = "content";

/// The id of one UTF-16 unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Unit {
    /// Who inserted it.
    pub client: u64,
    /// Its number among that client's units.
    pub clock: u32,
}

/// Consecutive units of one client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UnitRange {
    /// Who inserted them.
    pub client: u64,
    /// Number of the first.
    pub clock: u32,
    /// How many.
    pub length: u32,
}

impl UnitRange {
    /// The number after the last.
    pub const fn end(&self) -> u32 {
        self.clock + self.length
    }

    /// The last unit; the range is never empty.
    pub const fn last(&self) -> Unit {
        Unit { client: self.client, clock: self.clock + self.length - 1 }
    }

    /// The first unit.
    pub const fn first(&self) -> Unit {
        Unit { client: self.client, clock: self.clock }
    }
}

/// A place between two units.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Anchor {
    /// Before everything.
    Start,
    /// Right after this unit, also when it is deleted.
    After(Unit),
}

impl Anchor {
    /// The place as a Yjs relative position in JSON, for browsers.
    pub fn to_relative_position(self) -> Value {
        match self {
            Self::Start => json!({ "tname": CONTENT, "assoc": -1 }),
            Self::After(unit) => {
                // An item says which text it is in, and this travels with every step of an agent's cursor.
                json!({ "item": { "client": unit.client, "clock": unit.clock }, "assoc": -1 })
            }
        }
    }
}

/// A relative position as a browser writes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RelativePosition {
    /// The start of the text.
    Start,
    /// The end of the text.
    End,
    /// Right before this unit.
    Before(Unit),
    /// Right after this unit.
    After(Unit),
}

impl RelativePosition {
    /// Reads the JSON form; `None` when it is none, or of another root.
    pub fn from_json(value: &Value) -> Option<Self> {
        let object = value.as_object()?;
        if object.get("tname").is_some_and(|name| !name.is_null() && name != CONTENT) {
            return None;
        }
        let backwards = object.get("assoc").and_then(Value::as_i64).unwrap_or(0) < 0;
        match object.get("item") {
            None | Some(Value::Null) => Some(if backwards { Self::Start } else { Self::End }),
            Some(item) => {
                let unit = Unit {
                    client: item.get("client")?.as_u64()?,
                    clock: u32::try_from(item.get("clock")?.as_u64()?).ok()?,
                };
                Some(if backwards { Self::After(unit) } else { Self::Before(unit) })
            }
        }
    }
}

/// Visible units that stand together in a text and are consecutive in their client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BaseRun {
    /// Offset of the first in the text.
    pub offset: u32,
    /// The units.
    pub units: UnitRange,
}

/// A text at a version, with the ids of its units.
#[derive(Debug, Clone)]
pub struct BaseText {
    /// The text is exactly the log up to here.
    pub version: Version,
    /// The text.
    pub text: Arc<str>,
    /// Its units, in order, without gaps.
    pub runs: Arc<[BaseRun]>,
}

impl BaseText {
    /// UTF-16 units of the text.
    pub fn len(&self) -> u32 {
        self.runs.last().map_or(0, |run| run.offset + run.units.length)
    }

    /// Whether the text is empty.
    pub fn is_empty(&self) -> bool {
        self.runs.is_empty()
    }

    /// The place right after the unit before this offset; past the end is the end.
    pub fn anchor(&self, offset: Utf16Offset) -> Anchor {
        let offset = offset.0.min(self.len());
        if offset == 0 {
            return Anchor::Start;
        }
        let last = offset - 1;
        let at = self.runs.partition_point(|run| run.offset + run.units.length <= last);
        let run = self.runs[at];
        Anchor::After(Unit { client: run.units.client, clock: run.units.clock + (last - run.offset) })
    }

    /// The units in this stretch of the text.
    pub fn units(&self, range: std::ops::Range<Utf16Offset>) -> Vec<UnitRange> {
        let (start, end) = (range.start.0, range.end.0.min(self.len()));
        let mut found = Vec::new();
        let first = self.runs.partition_point(|run| run.offset + run.units.length <= start);
        for run in &self.runs[first..] {
            if run.offset >= end || start >= end {
                break;
            }
            let from = start.max(run.offset);
            let to = end.min(run.offset + run.units.length);
            found.push(UnitRange {
                client: run.units.client,
                clock: run.units.clock + (from - run.offset),
                length: to - from,
            });
        }
        found
    }

    /// Where this unit is in the text, if it is.
    pub fn offset_of(&self, unit: Unit) -> Option<u32> {
        self.runs
            .iter()
            .find(|run| {
                run.units.client == unit.client && (run.units.clock..run.units.end()).contains(&unit.clock)
            })
            .map(|run| run.offset + (unit.clock - run.units.clock))
    }

    /// Where a browser's relative position is in the text; of a unit that is not in it, none.
    pub fn resolve(&self, position: RelativePosition) -> Option<u32> {
        match position {
            RelativePosition::Start => Some(0),
            RelativePosition::End => Some(self.len()),
            RelativePosition::Before(unit) => self.offset_of(unit),
            RelativePosition::After(unit) => self.offset_of(unit).map(|offset| offset + 1),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(client: u64, clock: u32, length: u32) -> UnitRange {
        UnitRange { client, clock, length }
    }

    fn base() -> BaseText {
        // "abXYcd": client 1 typed "abcd", client 2 put "XY" (its units 5 and 6) into it.
        BaseText {
            version: Version { epoch: 1, seq: 3 },
            text: "abXYcd".into(),
            runs: Arc::new([
                BaseRun { offset: 0, units: range(1, 0, 2) },
                BaseRun { offset: 2, units: range(2, 5, 2) },
                BaseRun { offset: 4, units: range(1, 2, 2) },
            ]),
        }
    }

    #[test]
    fn a_place_is_named_by_the_unit_before_it() {
        let base = base();
        assert_eq!(base.anchor(Utf16Offset(0)), Anchor::Start);
        assert_eq!(base.anchor(Utf16Offset(2)), Anchor::After(Unit { client: 1, clock: 1 }));
        assert_eq!(base.anchor(Utf16Offset(3)), Anchor::After(Unit { client: 2, clock: 5 }));
        assert_eq!(base.anchor(Utf16Offset(6)), Anchor::After(Unit { client: 1, clock: 3 }));
        assert_eq!(base.anchor(Utf16Offset(99)), Anchor::After(Unit { client: 1, clock: 3 }));
    }

    #[test]
    fn a_stretch_is_cut_into_units_by_client() {
        let base = base();
        assert_eq!(
            base.units(Utf16Offset(1)..Utf16Offset(5)),
            [range(1, 1, 1), range(2, 5, 2), range(1, 2, 1)]
        );
        assert!(base.units(Utf16Offset(3)..Utf16Offset(3)).is_empty());
        assert_eq!(base.offset_of(Unit { client: 2, clock: 6 }), Some(3));
        assert_eq!(base.offset_of(Unit { client: 2, clock: 7 }), None);
    }

    #[test]
    fn relative_positions_are_read_as_yjs_writes_them() {
        let before =
            json!({ "type": null, "tname": "content", "item": { "client": 2, "clock": 5 }, "assoc": 0 });
        let position = RelativePosition::from_json(&before).unwrap();
        assert_eq!(base().resolve(position), Some(2));
        let end = RelativePosition::from_json(&json!({ "tname": "content", "assoc": 0 })).unwrap();
        assert_eq!(base().resolve(end), Some(6));
        let written = Anchor::After(Unit { client: 2, clock: 6 }).to_relative_position();
        assert_eq!(
            RelativePosition::from_json(&written).and_then(|position| base().resolve(position)),
            Some(4)
        );
        assert_eq!(RelativePosition::from_json(&json!({ "tname": "other" })), None);
        assert_eq!(RelativePosition::from_json(&json!(3)), None);
    }
}
