//! Connections: how many, how slow, and in how many pieces.

use std::time::Duration;

use ensemble_protocol::limits;
use ensemble_protocol::sync::SyncMessage;
use futures_util::future::join_all;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};

use crate::support::{Api, Heard, Socket, TestServer, soon, status};

/// A connection that speaks byte by byte.
struct Raw(TcpStream);

impl Raw {
    async fn open(server: &TestServer) -> Self {
        Self(TcpStream::connect(server.url.strip_prefix("http://").unwrap()).await.unwrap())
    }

    /// Asks for a WebSocket, is given it, and goes on as before.
    async fn websocket(server: &TestServer, path: &str) -> Self {
        Self::open(server).await.upgraded(path).await
    }

    /// As [`Raw::websocket`], on a line that holds little on its way.
    async fn narrow_websocket(server: &TestServer, path: &str) -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(32 * 1024).unwrap();
        let address = server.url.strip_prefix("http://").unwrap().parse().unwrap();
        Self(socket.connect(address).await.unwrap()).upgraded(path).await
    }

    async fn upgraded(self, path: &str) -> Self {
        let mut raw = self;
        raw.say(&upgrade(path)).await;
        let mut answer = Vec::new();
        while !answer.ends_with(b"\r\n\r\n") {
            answer.push(soon("an upgrade", raw.0.read_u8()).await.unwrap());
        }
        assert!(answer.starts_with(b"HTTP/1.1 101"), "{}", String::from_utf8_lossy(&answer));
        raw
    }

    async fn say(&mut self, what: &str) {
        self.0.write_all(what.as_bytes()).await.unwrap();
    }

    /// Everything until the other side closes.
    async fn rest(&mut self) -> String {
        let mut rest = Vec::new();
        // A reset after the last byte is an end too.
        let _ = soon("the end of the connection", self.0.read_to_end(&mut rest)).await;
        String::from_utf8_lossy(&rest).into_owned()
    }

    /// Sends a frame; whether the connection still took it.
    async fn frame(&mut self, first: u8, content: &[u8]) -> bool {
        let mut frame = vec![first, 0x80 | u8::try_from(content.len()).unwrap(), 0, 0, 0, 0];
        frame.extend(content);
        self.0.write_all(&frame).await.is_ok()
    }

    /// The code of the close frame that comes, sooner or later.
    async fn close_code(&mut self) -> u16 {
        loop {
            let first = soon("a frame", self.0.read_u8()).await.unwrap();
            let short = self.0.read_u8().await.unwrap();
            let length = match short {
                126 => u64::from(self.0.read_u16().await.unwrap()),
                127 => self.0.read_u64().await.unwrap(),
                short => u64::from(short),
            };
            let mut content = vec![0; usize::try_from(length).unwrap()];
            self.0.read_exact(&mut content).await.unwrap();
            if first == 0x88 {
                return u16::from_be_bytes([content[0], content[1]]);
            }
        }
    }
}

fn upgrade(path: &str) -> String {
    format!(
        "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
    )
}

const ALIVE: &str = "GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n";

/// Somebody with a document open, to see that they are not disturbed.
struct Calm {
    ada: Api,
    project: String,
    address: String,
    socket: Socket,
    text: crate::support::Replica,
}

impl Calm {
    async fn at(server: &TestServer) -> Self {
        let (ada, project) = server.project().await;
        let id = ada.document(&project, "calm.txt", "").await;
        let address = format!("{project}/{id}");
        let mut socket = ada.socket().await;
        let text = socket.join(&address, ada.token()).await;
        Self { ada, project, address, socket, text }
    }

    /// Types, and is told that it is on disk.
    async fn goes_on(&mut self) {
        let typed = self.text.insert(0, "x");
        self.socket.sync(&self.address, SyncMessage::Update(&typed)).await;
        assert!(self.socket.wait_for(&self.address, status).await);
    }
}

