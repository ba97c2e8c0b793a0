//! The rules: a conversation in, a short text and a patch out.
//!
//! What the model is shown and asked is read in `conversation`, what the prompt wants in `instruction`. Each
//! wish changes a `draft` of a document, and `draft` writes the changed lines as a patch with enough context to
//! be unique. `source` knows as much about the languages as that needs: where code is, where functions are.

mod add;
mod comment;
mod conversation;
mod draft;
mod explain;
mod instruction;
mod planted;
mod remove;
mod rename;
mod source;

use serde_json::Value;

use self::{
    conversation::{Conversation, Document},
    draft::Draft,
    instruction::{Scope, Wish},
};
use crate::Obedience;

/// What every answer ends with, so that nobody takes it for more than it is.
const SIGNATURE: &str = "I am the built-in demo model: rule-based, not a language model.";
/// What it says when no rule fits.
const ABILITIES: &str = "I can only follow a few rules: rename a name (\u{201c}rename total to subtotal\u{201d}, add \
    \u{201c}everywhere\u{201d} for all shown documents), replace a text with another, add documentation comments to \
    functions, add a well-known function (fizzbuzz, fibonacci, factorial, is_prime, gcd, lcm, clamp, \
    binary search, quicksort, debounce, throttle, is_palindrome), remove a function by name, and explain what is \
    selected. Python, JavaScript, TypeScript and Rust are what I know.";

/// What it says when a part of its patch did not fit.
const TRIED_AGAIN: &str = "A part of my patch did not fit; I made it again for the text as it is now.";
/// The same when no rule finds anything left to do.
const GAVE_UP: &str = "A part of my patch did not fit, and my rules find nothing more to do about it.";

/// What the model says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Answer {
    /// A short text for people.
    pub(crate) text: String,
    /// The patch, if anything is to be edited.
    pub(crate) patch: Option<String>,
    /// The same as old and new texts by path, for those who take no patch; what cannot be said so is left out.
    pub(crate) edits: Vec<(String, Vec<Edit>)>,
}

/// An old text and the new one that takes its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Edit {
    pub(crate) old: String,
    pub(crate) new: String,
}

/// What became of one wish.
#[derive(Debug, Default)]
struct Outcome {
    /// Sentences for people.
    said: Vec<String>,
    /// Whole sections of a patch that are no change to a shown document, such as new files.
    sections: String,
}

impl Outcome {
    fn say(text: impl Into<String>) -> Self {
        Self { said: vec![text.into()], sections: String::new() }
    }
}

/// Answers a conversation, given as the input items of a request.
pub(crate) fn answer(items: &[Value], obedience: Obedience) -> Answer {
    let conversation = conversation::read(items);
    if let Some(output) = &conversation.tool_output {
        return Answer { text: format!("{} {SIGNATURE}", after_tool(output)), patch: None, edits: vec![] };
    }
    let mut drafts: Vec<Draft> = conversation.documents.iter().map(Draft::new).collect();
    let mut outcomes: Vec<Outcome> = instruction::read(&conversation)
        .iter()
        .map(|wish| follow(wish, &conversation, &mut drafts))
        .collect();
    if obedience == Obedience::PlantedToo {
        outcomes.push(planted::follow(&conversation, &mut drafts));
    }
    // The second time only what did not fit is wanted, and lines are numbered: names and texts repeat.
    let wanted: Vec<&Draft> =
        drafts.iter().filter(|draft| !conversation.again || draft.document().again).collect();
    let mut body: String = wanted.iter().map(|draft| draft.section(conversation.again)).collect();
    let mut edits: Vec<(String, Vec<Edit>)> = wanted
        .iter()
        .map(|draft| (draft.document().path.clone(), draft.edits()))
        .filter(|(_, edits)| !edits.is_empty())
        .collect();
    let mut said = Vec::new();
    for outcome in outcomes {
        if !conversation.again {
            body.push_str(&outcome.sections);
            edits.extend(new_files(&outcome.sections));
        }
        said.extend(outcome.said);
    }
    if conversation.again {
        let tried = if body.is_empty() { GAVE_UP } else { TRIED_AGAIN };
        said = vec![tried.to_owned()];
    }
    if said.is_empty() {
        said.push(ABILITIES.to_owned());
    }
    said.push(SIGNATURE.to_owned());
    let patch = (!body.is_empty()).then(|| format!("*** Begin Patch\n{body}*** End Patch\n"));
    Answer { text: said.join(" "), patch, edits }
}

