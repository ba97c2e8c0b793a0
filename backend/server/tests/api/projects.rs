//! Projects and who may make them.

use ensemble_protocol::rest::Access;
use serde_json::json;

use crate::support::TestServer;

#[tokio::test]
async fn a_project_is_made_with_an_owner_a_token_a_cookie_and_a_link() {
    let server = TestServer::start().await;
    let stranger = server.stranger();
    let made = stranger.post("/api/v1/projects", json!({"name": "  Compiler ", "your_name": "Ada"})).await;
    assert_eq!(made.status.as_u16(), 201);
    let set = made.header("set-cookie");
    assert!(
        set.starts_with("__Host-ensemble=") && set.contains("HttpOnly") && set.contains("Secure"),
        "{set}"
    );
    let body = made.json();
    assert_eq!(body["project"]["name"], "Compiler");
    assert_eq!(body["project"]["role"], "owner");
    let link = body["link"].as_str().unwrap();
    assert!(link.starts_with(&format!("{}/join#", server.url)), "{link}");

    let mut ada = server.stranger();
    ada.token = Some(body["token"].as_str().unwrap().into());
    let project = body["project"]["id"].as_str().unwrap();
    let shown = ada.get(&format!("/api/v1/projects/{project}")).await.json();
    assert_eq!(shown["you"]["name"], "Ada");
    assert_eq!(shown["members"].as_array().unwrap().len(), 1);
    assert_eq!(shown["agents"][0]["id"], "agent");
    assert_eq!(shown["agents"][0]["demo"], true);

    let documents = ada.get(&format!("/api/v1/projects/{project}/documents")).await.json();
    let paths: Vec<_> = documents.as_array().unwrap().iter().map(|document| &document["path"]).collect();
    assert_eq!(paths, ["README.md", "main.py"]);

    // The link makes an editor.
    let secret = link.split('#').nth(1).unwrap();
    let joined = server.stranger().post("/api/v1/join", json!({"secret": secret})).await.json();
    assert_eq!(joined["role"], "editor");
}

/// [A10] One browser is one person, in all its projects.
#[tokio::test]
async fn a_browser_is_one_person_across_projects() {
    let server = TestServer::start().await;
    let mut browser = server.stranger();
    let first = browser.post("/api/v1/projects", json!({"name": "One", "your_name": "Ada"})).await;
    browser.cookie = first.cookie();
    let me = browser.get("/api/v1/me").await.json();
    assert_eq!(me["name"], "Ada");

    let second = browser.post("/api/v1/projects", json!({"name": "Two", "your_name": "Someone else"})).await;
    assert!(second.cookie().is_none(), "the cookie is kept");
    assert_eq!(browser.get("/api/v1/me").await.json(), me);

    let (other, project) = server.project().await;
    let invite =
        other.post(&format!("/api/v1/projects/{project}/invites"), json!({"role": "viewer"})).await.json();
    let joined = browser.post("/api/v1/join", json!({"secret": invite["secret"], "name": "Ada L."})).await;
    assert_eq!(joined.status.as_u16(), 200);
    let renamed = browser.get("/api/v1/me").await.json();
    assert_eq!((&renamed["id"], &renamed["name"]), (&me["id"], &json!("Ada L.")));

    let projects = browser.get("/api/v1/projects").await.json();
    let names: Vec<_> = projects.as_array().unwrap().iter().map(|project| &project["name"]).collect();
    assert_eq!(names, ["Test", "Two", "One"]);

    // The new name is told in the other projects too.
    let mut socket = other.socket().await;
    let two = second.json();
    let token = two["token"].as_str().unwrap();
    let id = two["project"]["id"].as_str().unwrap();
    let tree = socket.join(id, token).await;
    assert_eq!(tree.map("members")[me["id"].as_str().unwrap()]["name"], "Ada L.");
}

#[tokio::test]
async fn names_and_templates_are_checked() {
    let server = TestServer::start().await;
    let stranger = server.stranger();
    for body in [
        json!({"name": ""}),
        json!({"name": "x".repeat(81)}),
        json!({"name": "a\u{202e}b"}),
        json!({"name": "a", "your_name": "\n"}),
        json!({"name": "a", "template": "rust"}),
    ] {
        stranger.post("/api/v1/projects", body).await.expect_problem(400, "bad_request");
    }
}

/// [A7] Who is not in a project is told the same as if it did not exist.
#[tokio::test]
async fn a_project_of_others_is_as_good_as_none() {
    let server = TestServer::start().await;
    let (_, project) = server.project().await;
    let (eve, own) = server.project().await;
    eve.get(&format!("/api/v1/projects/{project}")).await.expect_problem(404, "project_not_found");
    eve.get(&format!("/api/v1/projects/{own}x")).await.expect_problem(404, "project_not_found");
    let create = format!("/api/v1/projects/{project}/documents");
    eve.post(&create, json!({"path": "a"})).await.expect_problem(404, "project_not_found");
    assert_eq!(eve.get("/api/v1/projects").await.json().as_array().unwrap().len(), 1);
}

