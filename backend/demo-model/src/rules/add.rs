//! Adding a well-known function, written out for each language in `catalogue/`.

use super::{
    Outcome,
    conversation::Conversation,
    draft::Draft,
    instruction::Scope,
    named,
    source::{self, Language, is_name},
};

const PYTHON: &str = include_str!("catalogue/functions.py");
const JAVASCRIPT: &str = include_str!("catalogue/functions.js");
const TYPESCRIPT: &str = include_str!("catalogue/functions.ts");
const RUST: &str = include_str!("catalogue/functions.rs.txt");

/// What marks the beginning of a function in these files.
const MARK: &str = "== ";

/// The functions: their key, what they are called in prompts, and their names with and without underscores.
const TEMPLATES: [(&str, &[&str]); 12] = [
    ("fizzbuzz", &["fizzbuzz", "fizz buzz"]),
    ("fibonacci", &["fibonacci", "fib"]),
    ("factorial", &["factorial"]),
    ("is_prime", &["is prime", "isprime", "prime", "primality"]),
    ("gcd", &["gcd", "greatest common divisor"]),
    ("lcm", &["lcm", "least common multiple"]),
    ("clamp", &["clamp"]),
    ("binary_search", &["binary search", "binarysearch", "bisect"]),
    ("quicksort", &["quicksort", "quick sort"]),
    ("is_palindrome", &["is palindrome", "ispalindrome", "palindrome"]),
    ("debounce", &["debounce", "debouncer"]),
    ("throttle", &["throttle", "throttler"]),
];

/// One well-known function.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Template(usize);

impl Template {
    /// The function that a text in lower case speaks of; the first one it names.
    pub(super) fn find(lower: &str) -> Option<Self> {
        let plain: String = lower
            .chars()
            .map(|character| if character.is_alphanumeric() { character } else { ' ' })
            .collect();
        let words = format!(" {} ", plain.split_whitespace().collect::<Vec<_>>().join(" "));
        TEMPLATES
            .iter()
            .enumerate()
            .filter_map(|(number, (_, aliases))| {
                let first = aliases.iter().filter_map(|alias| words.find(&format!(" {alias} "))).min()?;
                Some((first, number))
            })
            .min()
            .map(|(_, number)| Self(number))
    }

    fn key(self) -> &'static str {
        TEMPLATES[self.0].0
    }

    /// Its name in a language.
    pub(super) fn name(self, language: Language) -> String {
        match language {
            Language::Python | Language::Rust => self.key().to_owned(),
            Language::JavaScript | Language::TypeScript => {
                let mut name = String::new();
                for (number, word) in self.key().split('_').enumerate() {
                    if number == 0 {
                        name.push_str(word);
                    } else {
                        name.extend(word.chars().next().map(|first| first.to_ascii_uppercase()));
                        name.push_str(word.get(1..).unwrap_or_default());
                    }
                }
                name
            }
        }
    }

    /// Whether this is one of its own names.
    pub(super) fn is_called(self, name: &str) -> bool {
        [Language::Python, Language::JavaScript].iter().any(|language| self.name(*language) == name)
    }

    /// Its lines in a language.
    fn lines(self, language: Language) -> Vec<String> {
        let text = match language {
            Language::Python => PYTHON,
            Language::JavaScript => JAVASCRIPT,
            Language::TypeScript => TYPESCRIPT,
            Language::Rust => RUST,
        };
        let mark = |line: &&str| line.trim_start_matches(['#', '/', ' ']).starts_with(MARK);
        let begin = |line: &&str| mark(line) && line.ends_with(&format!(" {}", self.key()));
        let mut lines: Vec<String> = text
            .lines()
            .skip_while(|line| !begin(line))
            .skip(1)
            .take_while(|line| !mark(line))
            .map(str::to_owned)
            .collect();
        while lines.last().is_some_and(|line| line.trim().is_empty()) {
            lines.pop();
        }
        while lines.first().is_some_and(|line| line.trim().is_empty()) {
            lines.remove(0);
        }
        lines
    }
}

