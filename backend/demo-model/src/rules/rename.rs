//! Renaming a name, and replacing a text.

use super::{
    Outcome, counted,
    draft::Draft,
    listed,
    source::{is_identifier, is_name},
};

/// Renames whole names, wherever they stand: in code, strings and comments alike.
pub(super) fn rename(pairs: &[(String, String)], targets: &[usize], drafts: &mut [Draft]) -> Outcome {
    let mut outcome = Outcome::default();
    for (from, to) in pairs {
        outcome.said.push(rename_one(from, to, targets, drafts));
    }
    outcome
}

fn rename_one(from: &str, to: &str, targets: &[usize], drafts: &mut [Draft]) -> String {
    for name in [from, to] {
        if !is_identifier(name) {
            return format!("I cannot rename `{from}` to `{to}`, because `{name}` is not a name.");
        }
    }
    if from == to {
        return format!("`{from}` already has that name.");
    }
    let taken = occurs(to, targets, drafts);
    let places = edit(targets, drafts, |line| rename_in(line, from, to));
    if places.is_empty() {
        return format!("I found no `{from}` in {}, so I changed nothing.", where_to(targets, drafts));
    }
    let clash = if taken { format!(" Mind that `{to}` was in use there before.") } else { String::new() };
    format!("Renaming `{from}` to `{to}`: {}.{clash}", listed(&places))
}

/// Replaces a text literally.
pub(super) fn replace(from: &str, to: &str, targets: &[usize], drafts: &mut [Draft]) -> Outcome {
    if from.is_empty() || from.contains('\n') || to.contains('\n') {
        return Outcome::say("I can only replace text within a line.");
    }
    let places = edit(targets, drafts, |line| {
        let count = line.matches(from).count();
        (count > 0).then(|| (line.replace(from, to), count))
    });
    if places.is_empty() {
        let place = where_to(targets, drafts);
        return Outcome::say(format!("I found no `{from}` in {place}, so I changed nothing."));
    }
    Outcome::say(format!("Replacing `{from}` with `{to}`: {}.", listed(&places)))
}

/// Whether a name occurs as a whole.
pub(super) fn occurs(name: &str, targets: &[usize], drafts: &[Draft]) -> bool {
    is_identifier(name)
        && targets
            .iter()
            .any(|target| drafts[*target].lines().iter().any(|line| rename_in(line, name, name).is_some()))
}

/// Edits every line of the targets; says in which documents, and how often.
fn edit(
    targets: &[usize],
    drafts: &mut [Draft],
    change: impl Fn(&str) -> Option<(String, usize)>,
) -> Vec<String> {
    let mut places = Vec::new();
    for target in targets {
        let draft = &mut drafts[*target];
        let mut total = 0;
        for (number, line) in draft.lines().iter().enumerate() {
            if let Some((text, count)) = change(line) {
                draft.set(number, text);
                total += count;
            }
        }
        if total > 0 {
            places.push(format!("{} in `{}`", counted(total, "place"), draft.document().path));
        }
    }
    places
}

fn where_to(targets: &[usize], drafts: &[Draft]) -> String {
    let paths: Vec<String> =
        targets.iter().map(|target| format!("`{}`", drafts[*target].document().path)).collect();
    match paths.len() {
        0 => "what I am shown".into(),
        1..=3 => listed(&paths),
        count => format!("the {count} documents I am shown"),
    }
}

/// The line with the whole name renamed, and how often it stood there.
fn rename_in(line: &str, from: &str, to: &str) -> Option<(String, usize)> {
    let mut renamed = String::with_capacity(line.len());
    let mut count = 0;
    let mut rest = line;
    while let Some(at) = rest.find(from) {
        let end = at + from.len();
        let before = rest[..at].chars().next_back().or_else(|| renamed.chars().next_back());
        let after = rest[end..].chars().next();
        let whole = !before.is_some_and(is_name) && !after.is_some_and(is_name);
        renamed.push_str(&rest[..at]);
        renamed.push_str(if whole { to } else { from });
        count += usize::from(whole);
        rest = &rest[end..];
    }
    renamed.push_str(rest);
    (count > 0).then_some((renamed, count))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_names_are_renamed() {
        let cases = [
            ("total = total + subtotal", Some(("sum = sum + subtotal", 2))),
            ("totals, total_2, $total", None),
            ("f(total)(total).total", Some(("f(sum)(sum).sum", 3))),
            ("totaltotal", None),
            ("\u{e9}total total", Some(("\u{e9}total sum", 1))),
        ];
        for (line, expected) in cases {
            let expected = expected.map(|(text, count)| (text.to_owned(), count));
            assert_eq!(rename_in(line, "total", "sum"), expected, "{line}");
        }
    }
}
