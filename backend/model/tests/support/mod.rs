//! A demo model on a port of its own, and ways to talk to it.

use std::{future::Future, sync::Arc, time::Duration};

use ensemble_demo_model::{DemoModel, DemoOptions};
use ensemble_model::{
    CallRequest, CancellationToken, EventStream, InputItem, ModelEvent, ModelProvider, ModelSettings, Tool,
    Transport, connect,
};
use tokio::net::TcpListener;

/// Longer than anything here takes on a busy machine; reached only when a test has failed.
const PATIENCE: Duration = Duration::from_secs(20);

/// A running demo model; it stops when dropped.
pub(crate) struct Demo {
    pub(crate) base_url: String,
    pub(crate) options: DemoOptions,
    shutdown: CancellationToken,
}

impl Demo {
    pub(crate) async fn start(options: DemoOptions) -> Self {
        // Two tests may come here at once; one of them installs it.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
        let base_url = format!("http://{}/v1", listener.local_addr().expect("it is bound"));
        let shutdown = CancellationToken::new();
        tokio::spawn(DemoModel::serve(listener, options.clone(), shutdown.clone()));
        Self { base_url, options, shutdown }
    }

    pub(crate) fn settings(&self, transport: Transport) -> ModelSettings {
        ModelSettings::new("Demo", "demo", &self.base_url, transport)
    }

    pub(crate) fn connect(&self, transport: Transport) -> Arc<dyn ModelProvider> {
        connect(self.settings(transport)).expect("the settings are good")
    }

    pub(crate) fn stop(&self) {
        self.shutdown.cancel();
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Options with no pauses.
pub(crate) fn quick() -> DemoOptions {
    DemoOptions { tokens_per_second: 0, first_token_delay: Duration::ZERO, ..DemoOptions::default() }
}

/// Asks for a rename, with the patch as a custom tool.
pub(crate) fn rename_request() -> CallRequest {
    CallRequest {
        instructions: "Edit with apply_patch.".into(),
        input: vec![InputItem::UserText(
            "<document path=\"main.py\" open=\"true\" version=\"1.1\" lines=\"3\">\n\
             total = 1\nprint(total)\ndone = True\n</document>\n\
             <prompt>\nrename total to subtotal\n</prompt>"
                .into(),
        )],
        tools: vec![Tool::Custom {
            name: "apply_patch".into(),
            description: "Edits files. Free-form, not JSON.".into(),
            lark: Some("start: /(.|\\n)+/".into()),
        }],
        ..CallRequest::default()
    }
}

/// The same with a fault, named as the demo model reads it.
pub(crate) fn with_fault(fault: &str) -> CallRequest {
    let mut request = rename_request();
    request.metadata.insert("fault".into(), fault.into());
    request
}

/// All events of a stream.
pub(crate) async fn collect(mut stream: EventStream) -> Vec<ModelEvent> {
    let all = async {
        let mut events = Vec::new();
        while let Some(event) = stream.next().await {
            events.push(event);
        }
        events
    };
    tokio::time::timeout(PATIENCE, all).await.expect("the stream ends")
}

/// Calls and returns all events.
pub(crate) async fn ask(provider: &Arc<dyn ModelProvider>, request: CallRequest) -> Vec<ModelEvent> {
    collect(provider.call(request, CancellationToken::new()).await.expect("the call is accepted")).await
}

/// Waits until a condition holds.
pub(crate) async fn until<F: Future<Output = bool>>(what: &str, mut condition: impl FnMut() -> F) {
    let met = async {
        while !condition().await {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    assert!(tokio::time::timeout(PATIENCE, met).await.is_ok(), "never: {what}");
}

/// The joined text of an answer.
pub(crate) fn text(events: &[ModelEvent]) -> String {
    events
        .iter()
        .filter_map(|event| match event {
            ModelEvent::TextDelta(delta) => Some(delta.as_str()),
            _ => None,
        })
        .collect()
}

/// The patch of an answer: the joined deltas of its tool call, which must equal its end.
pub(crate) fn patch(events: &[ModelEvent]) -> String {
    let deltas: String = events
        .iter()
        .filter_map(|event| match event {
            ModelEvent::ToolInputDelta { delta, .. } => Some(delta.as_str()),
            _ => None,
        })
        .collect();
    let end = events.iter().find_map(|event| match event {
        ModelEvent::ToolEnd { input, .. } => Some(input.clone()),
        _ => None,
    });
    assert_eq!(end.as_deref(), Some(deltas.as_str()));
    deltas
}

/// Checks what every provider guarantees of a stream.
pub(crate) fn assert_well_formed(events: &[ModelEvent]) {
    let terminals = events.iter().filter(|event| event.is_terminal()).count();
    assert_eq!(terminals, 1, "{events:?}");
    assert!(events.last().is_some_and(ModelEvent::is_terminal));
    let starts = events.iter().filter(|event| matches!(event, ModelEvent::Started { .. })).count();
    assert!(starts <= 1, "{events:?}");
    let mut open = Vec::new();
    for event in events {
        match event {
            ModelEvent::ToolBegin { item, .. } => open.push(*item),
            ModelEvent::ToolInputDelta { item, .. } => assert!(open.contains(item)),
            ModelEvent::ToolEnd { item, .. } => {
                assert!(open.contains(item));
                open.retain(|other| other != item);
            }
            _ => {}
        }
    }
}
