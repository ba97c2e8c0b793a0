//! The Responses WebSocket against the demo model, behaving and misbehaving.

mod support;

use std::time::Duration;

use ensemble_demo_model::{DemoOptions, ErrorShape, Fault};
use ensemble_model::{
    CancellationToken, DoneReason, InputItem, ModelError, ModelEvent, ModelSettings, Spare, ToolKind,
    Transport, connect,
};

use crate::support::{
    Demo, ask, assert_well_formed, collect, patch, quick, rename_request, text, until, with_fault,
};

fn last_error(events: &[ModelEvent]) -> &ModelError {
    match events.last() {
        Some(ModelEvent::Failed(error)) => error,
        other => panic!("ended with {other:?}"),
    }
}

fn is_done(events: &[ModelEvent]) -> bool {
    matches!(events.last(), Some(ModelEvent::Done { reason: DoneReason::Completed, .. }))
}

#[tokio::test]
async fn an_answer_streams_in_order() {
    let demo = Demo::start(quick()).await;
    let events = ask(&demo.connect(Transport::ResponsesWs), rename_request()).await;
    assert_well_formed(&events);
    assert!(matches!(&events[0], ModelEvent::Started { response_id } if response_id.starts_with("resp_")));
    assert!(text(&events).contains("rule-based"));
    assert!(patch(&events).starts_with("*** Begin Patch\n*** Update File: main.py\n"));
    let begin = events.iter().find(|event| matches!(event, ModelEvent::ToolBegin { .. }));
    assert!(
        matches!(begin, Some(ModelEvent::ToolBegin { item: 1, name, kind: ToolKind::Custom, .. }) if name == "apply_patch")
    );
    let count = events.len();
    assert!(matches!(&events[count - 2], ModelEvent::Usage(usage) if usage.output_tokens > 10));
    let ModelEvent::Done { reason: DoneReason::Completed, output } = &events[count - 1] else {
        panic!("ended with {:?}", events.last())
    };
    assert!(matches!(output.as_slice(), [InputItem::AssistantText(_), InputItem::ToolCall { .. }]));
}

#[tokio::test]
async fn one_connection_serves_many_calls_and_continues_them() {
    let demo = Demo::start(quick()).await;
    let settings = ModelSettings { spare: Spare::None, ..demo.settings(Transport::ResponsesWs) };
    let provider = connect(settings).unwrap();
    let mut request = rename_request();
    for round in 0..5 {
        let events = ask(&provider, request.clone()).await;
        assert!(is_done(&events), "{events:?}");
        assert_eq!(demo.options.stats.chained_calls(), round);
        let Some(ModelEvent::Done { output, .. }) = events.into_iter().last() else { unreachable!() };
        for item in output {
            request.input.push(item.clone());
            if let InputItem::ToolCall { call_id, kind, .. } = item {
                request.input.push(InputItem::ToolOutput { call_id, kind, output: "applied".into() });
            }
        }
        request.input.push(InputItem::UserText("<prompt>\nrename done to finished\n</prompt>".into()));
    }
    assert_eq!(demo.options.stats.calls(), 5);
    assert_eq!(demo.options.stats.connections(), 1);
}

#[tokio::test]
async fn calls_at_the_same_time_use_connections_of_their_own() {
    let demo = Demo::start(quick()).await;
    let provider = demo.connect(Transport::ResponsesWs);
    let calls: Vec<_> = (0..8)
        .map(|_| {
            let provider = std::sync::Arc::clone(&provider);
            tokio::spawn(async move { ask(&provider, rename_request()).await })
        })
        .collect();
    for call in calls {
        assert!(is_done(&call.await.unwrap()));
    }
}

#[tokio::test]
async fn warming_connects_ahead_and_only_once() {
    let demo = Demo::start(quick()).await;
    let settings = ModelSettings { spare: Spare::None, ..demo.settings(Transport::ResponsesWs) };
    let provider = connect(settings).unwrap();
    provider.warm().await.unwrap();
    provider.warm().await.unwrap();
    assert!(is_done(&ask(&provider, rename_request()).await));
    assert_eq!(demo.options.stats.sockets(), 1);
}

