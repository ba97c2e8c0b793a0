//! Documentation comments for functions that have none, made of what the code says: names, types, defaults.

use super::{
    Outcome, counted,
    draft::Draft,
    listed,
    source::{self, Function, Language, Parameter, indent_of},
};

/// Words that say what a function does, when its name begins with one.
const VERBS: &str = "add append apply assert await begin bind build calculate call cancel check clamp clean clear close \
    collect combine compare compute connect convert copy count create decode decrease delete disable \
    display divide double draw emit enable encode ensure execute export extract fetch fill filter find \
    flush format generate get greet group hash import increase increment init insert join list load log \
    lookup make map merge move multiply normalize notify open parse pop print process push read receive \
    refresh remove render replace reset resolve run save scale search send set show sort split start \
    stop subtract sum update";

/// Documents these functions of the targets, or all that lack documentation.
pub(super) fn comment(names: &[String], targets: &[usize], drafts: &mut [Draft]) -> Outcome {
    let mut places = Vec::new();
    let mut skipped = 0;
    let mut unknown = Vec::new();
    let mut had_all = Vec::new();
    for target in targets {
        let draft = &mut drafts[*target];
        let path = draft.document().path.clone();
        let Some(language) = Language::of(&path) else {
            unknown.push(format!("`{path}`"));
            continue;
        };
        let lines = draft.lines();
        let mut functions = source::functions(language, &lines);
        functions.retain(|function| names.is_empty() || names.contains(&function.name));
        let mut count = 0;
        // From the end, so that the lines of those before stay where they are.
        for function in functions.iter().rev().filter(|function| !function.documented) {
            match (language, function.body) {
                (Language::Python, None) => skipped += 1,
                (Language::Python, Some(body)) => {
                    let indent = indent_of(&lines[body]).to_owned();
                    let after = lines[..body].iter().rposition(|line| line.trim_end().ends_with(':'));
                    let at = after.map_or(body, |line| line + 1).max(function.line + 1);
                    draft.insert(at, docstring(function, &indent));
                    count += 1;
                }
                (Language::Rust, _) => {
                    draft.insert(function.head, rust_doc(function));
                    count += 1;
                }
                (Language::JavaScript | Language::TypeScript, _) => {
                    draft.insert(function.head, js_doc(function, language));
                    count += 1;
                }
            }
        }
        if count > 0 {
            places.push(format!("{} in `{path}`", counted(count, "function")));
        } else {
            had_all.push(format!("`{path}`"));
        }
    }
    let mut outcome = Outcome::default();
    if !places.is_empty() {
        outcome.said.push(format!("Documenting {}.", listed(&places)));
    } else if !had_all.is_empty() {
        outcome.said.push(format!("I found no function without documentation in {}.", listed(&had_all)));
    }
    if skipped > 0 {
        let them = counted(skipped, "function");
        outcome
            .said
            .push(format!("I left out {them} written on one line, which would have to be reformatted."));
    }
    if !unknown.is_empty() {
        outcome.said.push(format!("I do not know the language of {}.", listed(&unknown)));
    }
    if targets.is_empty() {
        outcome.said.push("I was shown no document.".into());
    }
    outcome
}

/// The words of a name, in lower case.
fn words(name: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut before = '_';
    for character in name.chars() {
        let new = character.is_uppercase() && !before.is_uppercase();
        if matches!(character, '_' | '$') || new {
            words.push(String::new());
        }
        if !matches!(character, '_' | '$')
            && let Some(word) = words.last_mut()
        {
            word.extend(character.to_lowercase());
        }
        before = character;
    }
    words.retain(|word| !word.is_empty());
    words
}

/// What a function does, in one sentence without its full stop.
fn sentence(function: &Function) -> String {
    let name = function.name.as_str();
    let words = words(name);
    let subject = function.parameters.first().map(|parameter| format!("`{}`", bare(parameter)));
    let rest = |from: usize| words.get(from..).unwrap_or_default().join(" ");
    match (name, words.first().map(String::as_str)) {
        ("__init__" | "constructor" | "new", _) => "Set up a new instance".into(),
        ("main", _) => "Run the program".into(),
        (name, _) if name.starts_with("__") && name.ends_with("__") => format!("Implement `{name}`"),
        (_, Some(word @ ("is" | "are" | "has" | "have" | "can" | "should"))) if words.len() > 1 => {
            format!("Tell whether {} {word} {}", subject.unwrap_or_else(|| "it".into()), rest(1))
        }
        (_, Some("to" | "into" | "as")) if words.len() > 1 => format!("Convert to {}", rest(1)),
        (_, Some("from")) if words.len() > 1 => format!("Make one from {}", rest(1)),
        (_, Some("on" | "handle")) if words.len() > 1 => format!("Handle {}", rest(1)),
        (_, Some(verb)) if VERBS.split_whitespace().any(|known| known == verb) => {
            let verb = capitalized(verb);
            match (words.len(), subject) {
                (1, Some(subject)) => format!("{verb} {subject}"),
                (1, None) => verb,
                _ => format!("{verb} the {}", rest(1)),
            }
        }
        (_, Some(_)) if function.returns_value => format!("Return the {}", rest(0)),
        _ => format!("Carry out {}", rest(0)),
    }
}

