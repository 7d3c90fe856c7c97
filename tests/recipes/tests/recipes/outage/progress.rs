//! What the recipes have done since the last event.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{LazyLock, Mutex};
use std::time::Duration;

use tokio::time::sleep;

/// Whether each recipe has done something.
static DONE: LazyLock<Mutex<BTreeMap<&'static str, bool>>> = LazyLock::new(Mutex::default);
static IS_OVER: AtomicBool = AtomicBool::new(false);

/// Names work that the test waits for.
pub(crate) fn expect(what: &'static str) {
    DONE.lock().unwrap().entry(what).or_default();
}

/// Records that the work was done.
pub(crate) fn done(what: &'static str) {
    DONE.lock().unwrap().insert(what, true);
}

/// Requires all work to be done again.
pub(crate) fn forget() {
    DONE.lock()
        .unwrap()
        .values_mut()
        .for_each(|done| *done = false);
}

/// The names of the work that was not done.
pub(crate) fn missing() -> String {
    let done = DONE.lock().unwrap();
    let missing = done.iter().filter(|(_, done)| !**done);
    missing
        .map(|(what, _)| *what)
        .collect::<Vec<_>>()
        .join(", ")
}

/// Waits until all work was done.
pub(crate) async fn wait_for_each(when: &str) {
    while !missing().is_empty() {
        sleep(Duration::from_millis(10)).await;
    }
    println!("{when}: each has worked");
}

/// Work under a lock, which lasts until the lock is lost or [`end_work`] is called.
pub(crate) async fn work(what: &'static str) {
    done(what);
    while !IS_OVER.load(Ordering::SeqCst) {
        sleep(Duration::from_millis(10)).await;
    }
}

pub(crate) fn end_work() {
    IS_OVER.store(true, Ordering::SeqCst);
}
