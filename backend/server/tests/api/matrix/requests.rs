//! Every request.

use std::collections::BTreeSet;

use reqwest::Method;
use serde_json::{Value, json};

use super::{Expected, Stage};
use crate::support::Api;

/// Anybody, also with a token that is good for nothing.
const fn all(ok: &'static str) -> Expected {
    [ok; 8]
}

/// Whoever is signed in.
const fn signed_in(ok: &'static str) -> Expected {
    [ok, ok, ok, ok, ok, ok, "401 not_signed_in", "401 not_signed_in"]
}

/// Anybody, but with no token rather than a bad one or one for one project.
const fn coming(ok: &'static str) -> Expected {
    [ok, ok, ok, "403 no_access", ok, ok, ok, "401 not_signed_in"]
}

/// Whoever is signed in, but not with a token for one project.
const fn whole(ok: &'static str) -> Expected {
    [ok, ok, ok, "403 no_access", ok, ok, "401 not_signed_in", "401 not_signed_in"]
}

const fn by_role(owner: &'static str, editor: &'static str, viewer: &'static str) -> Expected {
    const NONE: &str = "404 project_not_found";
    [owner, editor, viewer, viewer, NONE, NONE, "401 not_signed_in", "401 not_signed_in"]
}

/// Whoever may read.
const fn readers(ok: &'static str) -> Expected {
    by_role(ok, ok, ok)
}

/// Whoever may write.
const fn writers(ok: &'static str) -> Expected {
    by_role(ok, ok, "403 read_only")
}

/// Whoever owns it.
const fn owners(ok: &'static str) -> Expected {
    by_role(ok, "403 no_access", "403 read_only")
}

/// Every request there is; what stands in brackets tells rows of one route apart.
pub(super) const ROWS: &[(&str, Expected)] = &[
    ("GET /health/live", all("200")),
    ("GET /health/ready", all("200")),
    ("GET /api/v1/info", all("200")),
    ("GET /api/v1/me", signed_in("200")),
    ("GET /api/v1/projects", signed_in("200")),
    ("POST /api/v1/projects", coming("201")),
    ("POST /api/v1/join", coming("200")),
    ("POST /api/v1/join (with a secret that is none)", coming("410 invite_invalid")),
    ("POST /api/v1/socket-tickets", signed_in("201")),
    ("GET /api/v1/sessions", whole("200")),
    ("DELETE /api/v1/sessions/{session} (somebody else's)", whole("404 not_found")),
    ("GET /api/v1/tokens", whole("200")),
    ("DELETE /api/v1/tokens/{token} (somebody else's)", whole("404 not_found")),
    ("GET /api/v1/projects/{project}", readers("200")),
    ("GET /api/v1/projects/{project}/documents", readers("200")),
    ("GET /api/v1/projects/{project}/documents/{document}/text", readers("200")),
    (
        "GET /api/v1/projects/{project}/documents/{document}/text (another project's)",
        readers("404 document_not_found"),
    ),
    ("GET /api/v1/projects/{project}/documents/{document}/attribution", readers("200")),
    (
        "GET /api/v1/projects/{project}/documents/{document}/attribution (another project's)",
        readers("404 document_not_found"),
    ),
    ("POST /api/v1/projects/{project}/documents", writers("201")),
    ("PATCH /api/v1/projects/{project}/documents/{document}", writers("200")),
    (
        "PATCH /api/v1/projects/{project}/documents/{document} (another project's)",
        writers("404 document_not_found"),
    ),
    ("DELETE /api/v1/projects/{project}/documents/{document}", writers("204")),
    (
        "DELETE /api/v1/projects/{project}/documents/{document} (another project's)",
        writers("404 document_not_found"),
    ),
    ("POST /api/v1/projects/{project}/documents/{document}/edits", writers("200")),
    (
        "POST /api/v1/projects/{project}/documents/{document}/edits (another project's)",
        writers("404 document_not_found"),
    ),
    ("POST /api/v1/projects/{project}/edits", writers("200")),
    ("GET /api/v1/projects/{project}/turns", readers("200")),
    ("GET /api/v1/projects/{project}/turns/{turn}", readers("200")),
    ("GET /api/v1/projects/{project}/turns/{turn}/changes", readers("200")),
    (
        "GET /api/v1/projects/{project}/turns/{turn}/changes (another project's)",
        readers("404 turn_not_found"),
    ),
    ("POST /api/v1/projects/{project}/turns", writers("201")),
    ("POST /api/v1/projects/{project}/turns/{turn}/interrupt", writers("200")),
    ("POST /api/v1/projects/{project}/turns/{turn}/accept", writers("200")),
    ("POST /api/v1/projects/{project}/turns/{turn}/reject", writers("200")),
    ("POST /api/v1/projects/{project}/agents/{agent}/accept", writers("200")),
    ("POST /api/v1/projects/{project}/agents/{agent}/reject", writers("200")),
    (
        "POST /api/v1/projects/{project}/turns/{turn}/interrupt (another project's)",
        writers("404 turn_not_found"),
    ),
    ("GET /api/v1/projects/{project}/invites", writers("200")),
    ("POST /api/v1/projects/{project}/invites", owners("201")),
    ("DELETE /api/v1/projects/{project}/invites/{invite}", owners("204")),
    ("DELETE /api/v1/projects/{project}/invites/{invite} (and who came by it)", owners("204")),
    (
        "DELETE /api/v1/projects/{project}/invites/{invite} (another project's)",
        owners("404 invite_not_found"),
    ),
    ("PATCH /api/v1/projects/{project}/members/{member}", owners("200")),
    ("DELETE /api/v1/projects/{project}/members/{member}", owners("204")),
    ("DELETE /api/v1/projects/{project}/members/{member} (another project's)", owners("404 not_found")),
];

