//! Tickets: how a page opens a socket.

use serde_json::json;

use crate::support::{Api, Socket, TestServer};

async fn browser(server: &TestServer) -> (Api, String) {
    let mut browser = server.stranger();
    let made = browser.post("/api/v1/projects", json!({"name": "Mine", "your_name": "Ada"})).await;
    browser.cookie = made.cookie();
    browser.origin = Some(server.url.clone());
    (browser, made.json()["project"]["id"].as_str().unwrap().into())
}

async fn ticket(api: &Api) -> String {
    let made = api.post("/api/v1/socket-tickets", json!({})).await;
    assert_eq!(made.status.as_u16(), 201, "{}", made.text);
    assert!(made.json()["expires_at"].is_string());
    made.json()["ticket"].as_str().unwrap().into()
}

/// [A6] A ticket is used up by the first socket that shows it, and good for every address on that socket.
#[tokio::test]
async fn a_ticket_opens_one_socket() {
    let server = TestServer::start().await;
    let (browser, project) = browser(&server).await;
    let ticket = ticket(&browser).await;
    let mut socket = browser.socket().await;
    // Both at once, as a page does.
    socket.auth(&project, &ticket).await;
    socket.auth(&format!("{project}/turns"), &ticket).await;
    for _ in 0..2 {
        let (address, heard) = loop {
            let (address, heard) = socket.hear().await;
            if !matches!(heard, crate::support::Heard::Presence(_)) {
                break (address, heard);
            }
        };
        assert_eq!(heard, crate::support::Heard::Authenticated("readonly".into()), "{address}");
    }
    assert_eq!(socket.attach(&project, &ticket).await, Ok("readonly".into()), "it is good for staying, too");

    let mut other = browser.socket().await;
    assert_eq!(other.attach(&project, &ticket).await, Err("bad_ticket".into()));
}

/// [A5] A socket of another site's page is refused; one without a page takes bearer tokens only; a cookie alone
/// opens none.
#[tokio::test]
async fn only_our_pages_use_tickets() {
    let server = TestServer::start().await;
    let (mut browser, project) = browser(&server).await;
    for path in ["/sync".to_owned(), format!("/sync/{project}/{project}")] {
        let headers = [("origin", "https://evil.example".to_owned())];
        assert_eq!(Socket::open(&server.url, &path, &headers).await.err(), Some(403));
    }

    let unused = ticket(&browser).await;
    browser.origin = None;
    let mut program = browser.socket().await;
    assert_eq!(program.attach(&project, &unused).await, Err("bad_ticket".into()));

    let cookie = browser.cookie.clone().unwrap();
    let headers = [("origin", server.url.clone()), ("cookie", cookie)];
    let mut page = Socket::open(&server.url, "/sync", &headers).await.unwrap();
    assert_eq!(page.attach(&project, "").await, Err("not_signed_in".into()));

    server.stranger().post("/api/v1/socket-tickets", json!({})).await.expect_problem(401, "not_signed_in");
}
