//! Turns and their hunks.

use std::time::Duration;

use ensemble_protocol::id::{HunkId, TurnId};
use ensemble_store::{
    Change, Clock as _, Conflict, HunkRecord, HunkState, Ids as _, Review, StoreError, TurnError, TurnStatus,
    TurnUpdate,
};
use serde_json::json;

use crate::support::{World, on_every_store};

async fn update(world: &World, id: TurnId, update: TurnUpdate) -> Result<(), StoreError> {
    world.commit([Change::UpdateTurn { id, update: Box::new(update) }]).await.map(drop)
}

/// A turn goes from asked to over, and then only its review changes.
#[tokio::test]
async fn a_turn_that_is_over_stays_over() {
    on_every_store(async |world| {
        let (project, member) = world.project().await;
        let document = world.document(project, "main.rs").await;
        let mut turn = world.turn(project, member).await;
        assert_eq!(world.store.turn(turn.id).await.unwrap().as_ref(), Some(&turn));
        assert_eq!(world.store.unfinished_turns().await.unwrap(), [turn.clone()]);

        turn.answer = "Renamed in two places.".to_owned();
        turn.documents = vec![document];
        let change = TurnUpdate {
            answer: Some(turn.answer.clone()),
            documents: Some(turn.documents.clone()),
            ..TurnUpdate::default()
        };
        update(&world, turn.id, change).await.unwrap();
        turn.status = TurnStatus::Failed;
        turn.usage = Some(json!({"input_tokens": 900, "output_tokens": 30}));
        turn.error = Some(TurnError { code: "model_closed".to_owned(), detail: "it hung up".to_owned() });
        turn.finished_at = Some(world.clock.now() + Duration::from_micros(1));
        let change = TurnUpdate {
            status: Some(turn.status),
            usage: turn.usage.clone(),
            error: turn.error.clone(),
            finished_at: turn.finished_at,
            ..TurnUpdate::default()
        };
        update(&world, turn.id, change).await.unwrap();
        assert_eq!(world.store.turn(turn.id).await.unwrap(), Some(turn.clone()));
        assert!(world.store.unfinished_turns().await.unwrap().is_empty());

        let running = TurnUpdate { status: Some(TurnStatus::Running), ..TurnUpdate::default() };
        let error = update(&world, turn.id, running).await.unwrap_err();
        assert_eq!(error.conflict(), Some(&Conflict::TurnFinished { turn: turn.id }));

        let review = |review| TurnUpdate { review: Some(review), ..TurnUpdate::default() };
        for said in [Review::Accepted, Review::Accepted, Review::Rejected, Review::Mixed, Review::Open] {
            update(&world, turn.id, review(said)).await.unwrap();
            assert_eq!(world.store.turn(turn.id).await.unwrap().unwrap().review, said);
        }

        let unknown = TurnId::from_uuid(world.ids.uuid());
        let error = update(&world, unknown, review(Review::Accepted)).await.unwrap_err();
        assert!(matches!(error, StoreError::NotFound { .. }), "{error}");
    })
    .await;
}

/// The newest turns come first, page by page.
#[tokio::test]
async fn turns_are_listed_newest_first() {
    on_every_store(async |world| {
        let (project, member) = world.project().await;
        let (elsewhere, _) = world.project().await;
        let mut ids = Vec::new();
        for _ in 0..5 {
            ids.push(world.turn(project, member).await.id);
        }
        world.turn(elsewhere, member).await;
        ids.reverse();
        let page = |turns: Vec<ensemble_store::TurnRecord>| {
            turns.into_iter().map(|turn| turn.id).collect::<Vec<_>>()
        };
        assert_eq!(page(world.store.turns_of(project, 3, None).await.unwrap()), ids[..3]);
        assert_eq!(page(world.store.turns_of(project, 3, Some(ids[2])).await.unwrap()), ids[3..]);
        assert_eq!(world.store.unfinished_turns().await.unwrap().len(), 6);
    })
    .await;
}

/// Hunks are kept in order, and what became of them replaces what was.
#[tokio::test]
async fn hunks_are_kept_and_replaced() {
    on_every_store(async |world| {
        let (project, member) = world.project().await;
        let document = world.document(project, "main.rs").await;
        let turn = world.turn(project, member).await.id;
        let missed = HunkRecord {
            turn,
            hunk: HunkId(2),
            document: None,
            path: "gone.rs".to_owned(),
            state: HunkState::Missed,
            anchor: None,
            head: None,
            inserted: 0,
            deleted: 0,
            line: None,
            reason: Some("no such document".to_owned()),
        };
        let mut applied = HunkRecord {
            turn,
            hunk: HunkId(1),
            document: Some(document),
            path: "main.rs".to_owned(),
            state: HunkState::Applied,
            anchor: Some(json!({"item": {"client": 1, "clock": 4}, "assoc": 0})),
            head: Some(json!({"tname": "content", "assoc": -1})),
            inserted: 8,
            deleted: 5,
            line: Some(12),
            reason: None,
        };
        world
            .commit([Change::PutHunk(Box::new(missed.clone())), Change::PutHunk(Box::new(applied.clone()))])
            .await
            .unwrap();
        assert_eq!(world.store.hunks_of(turn).await.unwrap(), [applied.clone(), missed.clone()]);
        applied.state = HunkState::Rejected;
        world.commit([Change::PutHunk(Box::new(applied.clone()))]).await.unwrap();
        assert_eq!(world.store.hunks_of(turn).await.unwrap(), [applied, missed]);
    })
    .await;
}
