//! Removing a function by name.

use super::{
    Outcome,
    draft::Draft,
    listed,
    source::{self, Code, Function, Language, indent_of},
};

/// Removes functions, their decorators and documentation, and the blank lines they leave.
pub(super) fn remove(names: &[String], targets: &[usize], drafts: &mut [Draft]) -> Outcome {
    let mut outcome = Outcome::default();
    for name in names {
        outcome.said.push(remove_one(name, targets, drafts));
    }
    if names.is_empty() {
        outcome.said.push("I can remove a function if I am told its name.".into());
    }
    outcome
}

fn remove_one(name: &str, targets: &[usize], drafts: &mut [Draft]) -> String {
    let mut places = Vec::new();
    let mut still_used = Vec::new();
    for target in targets {
        let draft = &mut drafts[*target];
        let Some(language) = Language::of(&draft.document().path) else { continue };
        let lines = draft.lines();
        let found = source::functions(language, &lines);
        let Some(function) = found.iter().find(|function| function.name == name) else { continue };
        take_out(draft, language, &lines, function);
        places.push(format!("`{}`", draft.document().path));
        let rest = draft.lines();
        let code = Code::new(language, &rest);
        let uses = (0..code.line_count()).filter(|line| {
            let text = code.code_line(*line);
            text.split(|character: char| !source::is_name(character)).any(|word| word == name)
        });
        still_used.extend(uses.map(|line| (line + 1).to_string()));
    }
    if places.is_empty() {
        return format!("I found no function `{name}`, so I removed nothing.");
    }
    let used = match still_used.len() {
        0 => String::new(),
        1 => format!(" It is still used on line {}.", still_used[0]),
        _ => format!(" It is still used on lines {}.", listed(&still_used)),
    };
    format!("Removing the function `{name}` from {}.{used}", listed(&places))
}

fn take_out(draft: &mut Draft, language: Language, lines: &[String], function: &Function) {
    let is_blank = |line: usize| lines.get(line).is_some_and(|line| line.trim().is_empty());
    let mut start = function.top;
    let mut end = function.end + 1;
    let at_end = (end..lines.len()).all(is_blank);
    if at_end {
        // Nothing follows: the blank lines before it go, and those behind stay as the file's end.
        while start > 0 && is_blank(start - 1) {
            start -= 1;
        }
    } else {
        while is_blank(end) {
            end += 1;
        }
        // At the end of a block the blank lines before it would be left hanging.
        let closes = lines.get(end).is_some_and(|next| indent_of(next).len() < function.indent.len());
        if closes {
            let blanks = (function.end + 1..end).count();
            while start > 0 && is_blank(start - 1) {
                start -= 1;
            }
            end -= blanks;
        }
    }
    draft.remove(start..end);
    // A block of Python must not become empty.
    if language == Language::Python && !function.indent.is_empty() {
        let owner = lines[..start].iter().rev().find(|line| !line.trim().is_empty());
        let next = lines[end..].iter().find(|line| !line.trim().is_empty());
        let opened = owner.is_some_and(|owner| {
            owner.trim_end().ends_with(':') && indent_of(owner).len() < function.indent.len()
        });
        let left = next.is_some_and(|next| indent_of(next).len() >= function.indent.len());
        if opened && !left {
            draft.insert(start, vec![format!("{}pass", function.indent)]);
        }
    }
}