/// [A11] Where projects are by invitation, the link of the first start lets one person make the first one; where
/// the answer was lost, it lets them in again, after a restart too, until they were seen.
#[tokio::test]
async fn the_first_project_of_an_invited_server_is_made_by_its_first_link() {
    let invited = |config: &mut ensemble_server::config::Config| config.auth.access = Access::Invite;
    let server = TestServer::with(invited).await;
    let stranger = server.stranger();
    assert_eq!(stranger.get("/api/v1/info").await.json()["access"], "invite");
    stranger.post("/api/v1/projects", json!({"name": "Mine"})).await.expect_problem(403, "projects_closed");

    assert!(server.greeting[0].starts_with("Ensemble is ready at http://localhost:"));
    let secret = server.greeting[1].split("/join#").nth(1).unwrap().to_owned();
    let lost = stranger.post("/api/v1/join", json!({"secret": secret, "name": "Ada"})).await;
    assert_eq!(lost.json()["role"], "owner");
    let again = stranger.post("/api/v1/join", json!({"secret": secret, "name": "Ada"})).await;
    assert_eq!((&again.json()["role"], &again.json()["project"]), (&json!("owner"), &lost.json()["project"]));

    let (_, data) = server.stop().await;
    let server = TestServer::on(data, invited).await;
    assert_eq!(server.greeting.len(), 1, "there is a project already");
    let stranger = server.stranger();
    let joined = stranger.post("/api/v1/join", json!({"secret": secret, "name": "Ada"})).await;
    assert_eq!(
        (&joined.json()["role"], &joined.json()["project"]),
        (&json!("owner"), &lost.json()["project"])
    );
    let mut ada = server.stranger();
    ada.cookie = joined.cookie();
    assert_eq!(ada.get("/api/v1/me").await.status.as_u16(), 200);
    crate::support::soon("the link to end", async {
        while stranger.post("/api/v1/join", json!({"secret": secret})).await.status.as_u16() != 410 {}
    })
    .await;

    // An owner may make more; an editor may not.
    assert_eq!(ada.post("/api/v1/projects", json!({"name": "Second"})).await.status.as_u16(), 201);
    let project = joined.json()["project"]["id"].as_str().unwrap().to_owned();
    let invite =
        ada.post(&format!("/api/v1/projects/{project}/invites"), json!({"role": "editor"})).await.json();
    let bob_joined = stranger.post("/api/v1/join", json!({"secret": invite["secret"]})).await;
    let mut bob = server.stranger();
    bob.cookie = bob_joined.cookie();
    bob.post("/api/v1/projects", json!({"name": "Mine"})).await.expect_problem(403, "projects_closed");
}

/// [A19] A token for one project neither makes projects nor joins any; its person's browser does.
#[tokio::test]
async fn a_token_for_one_project_leads_into_no_other() {
    for access in [Access::Open, Access::Invite] {
        let server = TestServer::with(|config| config.auth.access = access).await;
        let first = match access {
            Access::Open => server.stranger().post("/api/v1/projects", json!({"name": "Mine"})).await,
            Access::Invite => {
                let secret = server.greeting[1].split("/join#").nth(1).unwrap();
                server.stranger().post("/api/v1/join", json!({"secret": secret})).await
            }
        };
        let mut program = server.stranger();
        program.token = Some(first.json()["token"].as_str().unwrap().into());
        let mut browser = server.stranger();
        browser.cookie = first.cookie();
        let own = first.json()["project"]["id"].as_str().unwrap().to_owned();
        let other = browser.post("/api/v1/projects", json!({"name": "Other"})).await.json();
        let mut owner = server.stranger();
        owner.token = Some(other["token"].as_str().unwrap().into());
        let other = other["project"]["id"].as_str().unwrap().to_owned();

        program.post("/api/v1/projects", json!({"name": "More"})).await.expect_problem(403, "no_access");
        for (by, project) in [(&program, &own), (&owner, &other)] {
            let links = format!("/api/v1/projects/{project}/invites");
            let link = by.post(&links, json!({"role": "owner", "max_uses": 1})).await.json();
            let body = json!({"secret": link["secret"], "name": "Another"});
            program.post("/api/v1/join", body.clone()).await.expect_problem(403, "no_access");
            assert_eq!(by.get(&links).await.json()[0]["uses"], 0);
            assert_eq!(browser.post("/api/v1/join", body).await.status.as_u16(), 200);
        }
        assert_eq!(browser.get("/api/v1/projects").await.json().as_array().unwrap().len(), 2);
    }
}

#[tokio::test]
async fn an_open_server_greets_with_its_address() {
    let server = TestServer::start().await;
    let url = server.url.replace("127.0.0.1", "localhost");
    assert_eq!(server.greeting, [format!("Ensemble is ready at {url}"), format!("Start here: {url}/")]);
}
