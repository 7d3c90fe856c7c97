//! What was tried, and what went wrong.

use std::panic;
use std::ptr;
use std::sync::atomic::{AtomicUsize, Ordering};

use advisory_tests::Cut;

use crate::story::Story;
use crate::sweep::Swept;
use crate::telling::Wrong;
use crate::{SIDES, STORIES};

/// The panics in this process, those in the background too.
static PANICS: AtomicUsize = AtomicUsize::new(0);

/// Counts the panics from now on.
pub(crate) fn count_panics() {
    let print = panic::take_hook();
    panic::set_hook(Box::new(move |panic| {
        PANICS.fetch_add(1, Ordering::Relaxed);
        print(panic);
    }));
}

/// The last one was an assertion of ours.
pub(crate) fn forget_panic() {
    PANICS.fetch_sub(1, Ordering::Relaxed);
}

/// Prints how often each story was cut by each kind of fault after a message of the client, and of the server.
pub(crate) fn print_and_assert(swept: &[Swept]) {
    println!(
        "{:48}{:>10}{:>10}{:>10}",
        "cut points", "closed", "reset", "silent"
    );
    for story in STORIES.iter() {
        let [closed, reset, silent] = [Cut::Fin, Cut::Reset, Cut::Silence].map(|cut| {
            let [client, server] = SIDES.map(|side| {
                let is_one = |of: &&Swept| {
                    let sweep = of.sweep;
                    ptr::eq::<Story>(sweep.story, story) && (sweep.cut, sweep.side) == (cut, side)
                };
                let points = swept.iter().filter(is_one).map(|swept| swept.points);
                points.sum::<usize>()
            });
            match client + server {
                0 => "-".to_owned(),
                _ => format!("{client} + {server}"),
            }
        });
        println!("{:48}{closed:>10}{reset:>10}{silent:>10}", story.name);
    }
    let points: usize = swept.iter().map(|swept| swept.points).sum();
    let complaints = || swept.iter().filter_map(|swept| swept.complaint.as_ref());
    let count = |wrong| complaints().filter(|(found, _)| *found == wrong).count();
    let panics = PANICS.load(Ordering::Relaxed);
    println!(
        "cut points: {points}, hangs {}, panics {panics}, leaks {}, wrong outcomes {}; the longest took {:?}",
        count(Wrong::Hang),
        count(Wrong::Leak),
        count(Wrong::Outcome),
        swept.iter().map(|swept| swept.longest).max().unwrap()
    );
    let told: Vec<_> = complaints()
        .map(|(wrong, what)| format!("{wrong:?}: {what}"))
        .collect();
    assert!(told.is_empty() && panics == 0, "{}", told.join("\n\n"));
}
