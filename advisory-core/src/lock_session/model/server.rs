//! The advisory locks of a PostgreSQL server, as far as sessions can tell.

use std::collections::{BTreeMap, BTreeSet};

use crate::key::Key;
use crate::lock::{LockId, Mode};
use crate::lock_session::table::{Answer, Message, Pick, SessionId};

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Server {
    /// The sessions that have not ended.
    pub(super) sessions: BTreeSet<SessionId>,
    /// How many times a session holds a key.
    held: BTreeMap<(Key, SessionId, Mode), u8>,
    /// All waits, in the order of their arrival.
    waits: Vec<Wait>,
}

/// A statement that waits for a key, and takes more keys after that.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Wait {
    session: SessionId,
    key: Key,
    mode: Mode,
    then: Vec<Key>,
}

fn conflict(one: Mode, other: Mode) -> bool {
    one == Mode::Exclusive || other == Mode::Exclusive
}

impl Server {
    /// Executes a message in one step, as nothing in it waits.
    pub(super) fn execute(&mut self, session: SessionId, message: &Message) -> Answer {
        let mut answer = Answer::default();
        for unlock in &message.unlocks {
            let unlocked = self.unlock(session, unlock.key, unlock.mode);
            answer.unlocked.push(unlocked);
        }
        for (_, lock) in &message.tries {
            answer.granted.push(self.try_lock(session, lock));
        }
        for pick in &message.picks {
            answer.picked.push(self.pick(session, pick));
        }
        if message.looks {
            let waits = self.waits.iter();
            let awaited = waits.filter(|wait| wait.mode == Mode::Exclusive);
            answer.awaited = awaited.map(|wait| wait.key).collect();
        }
        answer
    }

    /// `pg_try_advisory_lock` for one slot after the other, until there is one for each request.
    fn pick(&mut self, session: SessionId, pick: &Pick) -> Vec<Key> {
        let turnstile = pick.lock.semaphore().map(|key| key.slot(0));
        let is_open =
            turnstile.is_some_and(|key| self.is_free(session, key, Mode::Shared, &self.waits));
        let mut picked = Vec::new();
        if pick.makes_way && !is_open {
            return picked;
        }
        for slot in &pick.slots {
            if picked.len() < pick.ids.len() && self.try_lock(session, &pick.lock.of_slot(*slot)) {
                picked.push(*slot);
            }
        }
        picked
    }

    /// `pg_try_advisory_lock`, for all keys or none.
    pub(super) fn try_lock(&mut self, session: SessionId, lock: &LockId) -> bool {
        let mut keys = lock.keys().iter();
        let is_granted = keys.all(|key| self.is_free(session, *key, lock.mode(), &self.waits));
        if is_granted {
            for key in lock.keys() {
                self.hold(session, *key, lock.mode());
            }
        }
        is_granted
    }

    /// `pg_advisory_lock`, for one key after the other.
    pub(super) fn lock(&mut self, session: SessionId, keys: &[Key], mode: Mode) {
        let Some((key, then)) = keys.split_first() else {
            return;
        };
        if self.is_free(session, *key, mode, &self.waits) {
            self.hold(session, *key, mode);
            return self.lock(session, then, mode);
        }
        self.waits.push(Wait {
            session,
            key: *key,
            mode,
            then: then.to_vec(),
        });
    }

    /// `pg_advisory_unlock`.
    pub(super) fn unlock(&mut self, session: SessionId, key: Key, mode: Mode) -> bool {
        let Some(count) = self.held.get_mut(&(key, session, mode)) else {
            return false;
        };
        *count -= 1;
        if *count == 0 {
            self.held.remove(&(key, session, mode));
            self.wake();
        }
        true
    }

    pub(super) fn end(&mut self, session: SessionId) {
        self.sessions.remove(&session);
        self.held.retain(|(_, holder, _), _| *holder != session);
        self.waits.retain(|wait| wait.session != session);
        self.wake();
    }

    pub(super) fn is_waiting(&self, session: SessionId) -> bool {
        self.waits.iter().any(|wait| wait.session == session)
    }

    pub(super) fn holds(&self, session: SessionId, key: Key, mode: Mode) -> bool {
        self.held.contains_key(&(key, session, mode))
    }

    /// Whether a session holds nothing and waits for nothing.
    pub(super) fn is_clear_of(&self, session: SessionId) -> bool {
        !self.is_waiting(session) && self.held.keys().all(|(_, holder, _)| *holder != session)
    }

    /// Whether no session holds a key twice, or in both modes.
    pub(super) fn is_asked_once(&self) -> bool {
        let keys = self.held.keys().map(|(key, session, _)| (key, session));
        self.held.values().all(|count| *count == 1) && keys.is_sorted_by(|one, next| one < next)
    }

    /// Whether the key is granted to a session behind those who wait.
    fn is_free(&self, session: SessionId, key: Key, mode: Mode, waits: &[Wait]) -> bool {
        if self.holds(session, key, mode) {
            return true;
        }
        let mut holders = self.held.keys().filter(|(held, ..)| *held == key);
        let mut waits = waits.iter().filter(|wait| wait.key == key);
        holders.all(|(_, holder, held)| *holder == session || !conflict(*held, mode))
            && waits.all(|wait| !conflict(wait.mode, mode))
    }

    fn hold(&mut self, session: SessionId, key: Key, mode: Mode) {
        *self.held.entry((key, session, mode)).or_default() += 1;
    }

    /// Grants what can be granted in the order of the queue.
    fn wake(&mut self) {
        let is_free = |index: &usize| {
            let (before, wait) = (&self.waits[..*index], &self.waits[*index]);
            self.is_free(wait.session, wait.key, wait.mode, before)
        };
        if let Some(index) = (0..self.waits.len()).find(is_free) {
            let wait = self.waits.remove(index);
            self.hold(wait.session, wait.key, wait.mode);
            self.lock(wait.session, &wait.then, wait.mode);
            self.wake();
        }
    }
}