#[tokio::test]
async fn an_interruption_closes_the_connection_and_the_spare_takes_over() {
    let demo = Demo::start(DemoOptions { tokens_per_second: 20, ..quick() }).await;
    let provider = demo.connect(Transport::ResponsesWs);
    let stats = demo.options.stats.clone();
    let short = {
        let mut request = rename_request();
        request.max_output_tokens = Some(1);
        request
    };
    ask(&provider, short.clone()).await;
    until("the spare is open", || async { stats.open_sockets() == 2 }).await;

    let cancel = CancellationToken::new();
    let mut stream = provider.call(rename_request(), cancel.clone()).await.unwrap();
    while !matches!(stream.next().await, Some(ModelEvent::TextDelta(_))) {}
    cancel.cancel();
    assert_eq!(stream.next().await, Some(ModelEvent::Failed(ModelError::Interrupted)));
    assert_eq!(stream.next().await, None);
    until("the server has stopped answering", || async { stats.answering() == 0 }).await;

    let opened = stats.sockets();
    let events = ask(&provider, short).await;
    assert!(matches!(events.last(), Some(ModelEvent::Done { reason: DoneReason::Length, .. })));
    until("a new spare is open", || async { stats.open_sockets() == 2 }).await;
    assert!(stats.sockets() <= opened + 1, "the call took the spare");
}

#[tokio::test]
async fn dropping_a_stream_stops_the_server() {
    let demo = Demo::start(DemoOptions { tokens_per_second: 1, ..quick() }).await;
    let provider = demo.connect(Transport::ResponsesWs);
    let stats = demo.options.stats.clone();
    let mut stream = provider.call(rename_request(), CancellationToken::new()).await.unwrap();
    assert!(matches!(stream.next().await, Some(ModelEvent::Started { .. })));
    drop(stream);
    until("the server has stopped", || async { stats.answering() == 0 && stats.calls() == 1 }).await;
}

#[tokio::test]
async fn silence_ends_the_call() {
    let demo = Demo::start(quick()).await;
    let mut settings = demo.settings(Transport::ResponsesWs);
    settings.limits.event_silence = Duration::from_millis(200);
    let provider = connect(settings).unwrap();
    for after in [0, 3] {
        let events = ask(&provider, with_fault(&format!("stall:{after}"))).await;
        assert_well_formed(&events);
        assert!(matches!(last_error(&events), ModelError::TimedOut { .. }), "{events:?}");
    }
    assert!(is_done(&ask(&demo.connect(Transport::ResponsesWs), rename_request()).await));
}

#[tokio::test]
async fn a_cut_in_the_middle_is_reported_and_never_repeated() {
    let demo = Demo::start(quick()).await;
    let provider = demo.connect(Transport::ResponsesWs);
    let events = ask(&provider, with_fault("cut:4")).await;
    assert_well_formed(&events);
    assert_eq!(last_error(&events), &ModelError::Closed);
    assert_eq!(demo.options.stats.calls(), 1);
    assert!(is_done(&ask(&provider, rename_request()).await));
}

#[tokio::test]
async fn a_connection_that_turns_out_dead_is_replaced_once() {
    let demo = Demo::start(quick()).await;
    let provider = demo.connect(Transport::ResponsesWs);
    demo.options.faults.push(Fault::Vanish);
    let events = ask(&provider, rename_request()).await;
    assert_well_formed(&events);
    assert!(is_done(&events), "{events:?}");
    assert_eq!(demo.options.stats.calls(), 2);

    let events = ask(&provider, with_fault("vanish")).await;
    assert!(matches!(last_error(&events), ModelError::Retryable { .. }), "{events:?}");
}

#[tokio::test]
async fn a_forgotten_chain_is_sent_again_in_full() {
    let demo = Demo::start(quick()).await;
    let provider = demo.connect(Transport::ResponsesWs);
    let mut request = rename_request();
    let events = ask(&provider, request.clone()).await;
    let Some(ModelEvent::Done { output, .. }) = events.into_iter().last() else { panic!("not done") };
    request.input.extend(output);
    request.input.push(InputItem::UserText("<prompt>\nrename done to ready\n</prompt>".into()));
    demo.options.faults.push(Fault::Forget);
    let events = ask(&provider, request).await;
    assert_well_formed(&events);
    assert!(patch(&events).contains("+ready = True"), "{events:?}");
    // The chained attempt was refused before it counted as an answer.
    assert_eq!(demo.options.stats.calls(), 2);
    assert_eq!(demo.options.stats.chained_calls(), 0);
}

#[tokio::test]
async fn the_connection_limit_means_a_new_connection() {
    let demo = Demo::start(quick()).await;
    let settings = ModelSettings { spare: Spare::None, ..demo.settings(Transport::ResponsesWs) };
    let provider = connect(settings).unwrap();
    ask(&provider, rename_request()).await;
    demo.options.faults.push(Fault::ConnectionLimit);
    assert!(is_done(&ask(&provider, rename_request()).await));
    assert_eq!(demo.options.stats.sockets(), 2);
}

