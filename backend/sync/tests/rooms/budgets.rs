//! What one person may use up, so that the others can go on.

use ensemble_sync::anchor::{Unit, UnitRange};
use ensemble_sync::update::{Block, Content, Group, Update};

use super::*;

fn block(client: u64, clock: u32, length: u32, content: Content<'static>) -> Block<'static> {
    let origin = clock.checked_sub(1).map(|clock| Unit { client, clock });
    Block { units: UnitRange { client, clock, length }, origin, right: None, content }
}

/// Text that is gone already, from a client's clock on.
fn gone(client: u64, clock: u32, length: u32) -> Bytes {
    let blocks = vec![block(client, clock, length, Content::Deleted)];
    Update { groups: vec![Group { client, blocks }], deletes: Vec::new() }.write().into()
}

/// One letter under each of these ids.
fn letters(clients: std::ops::Range<u64>) -> Bytes {
    let groups = clients
        .rev()
        .map(|client| Group { client, blocks: vec![block(client, 0, 1, Content::Text("x".into()))] })
        .collect();
    Update { groups, deletes: Vec::new() }.write().into()
}

impl Peer {
    /// Sends bytes of its own making and tells what came of them.
    async fn sends(&mut self, update: Bytes) -> Result<(), ErrorCode> {
        let before = self.seen.statuses.len();
        self.say(PeerMessage::Update(update)).await;
        self.until(|seen| seen.statuses.len() > before).await;
        if self.seen.statuses[before] {
            return Ok(());
        }
        self.until(|seen| seen.detached.is_some()).await;
        Err(self.seen.detached.unwrap())
    }
}

/// [S17] A person makes so many client ids in a document and no more, however often they come back; others go on,
/// and so does this person with the ids they have.
#[tokio::test]
async fn new_client_ids_are_limited_by_person() {
    let world = World::new().await;
    let most = limits::NEW_CLIENTS.burst as u64;
    world.joined(10, 0).await.type_at(0, "x").await;
    let mut eve = world.joined(30, 2).await;
    assert_eq!(eve.sends(letters(1_000..1_000 + most)).await, Ok(()));
    assert_eq!(eve.sends(letters(9_000_000..9_000_002)).await, Err(ErrorCode::RateLimited));
    // Coming back, also to a room that was made anew, is no way around it.
    world.room().await.close();
    let mut eve = loop {
        if world.room().await.read().await.is_ok() {
            break world.joined(31, 2).await;
        }
    };
    assert_eq!(eve.sends(letters(9_000_000..9_000_002)).await, Err(ErrorCode::RateLimited));
    let mut eve = world.joined(32, 2).await;
    eve.say(PeerMessage::Step2(letters(9_000_000..9_000_002))).await;
    eve.until(|seen| seen.detached.is_some()).await;
    assert_eq!(eve.seen.detached, Some(ErrorCode::RateLimited));
    let mut eve = world.joined(33, 2).await;
    let again = Update {
        groups: vec![Group { client: 1_000, blocks: vec![block(1_000, 1, 1, Content::Text("y".into()))] }],
        deletes: Vec::new(),
    };
    assert_eq!(eve.sends(again.write().into()).await, Ok(()));
    assert_eq!(world.text().await.len() as u64, most + 2, "nothing of what was refused is there");
    let mut ada = world.joined(11, 0).await;
    assert_eq!(ada.sends(ada.edit(0, 0, "fine")).await, Ok(()));
}

/// [S17] A document may begin with a long history from elsewhere.
#[tokio::test]
async fn a_long_history_begins_a_document() {
    let world = World::new().await;
    let mut ada = world.joined(10, 0).await;
    let many = limits::GIVEN_BACK_CLIENTS.burst as u64;
    assert_eq!(ada.sends(letters(1_000..1_000 + many / 2)).await, Ok(()));
    assert_eq!(ada.sends(ada.edit(0, 0, "on ")).await, Ok(()));
    let mut eve = world.joined(30, 2).await;
    assert_eq!(eve.sends(letters(100_000..100_000 + many / 2)).await, Err(ErrorCode::RateLimited));
}

/// [S18] Nobody can use up a document: a person who inserts endlessly is slowed down, alone, and can still type.
#[tokio::test]
async fn what_one_person_inserts_stops_nobody_else() {
    let mut world = World::new().await;
    let mut ada = world.joined(10, 0).await;
    assert_eq!(ada.sends(ada.edit(0, 0, "text")).await, Ok(()));
    let mut eve = world.joined(30, 2).await;
    // A few bytes that stand for more than a person may insert.
    let all = limits::PERSON_UNITS as u32;
    assert_eq!(eve.sends(gone(30, 0, (1 << 31) - 2)).await, Err(ErrorCode::RateLimited));
    let mut eve = world.joined(30, 2).await;
    assert_eq!(eve.sends(gone(30, 0, all)).await, Ok(()), "hours of typing and taking back");
    assert_eq!(eve.sends(gone(31, 0, all)).await, Err(ErrorCode::RateLimited));
    let mut eve = world.joined(30, 2).await;
    assert_eq!(eve.sends(gone(30, all, 9)).await, Ok(()), "they can still type");
    assert_eq!(ada.sends(ada.edit(0, 0, "more ")).await, Ok(()));
    // It goes with the person also after a restart.
    world.restart();
    let mut eve = world.joined(32, 2).await;
    assert_eq!(eve.sends(gone(32, 0, all)).await, Err(ErrorCode::RateLimited));
    assert_eq!(world.text().await, "more text");
}

/// [A2] An id that somebody shows is theirs before they have typed anything.
#[tokio::test]
async fn an_id_that_is_shown_is_taken_by_nobody_else() {
    let world = World::new().await;
    let mut ada = world.joined(10, 0).await;
    let shown = write_presence([PresenceEntry { client: 10, clock: 1, state: "{}" }].into_iter());
    ada.say(PeerMessage::Presence(shown.into())).await;
    let mut eve = world.joined(30, 2).await;
    eve.until(|seen| seen.presence.iter().any(|(client, _)| *client == 10)).await;
    assert_eq!(eve.sends(letters(10..11)).await, Err(ErrorCode::MalformedUpdate));
    assert_eq!(ada.sends(ada.edit(0, 0, "mine")).await, Ok(()));
    assert_eq!(world.text().await, "mine");
}

/// Presence under ever new ids makes a room remember neither them nor whoever shows them without end.
#[tokio::test]
async fn a_peer_shows_few_ids() {
    let world = World::new().await;
    let mut ada = world.joined(10, 0).await;
    let eve = world.joined(30, 2).await;
    for client in 1_000..1_000 + 3 * limits::PRESENCE_IDS_PER_PEER as u64 {
        let entries =
            [client, client + 100_000].map(|client| PresenceEntry { client, clock: 1, state: "{}" });
        eve.say(PeerMessage::Presence(write_presence(entries.into_iter()).into())).await;
    }
    eve.type_at(0, "x").await;
    ada.until_text("x").await;
    let late = world.peer(40, 1, Scope::ReadWrite).await;
    late.say(PeerMessage::QueryPresence).await;
    let mut late = late;
    late.until(|seen| !seen.presence.is_empty()).await;
    let last = 1_000 + limits::PRESENCE_IDS_PER_PEER as u64 - 1;
    assert!(late.seen.presence.iter().all(|(client, _)| *client == last), "{:?}", late.seen.presence);
}

/// [D30] What is refused for its bytes is kept aside with who sent it and why; what came too often is not.
#[tokio::test]
async fn refused_bytes_are_kept_aside() {
    let world = World::new().await;
    let mut eve = world.joined(30, 2).await;
    assert_eq!(eve.sends(eve.edit(0, 0, "x")).await, Ok(()));
    assert_eq!(eve.sends(letters(9_000_000..9_002_000)).await, Err(ErrorCode::RateLimited));
    let mut eve = world.joined(30, 2).await;
    let bytes = Bytes::from_static(&[1, 2, 3]);
    assert_eq!(eve.sends(bytes.clone()).await, Err(ErrorCode::MalformedUpdate));
    let kept = async {
        loop {
            let kept = world.store.quarantined(world.document).await.unwrap();
            if !kept.is_empty() {
                return kept;
            }
            tokio::task::yield_now().await;
        }
    };
    let kept = tokio::time::timeout(std::time::Duration::from_secs(20), kept).await.expect("it is kept");
    assert_eq!(kept.len(), 1);
    assert_eq!((kept[0].member, &kept[0].bytes), (Some(world.members[2]), &bytes));
    assert!(kept[0].reason.contains("not an update"), "{}", kept[0].reason);
}

/// [S6] An update that wants gone again, in very many places, what a turn has deleted is refused; whoever does so by
/// hand is not, in however many steps they said it.
#[tokio::test]
async fn wishing_gone_what_is_gone_costs_something() {
    let world = World::new().await;
    let most = limits::UPDATE_WISHES as u32;
    let ada = world.joined(10, 0).await;
    ada.type_at(0, &"a".repeat(2 * most as usize + 4)).await;
    let base = world.room().await.read().await.unwrap();
    let turn = world.turn().await;
    let edits = vec![edit(&base, 1, 0, base.text.len() as u32, "")];
    world.room().await.write(turn_write(turn, world.members[0], edits)).await.unwrap();
    let rows = world.store.ledger_of_document(world.document).await.unwrap().len();
    let gone = |step: u32, from: u32, times: u32| -> Bytes {
        let unit = |at| UnitRange { client: 10, clock: from + step * at, length: 1 };
        Update { groups: Vec::new(), deletes: (0..times).map(unit).collect() }.write().into()
    };
    let mut eve = world.joined(30, 2).await;
    assert_eq!(eve.sends(gone(2, 0, most + 1)).await, Err(ErrorCode::MalformedUpdate));
    assert_eq!(world.store.ledger_of_document(world.document).await.unwrap().len(), rows);
    let mut bob = world.joined(20, 1).await;
    assert_eq!(bob.sends(gone(1, 0, most + 1)).await, Ok(()), "what touches is one place");
    assert_eq!(bob.sends(gone(2, most + 2, 100)).await, Ok(()));
    assert_eq!(world.store.ledger_of_document(world.document).await.unwrap().len(), rows + 101);
    world.review(turn, &[1], Verdict::Undo).await;
    assert_eq!(world.text().await.len(), (most + 3 - 100) as usize);
}

/// So many peers of one person.
async fn crowd(world: &World, peers: u64) -> Vec<Peer> {
    let mut crowd = Vec::new();
    for client in 1_000..1_000 + peers {
        crowd.push(world.peer(client, 0, Scope::ReadWrite).await);
    }
    crowd
}

/// All of them show themselves, with states of so many bytes.
async fn show(crowd: &[Peer], clock: u64, bytes: usize) {
    let state = format!("{{\"more\":\"{}\"}}", "x".repeat(bytes));
    for (client, peer) in (1_000..).zip(crowd) {
        let entry = PresenceEntry { client, clock, state: &state };
        peer.say(PeerMessage::Presence(write_presence([entry].into_iter()).into())).await;
    }
}

fn bytes_of(batch: &[Outgoing]) -> usize {
    let sizes = batch.iter().map(|item| if let Outgoing::Frame(frame) = item { frame.len() } else { 0 });
    sizes.sum()
}

/// [S7] Whoever asks for everybody's presence again and again without taking it has one answer waiting, and others
/// go on; once it is taken there is another.
#[tokio::test]
async fn presence_nobody_takes_is_answered_once() {
    let world = World::new().await;
    let crowd = crowd(&world, 50).await;
    show(&crowd, 1, 1_000).await;
    let mut ada = world.joined(10, 1).await;
    let mut eve = world.joined(30, 2).await;
    eve.until(|seen| seen.presence.len() >= 50).await;
    for _ in 0..3_000 {
        eve.say(PeerMessage::QueryPresence).await;
    }
    assert_eq!(ada.sends(ada.edit(0, 0, "on")).await, Ok(()), "all was heard by then");
    let mut batch = Vec::new();
    eve.outbox.try_take(&mut batch);
    // The answer, and what was told of the crowd meanwhile.
    assert!(bytes_of(&batch) < 3 * 60_000, "{} bytes wait for one peer", bytes_of(&batch));

    eve.seen.presence.clear();
    eve.say(PeerMessage::QueryPresence).await;
    eve.until(|seen| seen.presence.len() >= 50).await;
}

/// [S36] Whoever asks for everybody's presence without end, and takes it, is turned out, and nobody else is.
#[tokio::test]
async fn presence_is_not_told_without_end() {
    let world = World::new().await;
    let crowd = crowd(&world, 60).await;
    let mut ada = world.joined(10, 1).await;
    let eve = world.joined(30, 2).await;
    let most = limits::PERSON_WORK.burst as usize * limits::REPLY_BYTES_PER_WORK;
    let (mut asked, mut taken) = (0, 0);
    let code = 'asking: loop {
        if asked % 100 == 0 {
            // They stay there, however long this takes.
            show(&crowd, 1 + asked, 1_900).await;
        }
        asked += 1;
        eve.say(PeerMessage::QueryPresence).await;
        let mut batch = Vec::new();
        eve.outbox.take(&mut batch).await;
        taken += bytes_of(&batch);
        assert!(taken < 3 * most, "it goes on for ever");
        for item in &batch {
            if let Outgoing::Detached { code, .. } = item {
                break 'asking *code;
            }
        }
    };
    assert_eq!(code, ErrorCode::RateLimited);
    assert_eq!(ada.sends(ada.edit(0, 0, "on")).await, Ok(()));
}
