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

/// What a document begins with. The agent writes below its second line; whoever types before having it may come
/// to stand above its first.
pub(crate) const HEADER: &str = "Notes\nThe agent writes below this line.\n";

/// Who wrote a token. Nothing in a token occurs elsewhere, so that it is found whole or not at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Writer {
    /// The person with this number.
    Person(usize),
    /// The turn with this number.
    Turn(usize),
}

/// A token: who wrote it, and which of theirs it is.
pub(crate) type Token = (Writer, u32);

/// A token in a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Found {
    /// Which.
    pub(crate) token: Token,
    /// Where it begins, in UTF-16 units.
    pub(crate) start: u32,
    /// Where it ends.
    pub(crate) end: u32,
}

/// A token as it is typed.
pub(crate) fn token((writer, number): Token) -> String {
    match writer {
        Writer::Person(person) => format!("⟨c{person}:{number}⟩"),
        Writer::Turn(turn) => format!("⟨a{turn}:{number}⟩"),
    }
}

fn read_token(text: &str) -> Option<Token> {
    let mut letters = text.chars();
    let kind = letters.next()?;
    let (who, number) = letters.as_str().split_once(':')?;
    let (who, number) = (who.parse().ok()?, number.parse().ok()?);
    match kind {
        'c' => Some((Writer::Person(who), number)),
        'a' => Some((Writer::Turn(who), number)),
        _ => None,
    }
}

/// The tokens of a text in order, and what is left between them.
pub(crate) fn tokens(text: &str) -> (Vec<Found>, String) {
    let units = |text: &str| text.encode_utf16().count() as u32;
    let (mut found, mut left) = (Vec::new(), String::new());
    let (mut rest, mut at) = (text, 0);
    while let Some(start) = rest.find('⟨') {
        let (before, from) = rest.split_at(start);
        left.push_str(before);
        at += units(before);
        let inside = &from['⟨'.len_utf8()..];
        let read =
            inside.split_once('⟩').and_then(|(inside, rest)| Some((read_token(inside)?, inside, rest)));
        if let Some((token, inside, after)) = read {
            let end = at + units(inside) + 2;
            found.push(Found { token, start: at, end });
            (rest, at) = (after, end);
        } else {
            left.push('⟨');
            (rest, at) = (inside, at + 1);
        }
    }
    left.push_str(rest);
    (found, left)
}

/// Where somebody may type: after the header, if it is there, and after each token. A turn's token may be under
/// way, so nobody types into one.
pub(crate) fn places(text: &str, found: &[Found]) -> Vec<u32> {
    let header = text.find(HEADER).map_or(0, |at| text[..at + HEADER.len()].encode_utf16().count() as u32);
    [header].into_iter().chain(found.iter().map(|token| token.end)).collect()
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
    /// Whether something stands between the tokens that nobody wrote there.
    pub(crate) torn: bool,
    /// Tokens of turns.
    pub(crate) of_turns: usize,
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

    /// Adds what became of edits elsewhere.
    pub(crate) fn add(&mut self, other: Self) {
        self.made += other.made;
        self.acknowledged += other.acknowledged;
        self.lost += other.lost;
        self.doubled += other.doubled;
        self.undead += other.undead;
        self.torn |= other.torn;
        self.of_turns += other.of_turns;
        self.examples.extend(other.examples);
        self.examples.truncate(EXAMPLES);
    }

    fn example(&mut self, text: impl FnOnce() -> String) {
        if self.examples.len() < EXAMPLES {
            self.examples.push(text());
        }
    }
}