/// The route of a row.
pub(super) fn route(what: &str) -> String {
    what.split(" (").next().unwrap().to_owned()
}

/// Every route there is, from the description that is made from the code that serves them.
pub(super) fn all_routes() -> BTreeSet<String> {
    let description = serde_json::to_value(ensemble_server::description()).unwrap();
    let paths = description["paths"].as_object().unwrap();
    let methods = |path: &str, item: &Value| {
        let methods = item.as_object().unwrap().keys().filter(|key| *key != "parameters");
        methods.map(|method| format!("{} {path}", method.to_uppercase())).collect::<Vec<_>>()
    };
    paths.iter().flat_map(|(path, item)| methods(path, item)).collect()
}

/// Asks, and says what came back.
pub(super) async fn ask(stage: &Stage, what: &str, who: &Api) -> String {
    let (method, template) = what.split_once(' ').unwrap();
    let template = template.split(" (").next().unwrap();
    let is_elsewhere = what.ends_with("(another project's)");
    let mut path = template.replace("{project}", &stage.project);
    if template.contains("{document}") {
        let document = if is_elsewhere {
            stage.elsewhere_owner.document(&stage.elsewhere, &stage.fresh("theirs"), "").await
        } else {
            stage.document().await
        };
        path = path.replace("{document}", &document);
    }
    let mut to_stop = None;
    if template.contains("{turn}") {
        let turn = if is_elsewhere {
            let turns = format!("/api/v1/projects/{}/turns", stage.elsewhere);
            let started = stage.elsewhere_owner.post(&turns, json!({"prompt": "write a long story"})).await;
            let turn = started.json()["turn"]["id"].as_str().unwrap().to_owned();
            stage.elsewhere_owner.post(&format!("{turns}/{turn}/interrupt"), json!({})).await;
            turn
        } else if template.ends_with("/changes")
            || template.ends_with("/accept")
            || template.ends_with("/reject")
        {
            stage.stopped_turn().await
        } else {
            let turn = stage.turn().await;
            to_stop = Some(turn.clone());
            turn
        };
        path = path.replace("{turn}", &turn);
    }
    if template.contains("{agent}") {
        path = path.replace("{agent}", &stage.agent().await);
    }
    if template.contains("{invite}") {
        let (by, project) = if is_elsewhere {
            (&stage.elsewhere_owner, &stage.elsewhere)
        } else {
            (&stage.owner, &stage.project)
        };
        let invite = by.post(&format!("/api/v1/projects/{project}/invites"), json!({"role": "viewer"})).await;
        path = path.replace("{invite}", invite.json()["id"].as_str().unwrap());
    }
    if what.ends_with("(and who came by it)") {
        path.push_str("?members=remove");
    }
    if template.contains("{member}") {
        let member = if is_elsewhere {
            stage.id_of(&stage.elsewhere_owner).await
        } else {
            stage.id_of(&stage.joined("editor").await.0).await
        };
        path = path.replace("{member}", &member);
    }
    if template.contains("{session}") || template.contains("{token}") {
        let somebody = stage.joined("viewer").await.0;
        let kind = if template.contains("{session}") { "sessions" } else { "tokens" };
        let theirs = somebody.get(&format!("/api/v1/{kind}")).await.json();
        let id = theirs[0]["id"].as_str().unwrap();
        path = path.replace("{session}", id).replace("{token}", id);
    }
    let body = match route(what).as_str() {
        "POST /api/v1/projects" => Some(json!({"name": "Another", "template": "empty"})),
        "POST /api/v1/join" => {
            let invites = format!("/api/v1/projects/{}/invites", stage.elsewhere);
            let invite = stage.elsewhere_owner.post(&invites, json!({"role": "viewer"})).await;
            let none = what.ends_with("none)");
            Some(
                json!({"secret": if none { json!("no such secret") } else { invite.json()["secret"].clone() }}),
            )
        }
        "POST /api/v1/projects/{project}/documents"
        | "PATCH /api/v1/projects/{project}/documents/{document}" => {
            Some(json!({"path": stage.fresh("path")}))
        }
        "POST /api/v1/projects/{project}/documents/{document}/edits" => {
            Some(json!({"edits": [{"old_text": "base", "new_text": "another"}]}))
        }
        "POST /api/v1/projects/{project}/edits" => {
            let path = stage.fresh("patched");
            Some(json!({"patch": format!("*** Begin Patch\n*** Add File: {path}\n+text\n*** End Patch\n")}))
        }
        "POST /api/v1/projects/{project}/turns" => Some(json!({"prompt": "write a long story"})),
        "POST /api/v1/projects/{project}/invites" | "PATCH /api/v1/projects/{project}/members/{member}" => {
            Some(json!({"role": "viewer"}))
        }
        _ => None,
    };
    let answer = who.send(Method::from_bytes(method.as_bytes()).unwrap(), &path, body).await;
    if route(what) == "POST /api/v1/projects/{project}/turns" && answer.status == 201 {
        to_stop = Some(answer.json()["turn"]["id"].as_str().unwrap().to_owned());
    }
    if let Some(turn) = to_stop {
        stage.stop(&turn).await;
    }
    if answer.status.is_success() {
        return answer.status.as_u16().to_string();
    }
    let code = answer.json()["code"].as_str().unwrap().to_owned();
    answer.expect_problem(answer.status.as_u16(), &code);
    format!("{} {code}", answer.status.as_u16())
}