/// Adds a function to one document, which may be a new one.
pub(super) fn add(
    function: Template,
    name: Option<&str>,
    scope: &Scope,
    conversation: &Conversation,
    drafts: &mut [Draft],
) -> Outcome {
    let path = match scope {
        Scope::Files(paths) => paths.first().cloned(),
        Scope::Open | Scope::Everywhere => {
            conversation.open().map(|open| conversation.documents[open].path.clone())
        }
    };
    let Some(path) = path else { return Outcome::say("I was shown no document to add it to.") };
    let Some(language) = Language::of(&path) else {
        return Outcome::say(format!(
            "I do not know the language of `{path}`, so I added nothing. I know Python, JavaScript, TypeScript and Rust."
        ));
    };
    let usual = function.name(language);
    let name = name.unwrap_or(&usual);
    let lines: Vec<String> =
        function.lines(language).iter().map(|line| with_name(line, &usual, name)).collect();
    let Some(draft) = drafts.iter_mut().find(|draft| draft.document().path == path) else {
        if conversation.tree.contains(&path) {
            return Outcome::say(format!("I was not shown `{path}`, so I cannot add to it."));
        }
        let text: String = lines.iter().flat_map(|line| ["+", line, "\n"]).collect();
        return Outcome {
            said: vec![format!("Adding `{name}` in a new file, `{path}`.")],
            sections: format!("*** Add File: {path}\n{text}"),
        };
    };
    if !draft.document().shows_end {
        let shown = named(&[draft.document()]);
        return Outcome::say(format!("I was shown only a part of {shown}, so I do not know where it ends."));
    }
    let current = draft.lines();
    if source::functions(language, &current).iter().any(|function| function.name == name) {
        return Outcome::say(format!("`{path}` already has a function `{name}`, so I added nothing."));
    }
    insert(draft, language, &current, &lines);
    Outcome::say(format!("Adding `{name}` to `{path}`, in {}.", language.name()))
}

/// Puts the function at the end, or before what customarily stands last.
fn insert(draft: &mut Draft, language: Language, current: &[String], function: &[String]) {
    let unit = indent_unit(current);
    let exported =
        current.iter().any(|line| line.starts_with("export function ") || line.starts_with("export const "));
    let mut function: Vec<String> = function.iter().map(|line| reindent(line, &unit)).collect();
    if matches!(language, Language::JavaScript | Language::TypeScript)
        && exported
        && let Some(line) = function.iter_mut().find(|line| line.starts_with("function "))
    {
        line.insert_str(0, "export ");
    }
    let gap: usize = if language == Language::Python { 2 } else { 1 };
    let blank = |line: &String| line.trim().is_empty();
    let last = |line: &String| match language {
        Language::Python => line.starts_with("if __name__ ="),
        Language::Rust => line.trim() == "#[cfg(test)]" && !line.starts_with(' '),
        Language::JavaScript | Language::TypeScript => {
            line.starts_with("module.exports")
                || line.starts_with("export default ")
                    && !line.contains("function")
                    && !line.contains("class")
                || line.starts_with("export {")
        }
    };
    let before = current.iter().position(last);
    let end = current.iter().rposition(|line| !blank(line)).map_or(0, |line| line + 1);
    let mut added = Vec::new();
    if let Some(at) = before {
        let above = current[..at].iter().rposition(|line| !blank(line)).map_or(0, |line| line + 1);
        if above > 0 {
            added.extend(std::iter::repeat_n(String::new(), gap.saturating_sub(at - above)));
        }
        added.extend(function);
        added.extend(std::iter::repeat_n(String::new(), gap));
        draft.insert(at, added);
    } else {
        if end > 0 {
            let there = current.len() - end;
            added.extend(std::iter::repeat_n(String::new(), gap.saturating_sub(there)));
        }
        added.extend(function);
        draft.insert(current.len(), added);
    }
}

/// What one level of indentation is in a text; four spaces where it does not show.
fn indent_unit(lines: &[String]) -> String {
    let mut widths: Vec<usize> = Vec::new();
    for line in lines {
        if line.starts_with('\t') {
            return "\t".to_owned();
        }
        let width = line.len() - line.trim_start_matches(' ').len();
        if width > 0 && !line.trim().is_empty() && !line.trim_start().starts_with('*') {
            widths.push(width);
        }
    }
    let two = widths.iter().any(|width| width % 4 == 2);
    " ".repeat(if two { 2 } else { 4 })
}

/// A line of the catalogue, which has four spaces a level, with another indentation.
fn reindent(line: &str, unit: &str) -> String {
    let text = line.trim_start_matches(' ');
    let width = line.len() - text.len();
    format!("{}{}{text}", unit.repeat(width / 4), " ".repeat(width % 4))
}

fn with_name(line: &str, from: &str, to: &str) -> String {
    let mut renamed = String::new();
    let mut word = String::new();
    for character in line.chars().chain(std::iter::once('\n')) {
        if is_name(character) {
            word.push(character);
            continue;
        }
        renamed.push_str(if word == from { to } else { &word });
        word.clear();
        renamed.push(character);
    }
    renamed.pop();
    renamed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_function_exists_in_every_language() {
        for number in 0..TEMPLATES.len() {
            let template = Template(number);
            for language in [Language::Python, Language::JavaScript, Language::TypeScript, Language::Rust] {
                let lines = template.lines(language);
                let found = source::functions(language, &lines);
                let function = found.first().unwrap_or_else(|| panic!("{} in {language:?}", template.key()));
                assert_eq!(function.name, template.name(language));
                assert!(function.documented, "{} in {language:?}", template.key());
                assert_eq!(function.end, lines.len() - 1, "{} in {language:?}", template.key());
            }
        }
    }
}
