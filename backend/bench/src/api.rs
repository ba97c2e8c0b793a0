//! The HTTP calls a scenario needs.

use std::time::Duration;

use anyhow::{Context as _, bail};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

/// How long any one call may take: long enough for a machine that has much else to do.
const CALL_TIME: Duration = Duration::from_mins(1);

/// A caller of one server, signed in or not.
#[derive(Debug, Clone)]
pub(crate) struct Api {
    http: reqwest::Client,
    base: String,
    token: Option<String>,
}

/// A project just made, and its owner's token.
#[derive(Debug, Clone)]
pub(crate) struct NewProject {
    /// Its id.
    pub(crate) id: String,
    /// The owner's bearer token.
    pub(crate) token: String,
}

/// A document's text at a version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct VersionedText {
    /// The text.
    pub(crate) text: String,
    /// `{epoch}.{seq}`.
    pub(crate) version: String,
}

impl VersionedText {
    /// Epoch and sequence number.
    pub(crate) fn numbers(&self) -> anyhow::Result<(u64, u64)> {
        let (epoch, seq) = self.version.split_once('.').context("a version is `{epoch}.{seq}`")?;
        Ok((epoch.parse()?, seq.parse()?))
    }
}

impl Api {
    /// Somebody who has not signed in.
    pub(crate) fn new(base: &str) -> anyhow::Result<Self> {
        // No cookie is kept: every caller is who its token says.
        let http = reqwest::Client::builder().timeout(CALL_TIME).no_proxy().build()?;
        Ok(Self { http, base: base.to_owned(), token: None })
    }

    /// The same, with a token.
    #[must_use]
    pub(crate) fn with_token(&self, token: &str) -> Self {
        Self { token: Some(token.to_owned()), ..self.clone() }
    }

    async fn call(
        &self,
        method: Method,
        path: &str,
        body: Option<Value>,
    ) -> anyhow::Result<reqwest::Response> {
        let url = format!("{}/api/v1{path}", self.base);
        let mut request = self.http.request(method.clone(), url);
        if let Some(token) = &self.token {
            request = request.bearer_auth(token);
        }
        if let Some(body) = body {
            request = request.json(&body);
        }
        let answer = request.send().await.with_context(|| format!("{method} {path} found no server"))?;
        if !answer.status().is_success() {
            let status: StatusCode = answer.status();
            bail!("{method} {path} answered {status}: {}", answer.text().await.unwrap_or_default());
        }
        Ok(answer)
    }

    async fn json(&self, method: Method, path: &str, body: Option<Value>) -> anyhow::Result<Value> {
        Ok(self.call(method, path, body).await?.json().await?)
    }

    /// Makes an empty project.
    pub(crate) async fn create_project(&self) -> anyhow::Result<NewProject> {
        let body = json!({"name": "Bench", "template": "empty", "your_name": "Ada"});
        let made = self.json(Method::POST, "/projects", Some(body)).await?;
        Ok(NewProject { id: word(&made, "/project/id")?, token: word(&made, "/token")? })
    }

    /// Makes a link for editors and joins by it under a name; returns the new person's token.
    pub(crate) async fn invite(&self, project: &str, name: &str) -> anyhow::Result<String> {
        let path = format!("/projects/{project}/invites");
        let invite = self.json(Method::POST, &path, Some(json!({"role": "editor"}))).await?;
        let body = json!({"secret": word(&invite, "/secret")?, "name": name});
        let stranger = Self { token: None, ..self.clone() };
        word(&stranger.json(Method::POST, "/join", Some(body)).await?, "/token")
    }

    /// Makes a document; returns its id.
    pub(crate) async fn create_document(
        &self,
        project: &str,
        path: &str,
        text: &str,
    ) -> anyhow::Result<String> {
        let body = json!({"path": path, "text": text});
        word(&self.json(Method::POST, &format!("/projects/{project}/documents"), Some(body)).await?, "/id")
    }

    /// A document's text, and the version it is of.
    pub(crate) async fn text(&self, project: &str, document: &str) -> anyhow::Result<VersionedText> {
        let path = format!("/projects/{project}/documents/{document}/text");
        let answer = self.call(Method::GET, &path, None).await?;
        let tag = answer.headers().get("etag").context("the text has no ETag")?.to_str()?.to_owned();
        let version = tag.trim_start_matches("W/").trim_matches('"').to_owned();
        Ok(VersionedText { text: answer.text().await?, version })
    }

    /// Starts a turn in a document; returns its id.
    pub(crate) async fn start_turn(
        &self,
        project: &str,
        document: &str,
        prompt: &str,
    ) -> anyhow::Result<String> {
        let body = json!({"prompt": prompt, "document": document});
        let made = self.json(Method::POST, &format!("/projects/{project}/turns"), Some(body)).await?;
        word(&made, "/turn/id").or_else(|_| word(&made, "/id"))
    }

    /// A turn.
    pub(crate) async fn turn(&self, project: &str, turn: &str) -> anyhow::Result<Value> {
        let mut answer = self.json(Method::GET, &format!("/projects/{project}/turns/{turn}"), None).await?;
        Ok(answer.get_mut("turn").map(Value::take).unwrap_or(answer))
    }

    /// Stops a turn.
    pub(crate) async fn interrupt_turn(&self, project: &str, turn: &str) -> anyhow::Result<()> {
        let path = format!("/projects/{project}/turns/{turn}/interrupt");
        self.call(Method::POST, &path, Some(json!({}))).await.map(drop)
    }

    /// Takes back what a turn wrote.
    pub(crate) async fn reject_turn(&self, project: &str, turn: &str) -> anyhow::Result<()> {
        let path = format!("/projects/{project}/turns/{turn}/reject");
        self.call(Method::POST, &path, Some(json!({}))).await.map(drop)
    }

    /// Whether the server says that it can do its work: also that its database takes writes.
    pub(crate) async fn is_ready(&self) -> anyhow::Result<bool> {
        let answer = self.http.get(format!("{}/health/ready", self.base)).send().await?;
        Ok(answer.status().is_success())
    }

    /// Waits until a turn is over, and returns it.
    pub(crate) async fn turn_over(
        &self,
        project: &str,
        turn: &str,
        limit: Duration,
    ) -> anyhow::Result<Value> {
        let waiting = async {
            loop {
                let turn = self.turn(project, turn).await?;
                let status = turn.get("status").and_then(Value::as_str).unwrap_or_default();
                if matches!(status, "done" | "interrupted" | "failed") {
                    return Ok(turn);
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(limit, waiting).await.context("the turn did not end in time")?
    }
}

fn word(value: &Value, pointer: &str) -> anyhow::Result<String> {
    let found = value.pointer(pointer).and_then(Value::as_str);
    Ok(found.with_context(|| format!("the answer has no `{pointer}`"))?.to_owned())
}
