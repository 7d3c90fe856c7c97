//! What a test has said about the line that a proxy stands for.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;

use crate::fault::{Cut, Side, Trap};
use crate::socket::Address;

/// The state of the line, shared by a proxy and all its connections.
pub(crate) struct Line {
    target: Mutex<Address>,
    delay: Mutex<Duration>,
    trap: Mutex<Trap>,
    silence: watch::Sender<Silence>,
    orders: Mutex<watch::Sender<Option<Cut>>>,
}

#[derive(Default)]
struct Silence {
    is_everywhere: bool,
    /// How often it was broken.
    breaks: u64,
}

impl Line {
    pub(crate) fn to(target: Address) -> Self {
        Self {
            target: Mutex::new(target),
            delay: Mutex::default(),
            trap: Mutex::default(),
            silence: watch::Sender::default(),
            orders: Mutex::default(),
        }
    }

    pub(crate) fn target(&self) -> Address {
        lock(&self.target).clone()
    }

    pub(crate) fn set_target(&self, target: Address) {
        *lock(&self.target) = target;
    }

    pub(crate) fn delay(&self) -> Duration {
        *lock(&self.delay)
    }

    pub(crate) fn set_delay(&self, delay: Duration) {
        *lock(&self.delay) = delay;
    }

    pub(crate) fn trap(&self) -> MutexGuard<'_, Trap> {
        lock(&self.trap)
    }

    /// Counts a message of `side`, and says what to do after it, and until which break if that is to fall silent.
    pub(crate) fn count(&self, side: Side) -> Option<(Cut, u64)> {
        let mut trap = self.trap();
        // While the trap is locked nobody knows that it has sprung, and so nobody can have broken the silence.
        trap.count(side).map(|cut| (cut, self.next_break()))
    }

    pub(crate) fn set_silent(&self, is_silent: bool) {
        self.silence.send_modify(|silence| {
            silence.is_everywhere = is_silent;
            silence.breaks += u64::from(!is_silent);
        });
    }

    /// The number of the break that ends a silence which begins now.
    pub(crate) fn next_break(&self) -> u64 {
        self.silence.borrow().breaks + 1
    }

    /// Waits until the line is not silent, for a connection that is so until a certain break.
    pub(crate) async fn heard(&self, until_break: impl Fn() -> u64) {
        let mut silence = self.silence.subscribe();
        let is_heard =
            |silence: &Silence| !silence.is_everywhere && silence.breaks >= until_break();
        silence
            .wait_for(is_heard)
            .await
            .expect("BUG: the sender is ours");
    }

    /// What a connection has to do, once it is said. To drop this tells that it has been done.
    pub(crate) fn orders(&self) -> watch::Receiver<Option<Cut>> {
        lock(&self.orders).subscribe()
    }

    /// Has every connection that is open do this, and waits until each has done it.
    pub(crate) async fn order(&self, cut: Cut) {
        let orders = std::mem::take(&mut *lock(&self.orders));
        orders.send_replace(Some(cut));
        orders.closed().await;
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