#[tokio::test]
async fn a_connection_at_its_age_is_replaced_before_it_is_used() {
    let demo = Demo::start(quick()).await;
    let mut settings = demo.settings(Transport::ResponsesWs);
    settings.limits.connection_age = Duration::ZERO;
    settings.spare = Spare::None;
    let provider = connect(settings).unwrap();
    for opened in 1..=3 {
        assert!(is_done(&ask(&provider, rename_request()).await));
        assert_eq!(demo.options.stats.sockets(), opened);
    }
}

#[tokio::test]
async fn every_error_shape_ends_the_call() {
    let demo = Demo::start(quick()).await;
    let provider = demo.connect(Transport::ResponsesWs);
    for shape in [ErrorShape::Nested, ErrorShape::Flat, ErrorShape::Failed] {
        for after in [0, 1, 5] {
            for (code, retryable) in [
                ("server_is_overloaded", true),
                ("context_length_exceeded", false),
                ("invalid_prompt", false),
            ] {
                demo.options.faults.push(Fault::Error { shape, code: code.into(), after });
                let events = ask(&provider, rename_request()).await;
                assert_well_formed(&events);
                assert_eq!(last_error(&events).is_retryable(), retryable, "{shape:?} {after} {code}");
            }
        }
    }
    demo.options.faults.push(Fault::RateLimit);
    let events = ask(&provider, rename_request()).await;
    let wait = Some(Duration::from_millis(1500));
    assert_eq!(last_error(&events), &ModelError::RateLimited { retry_after: wait });
    assert!(is_done(&ask(&provider, rename_request()).await));
}

#[tokio::test]
async fn garbage_ends_the_call_and_not_the_provider() {
    let demo = Demo::start(quick()).await;
    let provider = demo.connect(Transport::ResponsesWs);
    for fault in ["garble:2", "binary:2", "garble", "binary"] {
        let events = ask(&provider, with_fault(fault)).await;
        assert_well_formed(&events);
        assert!(matches!(last_error(&events), ModelError::Malformed { .. }), "{fault}: {events:?}");
    }
    assert!(is_done(&ask(&provider, rename_request()).await));
}

#[tokio::test]
async fn unknown_events_and_missing_fields_change_nothing() {
    let demo = Demo::start(quick()).await;
    let provider = demo.connect(Transport::ResponsesWs);
    let plain = ask(&provider, rename_request()).await;
    for fault in ["unknown_events", "missing_fields"] {
        let events = ask(&provider, with_fault(fault)).await;
        assert_well_formed(&events);
        assert_eq!(text(&events), text(&plain), "{fault}");
        assert_eq!(patch(&events), patch(&plain), "{fault}");
    }
}

#[tokio::test]
async fn a_field_that_is_refused_is_left_out_from_then_on() {
    let demo = Demo::start(quick()).await;
    let provider = demo.connect(Transport::ResponsesWs);
    let mut request = rename_request();
    request.prompt_cache_key = Some("project".into());
    for _ in 0..2 {
        demo.options.faults.push(Fault::Unsupported { field: "prompt_cache_key".into() });
        assert!(is_done(&ask(&provider, request.clone()).await));
    }
    // The second call no longer carries the field, so its fault finds nothing to refuse.
    assert_eq!(demo.options.stats.calls(), 2);
}

#[tokio::test]
async fn a_server_without_websockets_is_reached_over_http() {
    let demo = Demo::start(DemoOptions { refuse_upgrades: Some(426), ..quick() }).await;
    let provider = demo.connect(Transport::ResponsesWs);
    for _ in 0..2 {
        let events = ask(&provider, rename_request()).await;
        assert_well_formed(&events);
        assert!(is_done(&events));
        assert!(patch(&events).contains("+subtotal = 1"));
    }
    provider.warm().await.unwrap();
    assert_eq!(demo.options.stats.sockets(), 0);
    assert_eq!(demo.options.stats.calls(), 2);
}

#[tokio::test]
async fn a_server_that_restarted_is_found_again() {
    let demo = Demo::start(quick()).await;
    let provider = demo.connect(Transport::ResponsesWs);
    assert!(is_done(&ask(&provider, rename_request()).await));
    let address = demo.base_url.trim_start_matches("http://").trim_end_matches("/v1").to_owned();
    let stats = demo.options.stats.clone();
    drop(demo);
    until("the first server has stopped", || async { stats.open_sockets() == 0 }).await;

    let options = quick();
    let shutdown = CancellationToken::new();
    let listener = tokio::net::TcpListener::bind(&address).await.unwrap();
    tokio::spawn(ensemble_demo_model::DemoModel::serve(listener, options.clone(), shutdown.clone()));
    assert!(is_done(&ask(&provider, rename_request()).await));
    assert_eq!(options.stats.calls(), 1);
    shutdown.cancel();
}