fn capitalized(word: &str) -> String {
    let mut characters = word.chars();
    characters.next().map_or_else(String::new, |first| first.to_uppercase().chain(characters).collect())
}

/// The verb of a sentence in the third person, as Rust's documentation has it.
fn third_person(sentence: &str) -> String {
    let (verb, rest) = sentence.split_at(sentence.find(' ').unwrap_or(sentence.len()));
    let verb = if ["s", "x", "z", "ch", "sh"].iter().any(|end| verb.ends_with(end)) {
        format!("{verb}es")
    } else if let Some(stem) = verb.strip_suffix('y').filter(|stem| !stem.ends_with(['a', 'e', 'o', 'u'])) {
        format!("{stem}ies")
    } else {
        format!("{verb}s")
    };
    format!("{verb}{rest}")
}

fn bare(parameter: &Parameter) -> &str {
    parameter.name.trim_start_matches('*')
}

/// What a parameter is, as far as its name and default tell.
fn meaning(parameter: &Parameter) -> String {
    let words = words(bare(parameter));
    let what = match (parameter.rest, words.as_slice()) {
        (true, _) => "Everything else that is passed".to_owned(),
        (_, [one]) if one.chars().count() == 1 => format!("The value of `{}`", bare(parameter)),
        (_, words) => format!("The {}", words.join(" ")),
    };
    match &parameter.default {
        Some(default) => format!("{what}, `{default}` by default."),
        None => format!("{what}."),
    }
}

fn docstring(function: &Function, indent: &str) -> Vec<String> {
    let first = sentence(function);
    if function.parameters.is_empty() && !function.returns_value {
        return vec![format!("{indent}\"\"\"{first}.\"\"\"")];
    }
    let step = if indent.starts_with('\t') { "\t" } else { "    " };
    let mut lines = vec![format!("{indent}\"\"\"{first}.")];
    if !function.parameters.is_empty() {
        lines.push(String::new());
        lines.push(format!("{indent}Args:"));
        for parameter in &function.parameters {
            let kind = parameter.kind.as_ref().map_or_else(String::new, |kind| format!(" ({kind})"));
            lines.push(format!("{indent}{step}{}{kind}: {}", parameter.name, meaning(parameter)));
        }
    }
    if function.returns_value {
        lines.push(String::new());
        lines.push(format!("{indent}Returns:"));
        let kind = function.returns.as_ref().map_or_else(String::new, |kind| format!("{kind}: "));
        lines.push(format!("{indent}{step}{kind}The result."));
    }
    lines.push(format!("{indent}\"\"\""));
    lines
}

fn rust_doc(function: &Function) -> Vec<String> {
    let indent = &function.indent;
    let mut lines = vec![format!("{indent}/// {}.", third_person(&sentence(function)))];
    if !function.parameters.is_empty() {
        lines.push(format!("{indent}///"));
        lines.push(format!("{indent}/// # Arguments"));
        lines.push(format!("{indent}///"));
        for parameter in &function.parameters {
            lines.push(format!("{indent}/// * `{}` - {}", parameter.name, meaning(parameter)));
        }
    }
    lines
}

fn js_doc(function: &Function, language: Language) -> Vec<String> {
    let indent = &function.indent;
    let first = sentence(function);
    if function.parameters.is_empty() && !function.returns_value {
        return vec![format!("{indent}/** {first}. */")];
    }
    let mut lines = vec![format!("{indent}/**"), format!("{indent} * {first}.")];
    if !function.parameters.is_empty() || function.returns_value {
        lines.push(format!("{indent} *"));
    }
    for parameter in &function.parameters {
        // In TypeScript the types stand in the code.
        let kind = match (language, parameter.default.as_deref().and_then(kind_of_literal)) {
            (Language::JavaScript, Some(kind)) => format!("{{{kind}}} "),
            _ => String::new(),
        };
        lines.push(format!("{indent} * @param {kind}{} - {}", parameter.name, meaning(parameter)));
    }
    if function.returns_value {
        lines.push(format!("{indent} * @returns The result."));
    }
    lines.push(format!("{indent} */"));
    lines
}

fn kind_of_literal(default: &str) -> Option<&'static str> {
    match default.chars().next()? {
        '"' | '\'' | '`' => Some("string"),
        '-' | '0'..='9' => Some("number"),
        '[' => Some("Array"),
        '{' => Some("Object"),
        _ if matches!(default, "true" | "false") => Some("boolean"),
        _ => None,
    }
}
