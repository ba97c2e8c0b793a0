//! Responses and Chat Completions over HTTP streaming, against the demo model.

mod support;

use std::time::Duration;

use ensemble_demo_model::{DemoOptions, ErrorShape, Fault};
use ensemble_model::{
    CallRequest, CancellationToken, DoneReason, InputItem, ModelError, ModelEvent, ToolKind, Transport,
    connect,
};

use crate::support::{Demo, ask, assert_well_formed, patch, quick, rename_request, text, until, with_fault};

fn last_error(events: &[ModelEvent]) -> &ModelError {
    match events.last() {
        Some(ModelEvent::Failed(error)) => error,
        other => panic!("ended with {other:?}"),
    }
}

fn is_done(events: &[ModelEvent]) -> bool {
    matches!(events.last(), Some(ModelEvent::Done { reason: DoneReason::Completed, .. }))
}

/// A request whose answer has characters of several bytes.
fn smile_request() -> CallRequest {
    let mut request = rename_request();
    request.input = vec![InputItem::UserText(
        "<document path=\"main.py\" version=\"1.1\" lines=\"1\">\ntotal = '\u{1f642}\u{e9}\u{1f642}'\n</document>\n\
         <prompt>\nrename total to subtotal\n</prompt>"
            .into(),
    )];
    request
}

#[tokio::test]
async fn all_transports_say_the_same() {
    let demo = Demo::start(quick()).await;
    let over_ws = ask(&demo.connect(Transport::ResponsesWs), rename_request()).await;
    let over_sse = ask(&demo.connect(Transport::ResponsesSse), rename_request()).await;
    assert_well_formed(&over_sse);
    assert_eq!(text(&over_sse), text(&over_ws));
    assert_eq!(patch(&over_sse), patch(&over_ws));

    let over_chat = ask(&demo.connect(Transport::Chat), rename_request()).await;
    assert_well_formed(&over_chat);
    assert!(is_done(&over_chat));
    assert!(text(&over_chat).contains(&patch(&over_ws)), "the patch comes in the text");
    assert!(
        over_chat.iter().any(|event| matches!(event, ModelEvent::Usage(usage) if usage.output_tokens > 10))
    );
}

#[tokio::test]
async fn any_cut_of_the_bytes_gives_the_same_answer() {
    for transport in [Transport::ResponsesSse, Transport::Chat] {
        let whole = {
            let demo = Demo::start(quick()).await;
            ask(&demo.connect(transport), smile_request()).await
        };
        assert!(is_done(&whole));
        for size in [1, 2, 3, 7, 1000] {
            let demo = Demo::start(DemoOptions { chunk_bytes: Some(size), ..quick() }).await;
            let events = ask(&demo.connect(transport), smile_request()).await;
            assert_eq!(text(&events), text(&whole), "{transport:?} in chunks of {size}");
            assert!(is_done(&events));
        }
    }
}

#[tokio::test]
async fn a_conversation_goes_on_with_tool_outputs() {
    let demo = Demo::start(quick()).await;
    for transport in [Transport::ResponsesSse, Transport::Chat] {
        let provider = demo.connect(transport);
        let mut request = rename_request();
        let events = ask(&provider, request.clone()).await;
        let Some(ModelEvent::Done { output, .. }) = events.into_iter().last() else { panic!("not done") };
        let call = output.iter().find_map(|item| match item {
            InputItem::ToolCall { call_id, .. } => Some(call_id.clone()),
            _ => None,
        });
        request.input.extend(output);
        if let Some(call_id) = call {
            request.input.push(InputItem::ToolOutput {
                call_id,
                kind: ToolKind::Custom,
                output: "applied".into(),
            });
            assert!(text(&ask(&provider, request.clone()).await).starts_with("Done."));
        }
        request.input.push(InputItem::UserText("<prompt>\nrename done to ready\n</prompt>".into()));
        assert!(text(&ask(&provider, request).await).contains("`ready`"), "{transport:?}");
    }
}

#[tokio::test]
async fn a_limit_on_the_output_is_said() {
    let demo = Demo::start(quick()).await;
    for transport in [Transport::ResponsesSse, Transport::Chat] {
        let request = CallRequest { max_output_tokens: Some(3), ..rename_request() };
        let events = ask(&demo.connect(transport), request).await;
        assert_well_formed(&events);
        assert!(matches!(events.last(), Some(ModelEvent::Done { reason: DoneReason::Length, .. })));
    }
}

