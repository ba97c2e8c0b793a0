//! Random turns while somebody types at random: nobody's text is lost, and rejecting gives back what people alone
//! would have made.

mod support;

use ensemble_protocol::rest::{HunkState, TurnStatus};
use ensemble_store::{Ids, SeededIds};

use self::support::model::Script;
use self::support::{World, eventually, states};

/// Lines of the document.
const LINES: usize = 60;
/// Turns that are tried; each takes a few dozen milliseconds.
const SEEDS: u64 = 25;

/// The agent's letters are small and Ada's are capitals, so that their texts can be told apart.
fn without_ada(text: &str) -> String {
    text.chars().filter(|character| !character.is_ascii_uppercase()).collect()
}

fn only_ada(text: &str) -> String {
    let mut letters: Vec<char> = text.chars().filter(char::is_ascii_uppercase).collect();
    letters.sort_unstable();
    letters.into_iter().collect()
}

/// What Ada makes of the word `old` in a line, and what is left of it.
const REPLACED: [(&str, &str); 4] = [("old", ""), ("o", "ld"), ("l", "od"), ("ld", "o")];

/// [T3] [E9] With somebody typing anywhere at any time, the agent's text is what it would have been alone, and every
/// letter typed is there before and after the turn is rejected. [T36] Where she replaced a whole word first, hers stays
/// alone and the hunk says so; where she replaced a part of it, the rest of it is replaced.
#[tokio::test]
async fn nobody_loses_anything_while_a_turn_writes() {
    let mut yields = 0;
    for seed in 0..SEEDS {
        let random = SeededIds::new(seed);
        let pick = |below: usize| (random.random_u64() % below as u64) as usize;
        let script = Script::new();
        let world = World::with(script.clone()).await;
        let old: Vec<String> = (0..LINES).map(|line| format!("line {line} 😀 old\n")).collect();
        let document = world.document("text.txt", &old.concat()).await;
        let mut ada = world.join(document).await;

        // Every third line or so is changed, removed, or gets a line before it.
        let mut new = old.clone();
        let mut patch = "*** Begin Patch\n*** Update File: text.txt\n".to_owned();
        // The lines of hunks that change a word, and which hunk of the answer it is.
        let mut changed = Vec::new();
        let mut hunks = 0;
        let mut at = 1;
        while at + 1 < LINES {
            let was = &old[at];
            hunks += 1;
            let kind = pick(3);
            if kind == 0 {
                changed.push((at, hunks - 1));
            }
            let (becomes, hunk) = match kind {
                0 => (was.replace("old", "new"), format!("-{was}+{}", was.replace("old", "new"))),
                1 => (String::new(), format!("-{was}")),
                _ => (format!("fresh {at}\n{was}"), format!("+fresh {at}\n {was}")),
            };
            patch.push_str("@@\n ");
            patch.push_str(&old[at - 1]);
            patch.push_str(&hunk);
            new[at] = becomes;
            at += 2 + pick(4);
        }
        patch.push_str("*** End Patch\n");

        let turn = world.start("change lines", document).await;
        let mut call = script.call().await;
        let item = call.begin_patch().await;
        let mut typed = String::new();
        let mut old = old;
        let mut yielded = Vec::new();
        let mut rest: Vec<char> = patch.chars().rev().collect();
        while !rest.is_empty() {
            let piece: String = (0..=pick(40)).filter_map(|_| rest.pop()).collect();
            call.delta(item, &piece).await;
            if pick(3) == 0 {
                let letter = char::from(b'A' + pick(26) as u8);
                typed.push(letter);
                let share = random.random_u64() as f64 / u64::MAX as f64;
                ada.type_somewhere(share, &letter.to_string()).await;
            }
            if pick(6) == 0 && !changed.is_empty() {
                let (at, hunk) = changed.swap_remove(pick(changed.len()));
                let (part, left) = REPLACED[pick(REPLACED.len())];
                let skipped = &"old"[.."old".find(part).unwrap()];
                let before = format!("line {at} 😀 {skipped}");
                let rest = &"old"[skipped.len() + part.len()..];
                // She sees the word as it was: what she does is about that, whoever is first.
                if ada.replace(&before, part, &format!("{rest}\n"), "XY").await {
                    typed.push_str("XY");
                    let now = eventually("ada's word", async || {
                        let now = world.text(document).await;
                        (only_ada(&now).len() == typed.len()).then_some(now)
                    });
                    let now = without_ada(&now.await);
                    let is_first = !now.contains(&format!("line {at} 😀 new\n"));
                    old[at] = format!("line {at} 😀 {left}\n");
                    if part == "old" && is_first {
                        new[at] = format!("line {at} 😀 \n");
                        yielded.push(hunk);
                    }
                }
            }
            if pick(4) == 0 {
                tokio::task::yield_now().await;
            }
        }
        call.done().await;
        let ended = world.ended(turn).await;
        assert_eq!(ended.status, TurnStatus::Done, "seed {seed}");
        for (at, state) in states(&ended).into_iter().enumerate() {
            let expected = if yielded.contains(&at) { HunkState::Missed } else { HunkState::Applied };
            assert_eq!(state, expected, "seed {seed}, hunk {at}: {ended:?}");
        }
        yields += yielded.len();
        let text = world.text(document).await;
        assert_eq!(without_ada(&text), new.concat(), "seed {seed}");
        assert_eq!(only_ada(&text), only_ada(&typed), "seed {seed}");

        world.reject(turn).await.unwrap();
        let text = world.text(document).await;
        assert_eq!(without_ada(&text), old.concat(), "seed {seed}");
        assert_eq!(only_ada(&text), only_ada(&typed), "seed {seed}");
        eventually("ada to see the same", async || (ada.sees() == text).then_some(())).await;
    }
    assert!(yields > 0, "no word was replaced before the turn came to it");
}