#[tokio::test]
async fn a_server_that_is_not_there_is_unreachable() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base_url = format!("http://{}/v1", listener.local_addr().unwrap());
    drop(listener);
    for transport in [Transport::ResponsesWs, Transport::ResponsesSse, Transport::Chat] {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let provider = connect(ModelSettings::new("Gone", "demo", &base_url, transport)).unwrap();
        let error = provider.call(rename_request(), CancellationToken::new()).await.unwrap_err();
        assert!(matches!(error, ModelError::Unreachable { .. }), "{error:?}");
    }
}

#[tokio::test]
async fn a_server_that_never_answers_the_handshake_is_given_up() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base_url = format!("http://{}/v1", listener.local_addr().unwrap());
    let mut settings = ModelSettings::new("Mute", "demo", &base_url, Transport::ResponsesWs);
    settings.limits.connect = Duration::from_millis(50);
    let error =
        connect(settings).unwrap().call(rename_request(), CancellationToken::new()).await.unwrap_err();
    assert!(matches!(error, ModelError::TimedOut { during: "connecting", .. }), "{error:?}");
    drop(listener);
}

#[tokio::test]
async fn cancelling_before_the_connection_stands_is_an_interruption() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base_url = format!("http://{}/v1", listener.local_addr().unwrap());
    let provider = connect(ModelSettings::new("Mute", "demo", &base_url, Transport::ResponsesWs)).unwrap();
    let cancel = CancellationToken::new();
    let call = tokio::spawn({
        let cancel = cancel.clone();
        async move { provider.call(rename_request(), cancel).await.map(|_| ()) }
    });
    let accepted = listener.accept().await.unwrap();
    cancel.cancel();
    assert_eq!(call.await.unwrap(), Err(ModelError::Interrupted));
    drop(accepted);
}

#[tokio::test]
async fn a_slow_reader_loses_nothing() {
    let demo = Demo::start(quick()).await;
    let provider = demo.connect(Transport::ResponsesWs);
    let mut request = rename_request();
    let lines: Vec<String> = (0..3000).map(|line| format!("total_{line} = total + {line}\n")).collect();
    let lines = lines.concat();
    request.input = vec![InputItem::UserText(format!(
        "<document path=\"big.py\" version=\"1.1\" lines=\"3000\">\n{lines}</document>\n\
         <prompt>\nrename total to subtotal\n</prompt>"
    ))];
    let mut stream = provider.call(request, CancellationToken::new()).await.unwrap();
    let stats = demo.options.stats.clone();
    until("the answer has begun", || async { stats.answering() == 1 }).await;
    let mut events = Vec::new();
    while let Some(event) = stream.next().await {
        if events.len() % 1000 == 0 {
            tokio::task::yield_now().await;
        }
        events.push(event);
    }
    assert!(is_done(&events));
    assert_eq!(patch(&events).matches("+total_").count(), 3000);
}

#[tokio::test]
async fn a_key_is_sent_and_never_shown() {
    const KEY: &str = "sk-canary-5f2d";
    let demo = Demo::start(DemoOptions { api_key: Some(KEY.into()), ..quick() }).await;
    for transport in [Transport::ResponsesWs, Transport::ResponsesSse, Transport::Chat] {
        let settings = demo.settings(transport).with_api_key(KEY.to_owned().into());
        assert!(!format!("{settings:?}").contains("canary"));
        let provider = connect(settings).unwrap();
        assert!(is_done(&ask(&provider, rename_request()).await), "{transport:?}");
        assert!(!format!("{provider:?}").contains("canary"));

        let wrong = demo.settings(transport).with_api_key("sk-canary-wrong".to_owned().into());
        let provider = connect(wrong).unwrap();
        let error = provider.call(rename_request(), CancellationToken::new()).await.unwrap_err();
        assert_eq!(error, ModelError::Unauthorized { status: 401 });
        assert!(!format!("{error} {error:?} {provider:?}").contains("canary"));
    }
    // An error of the server that repeats the key and the prompt shows neither.
    demo.options.faults.push(Fault::Error {
        shape: ErrorShape::Flat,
        code: format!("{KEY} rename total"),
        after: 2,
    });
    let provider =
        connect(demo.settings(Transport::ResponsesWs).with_api_key(KEY.to_owned().into())).unwrap();
    let events = collect(provider.call(rename_request(), CancellationToken::new()).await.unwrap()).await;
    let error = last_error(&events);
    assert!(!format!("{error} {error:?}").contains("canary"));
    assert!(!format!("{error} {error:?}").contains("total"));
}