/// Holds a text against the records of everybody who wrote in it. What a turn wrote may stand between.
pub(crate) fn judge(text: &str, records: &[Record]) -> Verdict {
    let mut verdict = Verdict::default();
    let (found, left) = tokens(text);
    // A turn that was interrupted may have been in the middle of a token.
    let is_turns = |letter: char| letter.is_ascii_digit() || "⟨a:⟩\n".contains(letter);
    let headers = left.matches(HEADER).count();
    if headers != 1 || !left.replacen(HEADER, "", 1).chars().all(is_turns) {
        verdict.torn = true;
        verdict.example(|| format!("torn: {:?}", left.chars().take(80).collect::<String>()));
    }
    let mut counts: BTreeMap<Token, usize> = BTreeMap::new();
    for found in found {
        *counts.entry(found.token).or_default() += 1;
    }
    for record in records {
        let person = Writer::Person(record.person);
        verdict.made += record.made.len();
        verdict.acknowledged += record.acknowledged.len();
        for edit in &record.made {
            let Edit::Insert(number) = *edit else { continue };
            let name = || token((person, number));
            let count = counts.remove(&(person, number)).unwrap_or(0);
            let saved = record.acknowledged.contains(edit);
            let deleted = Edit::Delete(number);
            if count > 1 {
                verdict.doubled += 1;
                verdict.example(|| format!("{} is there {count} times", name()));
            }
            if record.acknowledged.contains(&deleted) && count > 0 {
                verdict.undead += 1;
                verdict.example(|| format!("{} was deleted and is there", name()));
            }
            if saved && !record.made.contains(&deleted) && count == 0 {
                verdict.lost += 1;
                verdict.example(|| format!("{} was acknowledged and is gone", name()));
            }
        }
    }
    for (left, count) in counts {
        match left.0 {
            Writer::Turn(_) if count == 1 => verdict.of_turns += 1,
            Writer::Turn(_) => {
                verdict.doubled += 1;
                verdict.example(|| format!("{} is there {count} times", token(left)));
            }
            Writer::Person(_) => {
                verdict.doubled += 1;
                verdict.example(|| format!("{} was typed by nobody", token(left)));
            }
        }
    }
    verdict
}

/// What of the turns' text stood in one text and does not in another, of a later moment.
pub(crate) fn lost_of_turns(before: &str, after: &str) -> Vec<String> {
    let of_turns = |text: &str| -> BTreeSet<Token> {
        let found = tokens(text).0.into_iter().map(|found| found.token);
        found.filter(|(writer, _)| matches!(writer, Writer::Turn(_))).collect()
    };
    of_turns(before).difference(&of_turns(after)).copied().map(token).collect()
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

    fn person(person: usize, number: u32) -> String {
        token((Writer::Person(person), number))
    }

    #[test]
    fn a_text_is_taken_apart_into_tokens() {
        let text = format!("ä{}{}\n{}", person(0, 1), token((Writer::Turn(3), 2)), person(12, 345));
        let (found, left) = tokens(&text);
        let read: Vec<Token> = found.iter().map(|found| found.token).collect();
        assert_eq!(read, [(Writer::Person(0), 1), (Writer::Turn(3), 2), (Writer::Person(12), 345)]);
        assert_eq!(left, "ä\n");
        let units: Vec<u16> = text.encode_utf16().collect();
        for found in found {
            let there = &units[found.start as usize..found.end as usize];
            assert_eq!(String::from_utf16(there).unwrap(), token(found.token));
        }
        assert_eq!(tokens("⟨c0:⟨c1:2⟩1⟩").1, "⟨c0:1⟩", "a torn token is seen");
        assert_eq!(tokens("⟨a0:1⟨c1:2⟩").0.len(), 1, "what is under way is none");
    }

    #[test]
    fn nobody_types_into_the_header_or_a_token() {
        let text = format!("{}{HEADER}{}", person(0, 1), person(0, 2));
        let (found, _) = tokens(&text);
        let header = HEADER.len() as u32;
        assert_eq!(places(&text, &found), [6 + header, 6, 12 + header]);
        assert_eq!(places("", &[]), [0]);
    }

    #[test]
    fn losses_and_doublings_are_seen() {
        use Edit::{Delete, Insert};
        let all = [Insert(1), Insert(2), Insert(3), Delete(3), Insert(4)];
        let records = [record(&all, &[Insert(1), Insert(3), Delete(3)])];
        let text = |numbers: &[u32]| {
            HEADER.to_owned() + &numbers.iter().map(|number| person(0, *number)).collect::<String>()
        };
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
        assert!(judge(&(HEADER.to_owned() + HEADER), &[]).is_failure());
    }

    #[test]
    fn a_turns_text_may_stand_between_once() {
        let turns = |numbers: &[u32]| {
            let lines = numbers.iter().map(|number| token((Writer::Turn(1), *number)) + "\n");
            HEADER.to_owned() + &lines.collect::<String>()
        };
        let verdict = judge(&(turns(&[1, 2]) + "⟨a1:3"), &[]);
        assert!(!verdict.is_failure());
        assert_eq!(verdict.of_turns, 2);
        assert_eq!(judge(&turns(&[1, 2, 1]), &[]).doubled, 1);
        assert!(judge(&(turns(&[1]) + "⟨c1:3"), &[]).torn, "half of what a person typed");
        assert_eq!(lost_of_turns(&turns(&[1, 2]), &turns(&[2, 3])), ["⟨a1:1⟩"]);
    }
}
