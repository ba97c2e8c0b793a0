//! Names of people and projects, and people's colours.

use ensemble_protocol::error::ErrorCode;
use ensemble_protocol::limits;
use ensemble_store::Ids;

use crate::error::ApiError;

/// Colours of people: apart from each other, and readable as a caret and a label on light and on dark.
const COLORS: [&str; 12] = [
    "#d9480f", "#2f9e44", "#1c7ed6", "#ae3ec9", "#c2255c", "#0c8599", "#7048e8", "#e67700", "#087f5b",
    "#4263eb", "#a61e4d", "#5c940d",
];

const ADJECTIVES: [&str; 20] = [
    "Amber", "Brave", "Calm", "Clever", "Curious", "Eager", "Gentle", "Golden", "Happy", "Kind", "Lively",
    "Lucky", "Merry", "Nimble", "Patient", "Quick", "Quiet", "Silver", "Sunny", "Witty",
];
const ANIMALS: [&str; 20] = [
    "Badger", "Crane", "Dolphin", "Falcon", "Finch", "Fox", "Hare", "Heron", "Ibis", "Koala", "Lark", "Lynx",
    "Marten", "Otter", "Owl", "Panda", "Raven", "Robin", "Seal", "Swift",
];

/// A colour for somebody new.
pub(super) fn color(ids: &dyn Ids) -> String {
    COLORS[(ids.random_u64() % COLORS.len() as u64) as usize].into()
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
    fn made_up_names_are_valid() {
        let ids = SeededIds::new(1);
        for _ in 0..50 {
            assert!(check(&guest(&ids), "the name").is_ok());
            assert!(color(&ids).starts_with('#'));
        }
    }
}
