//! placeholder until the rules are in place
use serde_json::Value;
pub(crate) struct Answer { pub(crate) text: String, pub(crate) patch: Option<String> }
pub(crate) fn answer(_c: &[Value], _o: crate::Obedience) -> Answer { Answer { text: "Hello, I am rule-based.".repeat(20), patch: Some("*** Begin Patch\n*** Update File: a\n@@\n-x\n+y\n*** End Patch\n".into()) } }
pub(crate) fn fenced(text: &str, patch: &str) -> String { format!("{text}\n\n```patch\n{patch}```\n") }
