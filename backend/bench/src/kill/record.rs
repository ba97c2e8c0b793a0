//! What was typed, what of it was acknowledged, and what a text says about both.

use std::collections::{BTreeMap, BTreeSet};

/// What one person did, one edit at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Edit {
    /// Typed the token with this number.
    Insert(u32),
    /// Deleted it again.
    Delete(u32),
}

/// What one person did in all.
#[derive(Debug, Clone, Default)]
pub(crate) struct Record {
    /// Whose it is.
    pub(crate) person: usize,
    /// Everything that was done.
    pub(crate) made: BTreeSet<Edit>,
    /// What of it was acknowledged.
    pub(crate) acknowledged: BTreeSet<Edit>,
    /// What the person's copy still has and nobody acknowledged; gone with a lost laptop.
    pub(crate) unsaved: BTreeSet<Edit>,
}

/// The token a person types: nothing in it occurs elsewhere, so that it is found whole or not at all.
pub(crate) fn token(person: usize, number: u32) -> String {
    format!("⟨c{person}:{number}⟩")
}

/// UTF-16 units of a token.
pub(crate) fn token_units((person, number): (usize, u32)) -> u32 {
    let digits = |number: u64| number.checked_ilog10().unwrap_or(0) + 1;
    // Two brackets, `c` and `:`, one unit each.
    4 + digits(person as u64) + digits(u64::from(number))
}

/// The tokens of a text in order, and what is left between them.
pub(crate) fn tokens(text: &str) -> (Vec<(usize, u32)>, String) {
    let (mut found, mut left) = (Vec::new(), String::new());
    let mut rest = text;
    while let Some(start) = rest.find("⟨c") {
        let (before, from) = rest.split_at(start);
        left.push_str(before);
        let parsed = from.find('⟩').and_then(|end| {
            let (person, number) = from["⟨c".len()..end].split_once(':')?;
            Some(((person.parse().ok()?, number.parse().ok()?), end + '⟩'.len_utf8()))
        });
        if let Some((token, length)) = parsed {
            found.push(token);
            rest = &from[length..];
        } else {
            left.push('⟨');
            rest = &from['⟨'.len_utf8()..];
        }
    }
    left.push_str(rest);
    (found, left)
}

/// What became of everybody's edits.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct Verdict {
    /// Edits made.
    pub(crate) made: usize,
    /// Edits acknowledged.
    pub(crate) acknowledged: usize,
    /// Acknowledged tokens that are not there.
    pub(crate) lost: usize,
    /// Tokens that are there more than once, or that nobody typed.
    pub(crate) doubled: usize,
    /// Tokens that are there though their deletion was acknowledged.
    pub(crate) undead: usize,
    /// Whether something stands between the tokens.
    pub(crate) torn: bool,
    /// Some of what is wrong, for a person.
    pub(crate) examples: Vec<String>,
}

/// How many examples are given.
const EXAMPLES: usize = 10;

impl Verdict {
    /// Whether anything is wrong.
    pub(crate) const fn is_failure(&self) -> bool {
        self.lost + self.doubled + self.undead > 0 || self.torn
    }

    fn example(&mut self, text: impl FnOnce() -> String) {
        if self.examples.len() < EXAMPLES {
            self.examples.push(text());
        }
    }
}

/// Holds a text against the records of everybody who wrote in it.
pub(crate) fn judge(text: &str, records: &[Record]) -> Verdict {
    let mut verdict = Verdict::default();
    let (found, left) = tokens(text);
    if !left.is_empty() {
        verdict.torn = true;
        verdict.example(|| format!("torn: {:?}", left.chars().take(80).collect::<String>()));
    }
    let mut counts: BTreeMap<(usize, u32), usize> = BTreeMap::new();
    for token in found {
        *counts.entry(token).or_default() += 1;
    }
    for record in records {
        let person = record.person;
        verdict.made += record.made.len();
        verdict.acknowledged += record.acknowledged.len();
        for edit in &record.made {
            let Edit::Insert(number) = *edit else { continue };
            let count = counts.remove(&(person, number)).unwrap_or(0);
            let saved = record.acknowledged.contains(edit);
            let deleted = Edit::Delete(number);
            if count > 1 {
                verdict.doubled += 1;
                verdict.example(|| format!("{} is there {count} times", token(person, number)));
            }
            if record.acknowledged.contains(&deleted) && count > 0 {
                verdict.undead += 1;
                verdict.example(|| format!("{} was deleted and is there", token(person, number)));
            }
            if saved && !record.made.contains(&deleted) && count == 0 {
                verdict.lost += 1;
                verdict.example(|| format!("{} was acknowledged and is gone", token(person, number)));
            }
        }
    }
    for ((person, number), _) in counts {
        verdict.doubled += 1;
        verdict.example(|| format!("{} was typed by nobody", token(person, number)));
    }
    verdict
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(made: &[Edit], acknowledged: &[Edit]) -> Record {
        Record {
            person: 0,
            made: made.iter().copied().collect(),
            acknowledged: acknowledged.iter().copied().collect(),
            unsaved: BTreeSet::new(),
        }
    }

    #[test]
    fn a_text_is_taken_apart_into_tokens() {
        let text = format!("{}{}", token(0, 1), token(12, 345));
        assert_eq!(tokens(&text), (vec![(0, 1), (12, 345)], String::new()));
        assert_eq!(tokens("⟨c0:⟨c1:2⟩1⟩").1, "⟨c0:1⟩", "a torn token is seen");
    }

    #[test]
    fn the_units_of_a_token_are_those_of_its_text() {
        for (person, number) in [(0, 1), (9, 10), (10, 99), (123, 4567)] {
            let units = token(person, number).encode_utf16().count();
            assert_eq!(token_units((person, number)) as usize, units);
        }
    }

    #[test]
    fn losses_and_doublings_are_seen() {
        use Edit::{Delete, Insert};
        let all = [Insert(1), Insert(2), Insert(3), Delete(3), Insert(4)];
        let records = [record(&all, &[Insert(1), Insert(3), Delete(3)])];
        let text = |numbers: &[u32]| numbers.iter().map(|number| token(0, *number)).collect::<String>();
        let counts = |numbers: &[u32]| {
            let verdict = judge(&text(numbers), &records);
            (verdict.lost, verdict.doubled, verdict.undead)
        };
        assert_eq!(counts(&[1]), (0, 0, 0), "what was not acknowledged may be gone");
        assert_eq!(counts(&[4, 2, 1]), (0, 0, 0), "or may have survived");
        assert_eq!(counts(&[2]), (1, 0, 0));
        assert_eq!(counts(&[1, 1, 3]), (0, 1, 1));
        assert_eq!(counts(&[1, 9]), (0, 1, 0));
        assert!(judge("x", &[]).is_failure());
    }
}