/// [S26] The head of a request that drips is not waited for, and neither is a request that never comes.
#[tokio::test]
async fn a_dripping_head_is_not_waited_for() {
    let server = TestServer::with(|config| {
        config.limits.connections.times.head = Duration::from_millis(300);
        config.limits.connections.times.idle = Duration::from_millis(600);
    })
    .await;
    let mut calm = Calm::at(&server).await;
    let mut dripping = Raw::open(&server).await;
    dripping.say("GET /health/live HTTP/1.1\r\nHost: x\r\n").await;
    let (mut taking, mut giving) = dripping.0.into_split();
    let drip = tokio::spawn(async move {
        while giving.write_all(b"X-Drip: 1\r\n").await.is_ok() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    let mut answer = Vec::new();
    let _ = soon("the dripping connection to be closed", taking.read_to_end(&mut answer)).await;
    assert!(answer.is_empty(), "{}", String::from_utf8_lossy(&answer));
    soon("the drip to end", drip).await.unwrap();

    let mut silent = Raw::open(&server).await;
    assert_eq!(silent.rest().await, "", "nothing was asked");
    let mut once = Raw::open(&server).await;
    once.say(ALIVE).await;
    assert!(once.rest().await.starts_with("HTTP/1.1 200"), "asked once, then nothing more");
    calm.goes_on().await;
}

/// [S26] A head that is too large is refused.
#[tokio::test]
async fn a_head_that_is_too_large_is_refused() {
    let server = TestServer::start().await;
    let large = format!("X-Large: {}\r\n", "x".repeat(limits::HEAD_BYTES));
    let many = "X-Many: 1\r\n".repeat(200);
    for headers in [large, many] {
        let mut raw = Raw::open(&server).await;
        // The refusal may come before all was said.
        let _ = raw.0.write_all(format!("GET / HTTP/1.1\r\nHost: x\r\n{headers}\r\n").as_bytes()).await;
        let answer = raw.rest().await;
        assert!(answer.starts_with("HTTP/1.1 431"), "{answer}");
    }
}

/// [S26] An answer that nobody takes is given up, and its place is free again.
#[tokio::test]
async fn an_answer_nobody_takes_is_given_up() {
    let server = TestServer::with(|config| {
        config.limits.connections.times.unread = Duration::from_millis(300);
        config.limits.connections.per_address = 3;
    })
    .await;
    let mut calm = Calm::at(&server).await;
    let id = calm.ada.document(&calm.project, "large.txt", &"x".repeat(1_000_000)).await;
    let request = format!(
        "GET /api/v1/projects/{}/documents/{id}/text HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\r\n\r\n",
        calm.project,
        calm.ada.token()
    );
    // More than the buffers of both ends hold. The calm one has a socket and a connection for requests.
    let mut unread = Raw::open(&server).await;
    unread.say(&request.repeat(30)).await;
    soon("its place to be free", async {
        loop {
            let mut next = Raw::open(&server).await;
            next.say(&ALIVE.replace("\r\n\r\n", "\r\nConnection: close\r\n\r\n")).await;
            if next.rest().await.starts_with("HTTP/1.1 200") {
                break;
            }
        }
    })
    .await;
    assert!(unread.rest().await.len() < 30_000_000, "it was given up in the middle");
    calm.goes_on().await;
}

/// [S26] Over the number of connections there is a clear answer; who has a place keeps it, and one that is given
/// back is free, a socket's too.
#[tokio::test]
async fn there_are_only_so_many_connections() {
    for all in [true, false] {
        let server = TestServer::with(|config| {
            let connections = &mut config.limits.connections;
            if all {
                connections.most = 4;
            } else {
                connections.per_address = 4;
            }
        })
        .await;
        let mut calm = Calm::at(&server).await;
        let held = Raw::websocket(&server, "/sync").await;
        let mut last = Raw::open(&server).await;
        last.say(ALIVE).await;
        let mut answer = vec![0; 12];
        last.0.read_exact(&mut answer).await.unwrap();
        assert_eq!(answer, b"HTTP/1.1 200");

        let mut refused = Raw::open(&server).await;
        refused.say(ALIVE).await;
        let answer = refused.rest().await;
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 503 ") && head.contains("retry-after: 5"), "{answer}");
        let problem: serde_json::Value = serde_json::from_str(body).unwrap();
        assert_eq!((&problem["code"], &problem["status"]), (&"busy".into(), &503.into()), "{answer}");
        assert_eq!(Socket::open(&server.url, "/sync", &[]).await.err(), Some(503));
        calm.goes_on().await;

        drop(held);
        soon("a place", async {
            while let Err(code) = Socket::open(&server.url, "/sync", &[]).await {
                assert_eq!(code, 503);
            }
        })
        .await;
        calm.goes_on().await;
    }
}

/// [S26] Behind a proxy the address of whoever it speaks for counts, and not the proxy's own.
#[tokio::test]
async fn behind_a_proxy_sockets_are_counted_by_who_is_behind_it() {
    let server = TestServer::with(|config| {
        config.limits.requests.proxies = 1;
        config.limits.connections.per_address = 2;
    })
    .await;
    let from = |address: &str| vec![("x-forwarded-for", format!("9.9.9.9, {address}"))];
    let open = async |address: &str| Socket::open(&server.url, "/sync", &from(address)).await;
    let kept = [open("203.0.113.1").await.unwrap(), open("203.0.113.1").await.unwrap()];
    assert_eq!(open("203.0.113.1").await.err(), Some(503));
    let other = open("203.0.113.2").await;
    assert!(other.is_ok(), "somebody else");
    drop(kept);
    soon("a place", async { while open("203.0.113.1").await.is_err() {} }).await;
}

/// [S27] A WebSocket message in endless pieces is not put together for ever, also with pings in between.
#[tokio::test]
async fn a_message_in_endless_pieces_is_ended() {
    let server = TestServer::start().await;
    let mut calm = Calm::at(&server).await;
    for path in ["/sync".to_owned(), format!("/sync/{}?token={}", calm.address, calm.ada.token())] {
        let mut raw = Raw::websocket(&server, &path).await;
        raw.frame(0x02, b"").await;
        let mut sent = 1;
        while sent <= 2 * limits::MESSAGE_PIECES && raw.frame(0x00, b"").await {
            sent += 1;
            if sent % 100 == 0 {
                raw.frame(0x89, b"").await;
            }
        }
        assert_eq!(raw.close_code().await, 4400, "{path}");
        calm.goes_on().await;
    }
}

/// [S27] A WebSocket message that drips is not waited for, whatever comes in between.
#[tokio::test]
async fn a_message_that_drips_is_not_waited_for() {
    let server = TestServer::with(|config| {
        config.limits.connections.times.message = Duration::from_millis(300);
    })
    .await;
    let mut calm = Calm::at(&server).await;
    let mut raw = Raw::websocket(&server, "/sync").await;
    raw.frame(0x02, b"x").await;
    let (taking, mut giving) = raw.0.into_split();
    let drip = tokio::spawn(async move {
        let pieces = [0x00, 0x81, 0, 0, 0, 0, 0x78, 0x89, 0x80, 0, 0, 0, 0];
        while giving.write_all(&pieces).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        giving
    });
    let mut taking = taking;
    let mut first = [0; 4];
    // Nothing is said to a socket that has not signed in but its close code.
    soon("a close code", taking.read_exact(&mut first)).await.unwrap();
    while first[0] == 0x8a {
        soon("a close code", taking.read_exact(&mut first[..2])).await.unwrap();
        if first[0] == 0x88 {
            soon("a close code", taking.read_exact(&mut first[2..])).await.unwrap();
        }
    }
    assert_eq!((first[0], u16::from_be_bytes([first[2], first[3]])), (0x88, 4508));
    drop(taking);
    soon("the drip to end", drip).await.unwrap();
    calm.goes_on().await;
}

/// [S27] A message may take its time as long as it comes: a bad line is no silence.
#[tokio::test]
async fn a_slow_message_is_no_silence() {
    let silence = Duration::from_secs(2);
    let server = TestServer::with(|config| config.limits.sockets.silence = silence).await;
    let (ada, project) = server.project().await;
    let id = ada.document(&project, "a.txt", "").await;
    let mut raw = Raw::websocket(&server, &format!("/sync/{project}/{id}?token={}", ada.token())).await;
    let text = crate::support::Replica::new();
    let mut message = vec![0, 1, 2, 0, 0];
    SyncMessage::Update(&text.insert(0, "slow but steady")).write(&mut message);
    // Three messages in one: an answer with nothing new, an update. The first two bytes are a question.
    let message = [&[0, 0, 1, 0][..], &message].concat();
    let step = silence.mul_f64(1.6) / u32::try_from(message.len()).unwrap();
    for (at, byte) in message.iter().enumerate() {
        let first = match at {
            0 => 0x02,
            at if at + 1 == message.len() => 0x80,
            _ => 0x00,
        };
        assert!(raw.frame(first, &[*byte]).await);
        tokio::time::sleep(step).await;
    }
    soon("the text", async { while ada.text(&project, &id).await != "slow but steady" {} }).await;
}

/// [S27] What is not complete, or not signed in for, takes bounded memory over all sockets; typing goes on.
#[tokio::test]
async fn what_is_not_complete_takes_bounded_memory() {
    let server = TestServer::with(|config| config.limits.connections.unfinished_bytes = 1_000_000).await;
    let mut calm = Calm::at(&server).await;
    let plain = format!("/sync/{}?token={}", calm.address, calm.ada.token());
    // Most of a message of 600 kB, and never its end.
    let part = |bytes: u32| {
        let mut part = vec![0x82, 0xff, 0, 0, 0, 0];
        part.extend(600_000_u32.to_be_bytes());
        part.extend([0; 4]);
        part.resize(part.len() + usize::try_from(bytes).unwrap(), 9);
        part
    };
    let mut first = Raw::websocket(&server, &plain).await;
    first.0.write_all(&part(599_999)).await.unwrap();
    let mut second = Raw::websocket(&server, &plain).await;
    second.0.write_all(&part(599_999)).await.unwrap();
    // Whichever is read last finds no memory.
    let (code, kept) = tokio::select! {
        code = second.close_code() => (code, first),
        code = first.close_code() => (code, second),
    };
    assert_eq!(code, 4529);
    calm.goes_on().await;
    let large = calm.text.insert(0, &"x".repeat(30_000));
    calm.socket.sync(&calm.address, SyncMessage::Update(&large)).await;
    assert!(calm.socket.wait_for(&calm.address, status).await, "what people type always gets through");

    // Messages that wait for a sign-in count although they are complete.
    let mut unsigned = Raw::websocket(&server, "/sync").await;
    let mut message = vec![22];
    message.extend([b'a'; 22]);
    message.extend([0, 2, 0xa0, 0x8d, 0x06]);
    message.resize(message.len() + 100_000, 0);
    let mut frame = vec![0x82, 0xff, 0, 0, 0, 0];
    frame.extend(u32::try_from(message.len()).unwrap().to_be_bytes());
    frame.extend([0; 4]);
    frame.extend(&message);
    for _ in 0..8 {
        let _ = unsigned.0.write_all(&frame).await;
    }
    assert_eq!(unsigned.close_code().await, 4529);
    calm.goes_on().await;

    // What was taken is given back: a message as large is read to its end, and found to make no sense.
    drop(kept);
    soon("memory", async {
        loop {
            let mut again = Raw::websocket(&server, &plain).await;
            let _ = again.0.write_all(&part(600_000)).await;
            match again.close_code().await {
                4400 => break,
                code => assert_eq!(code, 4529),
            }
            // A socket that was closed for it keeps what it has for a moment, so that its code arrives.
            tokio::time::sleep(Duration::from_secs(3)).await;
        }
    })
    .await;
    calm.goes_on().await;
}

/// Everything a socket said was heard when its ping is answered.
async fn heard_out(socket: &mut Socket) {
    socket.send(vec![9]).await;
    while socket.hear().await.1 != Heard::Pong {}
}

/// [S27] What waits for a sign-in takes bounded memory over all sockets, also on those somebody has signed in on; it
/// is given back when it need not wait any more.
#[tokio::test]
async fn what_waits_for_a_sign_in_takes_bounded_memory() {
    let server = TestServer::with(|config| config.limits.connections.unfinished_bytes = 1_000_000).await;
    let mut calm = Calm::at(&server).await;
    let other = format!("{}\0other", calm.project);
    let large = vec![7; 100_000];
    let mut first = calm.ada.socket().await;
    first.join(&calm.project, calm.ada.token()).await;
    for _ in 0..6 {
        first.sync(&other, SyncMessage::Update(&large)).await;
    }
    heard_out(&mut first).await;
    let mut second = calm.ada.socket().await;
    second.join(&calm.project, calm.ada.token()).await;
    for _ in 0..6 {
        second.sync(&other, SyncMessage::Update(&large)).await;
    }
    second.expect_close(4529).await;
    calm.goes_on().await;

    // The first says who it is; then nothing waits any more, and there is room for another.
    first.attach(&other, calm.ada.token()).await.unwrap();
    heard_out(&mut first).await;
    let mut third = calm.ada.socket().await;
    third.join(&calm.project, calm.ada.token()).await;
    for _ in 0..6 {
        third.sync(&other, SyncMessage::Update(&large)).await;
    }
    heard_out(&mut third).await;
    calm.goes_on().await;
}

/// [S28] An address for which no token comes is refused in the end; what else is open on the socket goes on.
#[tokio::test]
async fn an_address_nobody_signs_in_for_is_refused() {
    let server = TestServer::with(|config| config.limits.sockets.sign_in = Duration::from_millis(400)).await;
    let mut calm = Calm::at(&server).await;
    let other = format!("{}\0other", calm.project);
    calm.socket.sync(&other, SyncMessage::Step1(&[0])).await;
    let denied = |heard: &Heard| if let Heard::Denied(why) = heard { Some(why.clone()) } else { None };
    assert_eq!(calm.socket.wait_for(&other, denied).await, "not_signed_in");
    calm.goes_on().await;
    assert!(calm.socket.attach(&other, calm.ada.token()).await.is_ok(), "it may sign in later");
}

/// [S7] Whoever takes slowly what they are sent is let in, however long it takes; whoever takes nothing is let go.
#[tokio::test]
async fn a_slow_line_is_no_dead_one() {
    let unread = Duration::from_secs(1);
    let server = TestServer::on_narrow_lines(|config| config.limits.sockets.unread = unread).await;
    let mut calm = Calm::at(&server).await;
    // Far more than the buffers of both ends hold.
    let text = "x".repeat(2_000_000);
    let id = calm.ada.document(&calm.project, "large.txt", &text).await;
    let path = format!("/sync/{}/{id}?token={}", calm.project, calm.ada.token());
    let mut slow = Raw::narrow_websocket(&server, &path).await;
    assert!(slow.frame(0x82, &[0, 0, 1, 0]).await);
    let (mut taken, mut chunk) = (0, vec![0; 64 * 1024]);
    while taken < text.len() {
        let more = soon("more of the text", slow.0.read(&mut chunk)).await.unwrap_or(0);
        assert!(more > 0, "it was let go after {taken} bytes");
        taken += more;
        tokio::time::sleep(Duration::from_millis(150)).await;
    }
    calm.goes_on().await;

    let mut dead = Raw::narrow_websocket(&server, &path).await;
    assert!(dead.frame(0x82, &[0, 0, 1, 0]).await);
    soon("it to be let go", async {
        while dead.frame(0x89, b"").await {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    })
    .await;
    calm.goes_on().await;
}

/// [S27] Whoever speaks before they are answered gets no socket.
#[tokio::test]
async fn nothing_is_said_before_the_upgrade_is_answered() {
    let server = TestServer::start().await;
    for more in ["\u{2}", "GET / HTTP/1.1\r\n\r\n"] {
        let mut raw = Raw::open(&server).await;
        raw.say(&format!("{}{more}", upgrade("/sync"))).await;
        let mut answer = vec![0; 12];
        soon("an answer", raw.0.read_exact(&mut answer)).await.unwrap();
        assert_eq!(answer, b"HTTP/1.1 400", "{more:?}");
    }
    let mut raw = Raw::open(&server).await;
    raw.say(&upgrade("/sync").replace("\r\nHost", "\r\nContent-Length: 3\r\nHost")).await;
    let mut answer = vec![0; 12];
    soon("an answer", raw.0.read_exact(&mut answer)).await.unwrap();
    assert_eq!(answer, b"HTTP/1.1 400");
}

/// [S28] A socket that never says who it is is closed; one that does is not.
#[tokio::test]
async fn a_socket_nobody_signs_in_on_is_closed() {
    let server = TestServer::with(|config| config.limits.sockets.sign_in = Duration::from_millis(400)).await;
    let mut calm = Calm::at(&server).await;
    let mut silent = Raw::websocket(&server, "/sync").await;
    assert_eq!(silent.close_code().await, 4401);
    let mut waits = calm.ada.socket().await;
    waits.sync(&calm.address, SyncMessage::Step1(&[0])).await;
    waits.expect_close(4401).await;
    calm.goes_on().await;
}

/// [S13] After its close code a socket hears the client out: what comes after it resets no connection.
#[tokio::test]
async fn no_reset_overtakes_a_close_code() {
    let server = TestServer::start().await;
    let nowhere = "/sync/AZrK0AAAcACAAAAAAAAAAQ/AZrK0AAAcACAAAAAAAAAAg?token=none";
    let began = std::time::Instant::now();
    let mut silent = Raw::websocket(&server, nowhere).await;
    let mut talks = Raw::websocket(&server, nowhere).await;
    assert_eq!(talks.close_code().await, 4401);
    for _ in 0..20 {
        assert!(talks.frame(0x82, &[0; 100]).await, "it is still taken");
    }
    assert!(talks.frame(0x88, &4401_u16.to_be_bytes()).await);
    let mut rest = Vec::new();
    soon("the end", talks.0.read_to_end(&mut rest)).await.expect("it ends in good order");
    assert!(rest.is_empty());
    // Whoever does not answer is waited for; not for ever.
    assert_eq!(silent.close_code().await, 4401);
    soon("the end", silent.0.read_to_end(&mut rest)).await.expect("nothing was left unread");
    assert!(began.elapsed() >= Duration::from_secs(2), "it has had the time to answer");
    let (_, _data) = server.stop().await;
}

/// [S29] After a restart everybody may come back at once; each is served, and who is at work goes on.
#[tokio::test]
async fn everybody_may_come_back_at_once() {
    const PEOPLE: usize = 10;
    const SOCKETS: usize = 30;
    let server = TestServer::start().await;
    let (ada, project) = server.project().await;
    let id = ada.document(&project, "a.txt", "before").await;
    let mut people = Vec::new();
    for at in 0..PEOPLE {
        people.push(server.member(&ada, &project, "editor", &format!("Pupil {at}")).await);
    }
    let (_, data) = server.stop().await;
    let server = TestServer::on(data, |_| {}).await;
    let here = |api: &Api| {
        let mut here = server.stranger();
        here.token.clone_from(&api.token);
        here
    };
    let (ada, people) = (here(&ada), people.iter().map(here).collect::<Vec<_>>());
    let address = format!("{project}/{id}");
    let mut first = ada.socket().await;
    let text = first.join(&address, ada.token()).await;

    let coming = people.iter().flat_map(|person| {
        let (project, address) = (&project, &address);
        (0..SOCKETS).map(async move |_| {
            let mut socket = person.socket().await;
            socket.join(project, person.token()).await;
            let text = socket.join(address, person.token()).await;
            assert!(text.text().ends_with("before"));
            socket
        })
    });
    let typing = async {
        for _ in 0..30 {
            first.sync(&address, SyncMessage::Update(&text.insert(0, "x"))).await;
            assert!(first.wait_for(&address, status).await);
        }
    };
    let (sockets, ()) = tokio::join!(join_all(coming), typing);
    assert_eq!(sockets.len(), PEOPLE * SOCKETS);
    assert_eq!(ada.text(&project, &id).await, format!("{}before", "x".repeat(30)));
}