#[tokio::test]
async fn silence_cuts_and_garbage_end_the_call() {
    let demo = Demo::start(quick()).await;
    let mut settings = demo.settings(Transport::ResponsesSse);
    settings.limits.event_silence = Duration::from_millis(300);
    let impatient = connect(settings).unwrap();
    for fault in ["stall", "stall:3"] {
        let events = ask(&impatient, with_fault(fault)).await;
        assert_well_formed(&events);
        assert!(matches!(last_error(&events), ModelError::TimedOut { .. }), "{fault}: {events:?}");
    }
    let provider = demo.connect(Transport::ResponsesSse);
    for (fault, expected) in [
        ("cut:3", "closed in the middle"),
        ("cut", "before it answered"),
        ("garble:3", "understood"),
        ("binary:3", "understood"),
        ("failed:2", "server_error"),
        ("error_flat:2", "server_error"),
    ] {
        let events = ask(&provider, with_fault(fault)).await;
        assert_well_formed(&events);
        assert!(last_error(&events).to_string().contains(expected), "{fault}: {events:?}");
    }
    for fault in ["unknown_events", "missing_fields"] {
        let events = ask(&provider, with_fault(fault)).await;
        assert!(is_done(&events) && patch(&events).contains("+subtotal = 1"), "{fault}");
    }

    let mut settings = demo.settings(Transport::Chat);
    settings.limits.event_silence = Duration::from_millis(300);
    let provider = connect(settings).unwrap();
    demo.options.faults.push(Fault::Stall { after: 2 });
    assert!(matches!(last_error(&ask(&provider, rename_request()).await), ModelError::TimedOut { .. }));
    let provider = demo.connect(Transport::Chat);
    demo.options.faults.push(Fault::Cut { after: 2 });
    assert_eq!(last_error(&ask(&provider, rename_request()).await), &ModelError::Closed);
    assert!(is_done(&ask(&provider, rename_request()).await));
}

#[tokio::test]
async fn refusals_come_before_the_stream() {
    let demo = Demo::start(quick()).await;
    for transport in [Transport::ResponsesSse, Transport::Chat] {
        let provider = demo.connect(transport);
        demo.options.faults.push(Fault::RateLimit);
        let error = provider.call(rename_request(), CancellationToken::new()).await.unwrap_err();
        assert_eq!(error, ModelError::RateLimited { retry_after: Some(Duration::from_secs(2)) });
    }
    let provider = demo.connect(Transport::ResponsesSse);
    demo.options.faults.push(Fault::Error {
        shape: ErrorShape::Nested,
        code: "context_length_exceeded".into(),
        after: 0,
    });
    let error = provider.call(rename_request(), CancellationToken::new()).await.unwrap_err();
    assert_eq!(error, ModelError::ContextTooLong);
    demo.options.faults.push(Fault::Unsupported { field: "prompt_cache_key".into() });
    let request = CallRequest { prompt_cache_key: Some("project".into()), ..rename_request() };
    assert!(is_done(&ask(&provider, request).await));
}

#[tokio::test]
async fn an_interruption_stops_the_server() {
    let demo = Demo::start(DemoOptions { tokens_per_second: 20, ..quick() }).await;
    let stats = demo.options.stats.clone();
    for transport in [Transport::ResponsesSse, Transport::Chat] {
        let provider = demo.connect(transport);
        let cancel = CancellationToken::new();
        let mut stream = provider.call(rename_request(), cancel.clone()).await.unwrap();
        while !matches!(stream.next().await, Some(ModelEvent::TextDelta(_))) {}
        assert_eq!(stats.answering(), 1);
        cancel.cancel();
        assert_eq!(stream.next().await, Some(ModelEvent::Failed(ModelError::Interrupted)));
        until("the server has stopped", || async { stats.answering() == 0 }).await;
    }
}

#[tokio::test]
async fn redirects_are_not_followed() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let elsewhere = Demo::start(quick()).await;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base_url = format!("http://{}/v1", listener.local_addr().unwrap());
    let target = elsewhere.base_url.clone();
    let server = tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut head = [0; 4096];
            let _ = stream.read(&mut head).await;
            let answer = format!(
                "HTTP/1.1 307 Temporary Redirect\r\nLocation: {target}/responses\r\nContent-Length: 0\r\n\
                 Connection: close\r\n\r\n"
            );
            let _ = stream.write_all(answer.as_bytes()).await;
            let _ = stream.shutdown().await;
        }
    });
    for transport in [Transport::ResponsesWs, Transport::ResponsesSse, Transport::Chat] {
        let mut settings = elsewhere.settings(transport);
        settings.base_url.clone_from(&base_url);
        let error =
            connect(settings).unwrap().call(rename_request(), CancellationToken::new()).await.unwrap_err();
        assert!(matches!(error, ModelError::Rejected { .. }), "{transport:?}: {error:?}");
    }
    assert_eq!(elsewhere.options.stats.calls(), 0);
    server.abort();
}