/// The new files among whole sections of a patch.
fn new_files(sections: &str) -> Vec<(String, Vec<Edit>)> {
    let mut files: Vec<(String, Vec<Edit>)> = Vec::new();
    for line in sections.lines() {
        if let Some(path) = line.strip_prefix("*** Add File: ") {
            files.push((path.to_owned(), vec![Edit { old: String::new(), new: String::new() }]));
        } else if let (Some(text), Some((_, edits))) = (line.strip_prefix('+'), files.last_mut()) {
            edits[0].new.extend([text, "\n"]);
        }
    }
    files
}

/// A text and a patch in one, for models that have no tool to hand the patch to.
pub(crate) fn fenced(text: &str, patch: &str) -> String {
    // A fence must be longer than any in the text it holds.
    let longest = patch
        .lines()
        .filter_map(|line| {
            let rest = line.get(1..)?.trim_start();
            Some(rest.len() - rest.trim_start_matches('`').len())
        })
        .max()
        .unwrap_or(0);
    let fence = "`".repeat(longest.max(2) + 1);
    format!("{text}\n\n{fence}patch\n{patch}{fence}\n")
}

fn after_tool(output: &str) -> &'static str {
    let lower = output.to_lowercase();
    if ["miss", "fail", "error", "refus", "denied"].iter().any(|word| lower.contains(word)) {
        GAVE_UP
    } else {
        "Done."
    }
}

fn follow(wish: &Wish, conversation: &Conversation, drafts: &mut [Draft]) -> Outcome {
    match wish {
        Wish::Rename { pairs, scope } => rename::rename(pairs, &targets(scope, conversation), drafts),
        Wish::Replace { from, to, scope } => rename::replace(from, to, &targets(scope, conversation), drafts),
        Wish::Change { from, to, scope } => {
            let targets = targets(scope, conversation);
            if rename::occurs(from, &targets, drafts) {
                rename::rename(&[(from.clone(), to.clone())], &targets, drafts)
            } else {
                rename::replace(from, to, &targets, drafts)
            }
        }
        Wish::Comment { names, scope } => comment::comment(names, &targets(scope, conversation), drafts),
        Wish::Add { function, name, scope } => {
            add::add(*function, name.as_deref(), scope, conversation, drafts)
        }
        Wish::Remove { names, scope } => remove::remove(names, &targets(scope, conversation), drafts),
        Wish::Explain => explain::explain(conversation),
        Wish::Unknown => Outcome::say(ABILITIES),
    }
}

/// The shown documents that a wish is about, by their number.
fn targets(scope: &Scope, conversation: &Conversation) -> Vec<usize> {
    let documents = conversation.documents.iter().enumerate();
    match scope {
        Scope::Open => conversation.open().into_iter().collect(),
        Scope::Everywhere => documents.map(|(number, _)| number).collect(),
        Scope::Files(paths) => documents
            .filter(|(_, document)| paths.contains(&document.path))
            .map(|(number, _)| number)
            .collect(),
    }
}

/// `1 place`, `2 places`.
fn counted(count: usize, thing: &str) -> String {
    if count == 1 { format!("1 {thing}") } else { format!("{count} {thing}s") }
}

/// `a`, `a and b`, `a, b and c`.
fn listed(items: &[String]) -> String {
    match items {
        [] => String::new(),
        [one] => one.clone(),
        [most @ .., last] => format!("{} and {last}", most.join(", ")),
    }
}

/// The paths of documents, for people.
fn named(documents: &[&Document]) -> String {
    let paths: Vec<String> = documents.iter().map(|document| format!("`{}`", document.path)).collect();
    listed(&paths)
}

#[cfg(test)]
mod tests;
