//! The state of the network link that a proxy simulates: its target, delay, silence and faults.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;

use super::fault::{Cut, FaultTrigger, Side};
use super::socket::Address;

/// The state of the link, which a proxy shares with all its connections.
pub(super) struct LinkState {
    target: Mutex<Address>,
    delay: Mutex<Duration>,
    trigger: Mutex<FaultTrigger>,
    silence: watch::Sender<Silence>,
    cuts: Mutex<watch::Sender<Option<Cut>>>,
}

#[derive(Default)]
struct Silence {
    /// True if every connection is silent.
    is_everywhere: bool,
    /// How many times silence has been ended.
    ended: u64,
}

impl LinkState {
    pub(super) fn to(target: Address) -> Self {
        Self {
            target: Mutex::new(target),
            delay: Mutex::default(),
            trigger: Mutex::default(),
            silence: watch::Sender::default(),
            cuts: Mutex::default(),
        }
    }

    pub(super) fn target(&self) -> Address {
        lock(&self.target).clone()
    }

    pub(super) fn set_target(&self, target: Address) {
        *lock(&self.target) = target;
    }

    pub(super) fn delay(&self) -> Duration {
        *lock(&self.delay)
    }

    pub(super) fn set_delay(&self, delay: Duration) {
        *lock(&self.delay) = delay;
    }

    pub(super) fn trigger(&self) -> MutexGuard<'_, FaultTrigger> {
        lock(&self.trigger)
    }

    /// Counts a message of `side`. If a fault follows the message, returns the fault and the number
    /// of the silence end that lifts a [`Cut::Silence`].
    pub(super) fn count(&self, side: Side) -> Option<(Cut, u64)> {
        let mut trigger = self.trigger();
        // A test cannot see that the trigger has fired while the trigger is locked. So it cannot
        // have ended this silence yet.
        trigger
            .count(side)
            .map(|cut| (cut, self.next_silence_end()))
    }

    pub(super) fn set_silent(&self, is_silent: bool) {
        self.silence.send_modify(|silence| {
            silence.is_everywhere = is_silent;
            silence.ended += u64::from(!is_silent);
        });
    }

    /// The number of the end of a silence that begins now.
    pub(super) fn next_silence_end(&self) -> u64 {
        self.silence.borrow().ended + 1
    }

    /// Waits until a connection is not silent. The connection is silent itself until silence has
    /// been ended `until_end()` times.
    pub(super) async fn wait_until_audible(&self, until_end: impl Fn() -> u64) {
        let mut silence = self.silence.subscribe();
        let is_audible = |silence: &Silence| !silence.is_everywhere && silence.ended >= until_end();
        silence
            .wait_for(is_audible)
            .await
            .expect("BUG: the sender is ours");
    }

    /// The next cut for a connection. The connection confirms the cut by dropping the receiver.
    pub(super) fn cuts(&self) -> watch::Receiver<Option<Cut>> {
        lock(&self.cuts).subscribe()
    }

    /// Cuts every open connection, and waits until each has confirmed.
    pub(super) async fn cut(&self, cut: Cut) {
        let cuts = std::mem::take(&mut *lock(&self.cuts));
        cuts.send_replace(Some(cut));
        cuts.closed().await;
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
