//! Names of people and projects, and people's colors.

use ensemble_protocol::error::ErrorCode;
use ensemble_protocol::limits;
use ensemble_store::Ids;

use crate::error::ApiError;

/// Colors of people: readable as a caret and a label on light and on dark, and none like the agent's violet.
const COLORS: [&str; 12] = [
    "#d9480f", "#2f9e44", "#1c7ed6", "#c2255c", "#0c8599", "#e67700", "#087f5b", "#364fc7", "#a61e4d",
    "#5c940d", "#e03131", "#8d5524",
];

const ADJECTIVES: [&str; 20] = [
    "Amber", "Brave", "Calm", "Clever", "Curious", "Eager", "Gentle", "Golden", "Happy", "Kind", "Lively",
    "Lucky", "Merry", "Nimble", "Patient", "Quick", "Quiet", "Silver", "Sunny", "Witty",
];
const ANIMALS: [&str; 20] = [
    "Badger", "Crane", "Dolphin", "Falcon", "Finch", "Fox", "Hare", "Heron", "Ibis", "Koala", "Lark", "Lynx",
    "Marten", "Otter", "Owl", "Panda", "Raven", "Robin", "Seal", "Swift",
];

/// A color for somebody new, as far as can be from those of the others: of those that fewest have, the one whose
/// nearest is farthest away. Where several are as far, any of them.
pub(super) fn color<'a>(ids: &dyn Ids, others: impl Iterator<Item = &'a str>) -> String {
    let mut held = [0_u32; COLORS.len()];
    for other in others {
        if let Some(at) = COLORS.iter().position(|color| *color == other) {
            held[at] += 1;
        }
    }
    let fewest = held.iter().copied().min().unwrap_or_default();
    let nearest = |color: &str| {
        let shown = COLORS.iter().zip(held).filter(|(_, held)| *held > fewest);
        shown.map(|(other, _)| difference(color, other)).min().unwrap_or(u32::MAX)
    };
    let free = COLORS.iter().zip(held).filter(|(_, held)| *held == fewest);
    let rated: Vec<(u32, &str)> = free.map(|(color, _)| (nearest(color), *color)).collect();
    let farthest = rated.iter().map(|(difference, _)| *difference).max().unwrap_or_default();
    let best: Vec<&str> =
        rated.into_iter().filter(|rated| rated.0 == farthest).map(|(_, color)| color).collect();
    best[(ids.random_u64() % best.len() as u64) as usize].into()
}

/// How different two colors look, by the "redmean" weighting of their parts, squared.
fn difference(one: &str, other: &str) -> u32 {
    let part = |color: &str, at: usize| {
        color.get(at..at + 2).and_then(|part| i32::from_str_radix(part, 16).ok()).unwrap_or_default()
    };
    let [red, green, blue] = [1, 3, 5].map(|at| (part(one, at) - part(other, at)).pow(2));
    let mean = i32::midpoint(part(one, 1), part(other, 1));
    ((((512 + mean) * red) >> 8) + 4 * green + (((767 - mean) * blue) >> 8)).unsigned_abs()
}

/// A name for somebody who gave none.
pub(super) fn guest(ids: &dyn Ids) -> String {
    let random = ids.random_u64();
    let adjective = ADJECTIVES[(random % ADJECTIVES.len() as u64) as usize];
    let animal = ANIMALS[((random >> 32) % ANIMALS.len() as u64) as usize];
    format!("{adjective} {animal}")
}

/// Reads a name: trimmed, not empty, short, and without characters that would disturb others' pages.
pub(super) fn check(name: &str, of: &str) -> Result<String, ApiError> {
    let refuse = |why: String| Err(ApiError::new(ErrorCode::BadRequest, why));
    let name = name.trim();
    if name.is_empty() {
        return refuse(format!("{of} is empty"));
    }
    if name.chars().count() > limits::NAME_CHARS {
        return refuse(format!("{of} is longer than {} characters", limits::NAME_CHARS));
    }
    if name.chars().any(is_disturbing) {
        return refuse(format!("{of} contains a control character"));
    }
    Ok(name.to_owned())
}

/// Control characters, and the marks that turn the direction of the text around them.
fn is_disturbing(character: char) -> bool {
    character.is_control()
        || matches!(character, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use ensemble_store::SeededIds;

    use super::*;

    #[test]
    fn names_are_trimmed_and_checked() {
        assert_eq!(check("  Ada Lovelace ", "the name").unwrap(), "Ada Lovelace");
        assert_eq!(check("李雷", "the name").unwrap(), "李雷");
        for name in ["", "   ", "a\nb", "a\u{202e}b", &"x".repeat(81)] {
            assert_eq!(check(name, "the name").unwrap_err().code, ErrorCode::BadRequest, "{name:?}");
        }
    }

    #[test]
    fn people_look_different_as_long_as_there_are_colors() {
        for seed in 0..20 {
            let ids = SeededIds::new(seed);
            let mut held: Vec<String> = Vec::new();
            for number in 0..2 * COLORS.len() {
                let color = color(&ids, held.iter().map(String::as_str));
                let times = held.iter().filter(|other| **other == color).count();
                assert_eq!(times, number / COLORS.len(), "{color} among {held:?}");
                held.push(color);
            }
            // Of two, nobody takes one for the other.
            assert!(difference(&held[0], &held[1]) > 40_000, "{held:?}");
        }
        let clearest = COLORS.map(|color| difference(color, crate::AGENT_COLOR)).into_iter().min();
        assert!(clearest > Some(10_000), "{clearest:?}");
    }

    #[test]
    fn made_up_names_are_valid() {
        let ids = SeededIds::new(1);
        for _ in 0..50 {
            assert!(check(&guest(&ids), "the name").is_ok());
            assert!(color(&ids, std::iter::empty()).starts_with('#'));
        }
    }
}
