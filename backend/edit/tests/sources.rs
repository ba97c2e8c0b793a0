//! A slice of `make random-patches`: random edits of this crate's own sources, in every format.

use std::path::Path;

#[path = "../examples/random_patches.rs"]
#[allow(dead_code, reason = "the example has a `main` of its own")]
mod random_patches;

/// Edits for each count of context lines; `make random-patches` tries 10 000.
const EDITS: usize = 40;

/// [E1] Random edits of real sources are applied where they were meant or refused, never elsewhere.
#[test]
fn no_edit_of_real_sources_lands_elsewhere() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let wrong = random_patches::try_folder(&folder, EDITS).expect("the sources are there");
    assert_eq!(wrong, 0);
}
