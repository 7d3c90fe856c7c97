//! A fault at every message of everything that talks to the server.
//!
//! A story takes a lock, writes a row under it and ends. It is told again and again, and each time its connection is cut after
//! one message more: closed, reset, or silent from there on. Wherever that is, the story ends in time, well or in an error; the
//! row is there if it was said to be, and never twice; and nothing is left behind.
//!
//! The start of a connection is sqlx's and is not cut.

mod caller;
mod function;
mod known;
mod lanes;
mod own;
mod place;
mod session;
mod stage;
mod story;
mod sweep;
mod table;
mod telling;

use std::sync::LazyLock;
use std::time::Duration;

use advisory_tests::{Cut, Side};

use crate::lanes::side_by_side;
use crate::place::Place;
use crate::story::Story;
use crate::sweep::Sweep;
use crate::telling::Telling;

static STORIES: LazyLock<Vec<Story>> = LazyLock::new(|| {
    let stories = [
        caller::stories(),
        own::stories(),
        session::stories(),
        function::stories(),
    ];
    stories.into_iter().flatten().collect()
});

const SIDES: [Side; 2] = [Side::Client, Side::Server];

/// Every story, closed and reset.
fn closed() -> impl Iterator<Item = Sweep> {
    STORIES.iter().flat_map(|story| {
        let cuts = [Cut::Fin, Cut::Reset].into_iter();
        cuts.flat_map(move |cut| SIDES.map(|side| Sweep::new(story, cut, side)))
    })
}

/// The stories that have a bound, with a silence: a wait without an end has none. Each takes a second or two, so that a sweep
/// is shared out.
fn silent() -> impl Iterator<Item = Sweep> {
    let stories = STORIES.iter().filter(|story| story.has_bound);
    stories.flat_map(|story| {
        let whole = SIDES.map(|side| Sweep::new(story, Cut::Silence, side));
        whole.into_iter().flat_map(|sweep| sweep.shares(3))
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cut_after_any_message_leaves_nothing_behind() {
    table::count_panics();
    let run = |sweep: Sweep, place| Box::pin(sweep.run(place)) as _;
    // A silence is spent waiting: many of them fit side by side.
    let (closed, silent) = tokio::join!(
        side_by_side(8, closed(), run),
        side_by_side(40, silent(), run)
    );
    table::print_and_assert(&[closed, silent].concat());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_network_changes_no_outcome() {
    const DELAY: Duration = Duration::from_millis(5);
    let told = side_by_side(8, STORIES.iter(), |story, place| {
        Box::pin(async move {
            let place = Place::of(story, place).await;
            let mut telling = Telling::new(story, &place, false).await;
            let told = telling.tell(|proxy| proxy.set_delay(DELAY)).await;
            told.map_err(|(_, what)| format!("{}: {what}", story.name))
        })
    });
    for told in told.await {
        told.unwrap_or_else(|what| panic!("{what}"));
    }
}
