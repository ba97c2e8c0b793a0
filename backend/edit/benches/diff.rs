//! What comparing and placing costs, beside the comparison of `similar` alone on the same texts.
//!
//! `cargo bench -p ensemble-edit --bench diff` prints the best of a few runs of each, and how much longer the
//! whole took than the line comparison it cannot do without. Only the ratios mean anything on another machine.

use std::fmt::Write as _;
use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ensemble_edit::{EditStream, Format, Mode, diff};
use similar::{Algorithm, capture_diff_slices};

/// Runs of each case, of which the best counts.
const RUNS: usize = 5;

fn main() {
    let lines = |count: usize, changed: usize| -> String {
        (0..count).fold(String::new(), |mut text, line| {
            let is_changed = changed > 0 && line % (count / changed) == count / changed / 2;
            let name = if is_changed { "changed" } else { "value" };
            writeln!(text, "    let {name}_{line} = compute({line}, other);").expect("a string takes text");
            text
        })
    };
    let minified = |changed: &[usize]| -> String {
        (0..60_000).fold(String::new(), |mut text, word| {
            let name = if changed.contains(&word) { "changed" } else { "v" };
            write!(text, "var {name}{word}=f({word});").expect("a string takes text");
            text
        })
    };
    let cases = [
        ("100 000 lines, 1 changed", lines(100_000, 0), lines(100_000, 1)),
        ("100 000 lines, 1 000 changed", lines(100_000, 0), lines(100_000, 1_000)),
        ("2 000 lines, all changed", lines(2_000, 0), lines(2_000, 2_000)),
        ("one line of 1 MB, 3 words changed", minified(&[]), minified(&[17, 30_000, 59_999])),
    ];
    println!("{:<36} {:>10} {:>10} {:>6}", "", "similar", "ours", "ratio");
    for (name, old, new) in &cases {
        // Where there is one line, its words are what has to be compared.
        let is_one_line = !old.contains('\n');
        let alone = best(|| if is_one_line { words_alone(old, new) } else { lines_alone(old, new) });
        report(&format!("diff, {name}"), alone, best(|| diff(old, new).edits().len()));
        let whole = Format::Document { path: "a".to_owned() };
        report(&format!("whole file, {name}"), alone, best(|| stream(whole.clone(), old, new)));
    }
    let old = lines(100_000, 0);
    let hunks: String = (0..1_000).fold(String::new(), |mut text, hunk| {
        let line = |at: usize| old.lines().nth(at).unwrap_or_default().to_owned();
        let at = hunk * 90;
        writeln!(text, "@@\n {}\n-{}\n+changed\n {}", line(at), line(at + 1), line(at + 2))
            .expect("a string takes text");
        text
    });
    let patch = format!("*** Begin Patch\n*** Update File: a\n{hunks}*** End Patch\n");
    let alone = best(|| lines_alone(&cases[1].1, &cases[1].2));
    let format = Format::Patch(Mode::Unique);
    report("patch of 1 000 hunks, 100 000 lines", alone, best(|| stream(format.clone(), &old, &patch)));
}

fn report(name: &str, alone: Duration, ours: Duration) {
    let ratio = ours.as_secs_f64() / alone.as_secs_f64();
    println!("{name:<46} {:>8.1} ms {:>8.1} ms {ratio:>6.2}", millis(alone), millis(ours));
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

fn best<T>(mut work: impl FnMut() -> T) -> Duration {
    let run = |_| {
        let start = Instant::now();
        black_box(work());
        start.elapsed()
    };
    (0..RUNS).map(run).min().unwrap_or_default()
}

fn lines_alone(old: &str, new: &str) -> usize {
    let old: Vec<&str> = old.split_inclusive('\n').collect();
    let new: Vec<&str> = new.split_inclusive('\n').collect();
    capture_diff_slices(Algorithm::Myers, &old, &new).len()
}

fn words_alone(old: &str, new: &str) -> usize {
    similar::TextDiff::from_words(old, new).ops().len()
}

fn stream(format: Format, base: &str, answer: &str) -> usize {
    let base: Arc<str> = base.into();
    let mut stream = EditStream::new(format, move |_| Some(Arc::clone(&base)));
    let events = stream.push(answer);
    events.len() + stream.finish().len()
}
