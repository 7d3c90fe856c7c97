//! Who of this process holds, wants and is next for each key of a [`LockSession`].
//!
//! Pure bookkeeping, without I/O: the [owner](super::owner) passes it the requests and the answers
//! of the server, and it returns what to send next and which requests to answer. PostgreSQL grants
//! a session its own key again and again, so who excludes whom within one session is decided here.
//!
//! The rules, which `model.rs` checks in every order of events:
//!
//! - A request waits in the queue of each of its keys, and only the first in all of them is asked
//!   for or granted. So requests that came first are never overtaken, and those that want several
//!   keys do not deadlock.
//! - A key that its last local holder releases goes to the next one in the queue, if that wants the
//!   same key in the same mode, and the key has not been handed over for too long. Otherwise the
//!   session unlocks it, and may ask for it again after that, in the same message.
//! - A request for one of several slots waits in no queue. All slots that nobody here has or wants
//!   are tried in one go, and it gets one that is free, or is refused.
//! - What is under way belongs to nobody else: a key that is just being asked for or unlocked is
//!   not decided upon before the answer.
//!
//! [`LockSession`]: super::LockSession

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::mem::take;
use std::time::Duration;

use crate::key::Key;
use crate::lock::{LockId, Mode};

/// A request, from its arrival until its lock is released. The greater came later.
pub(super) type RequestId = u64;

/// A session of the server. A new session has a new number, so that nothing of a lost one is taken
/// for its own.
pub(super) type SessionId = u64;

/// The least of all keys.
const LEAST_KEY: Key = Key::BigInt(i64::MIN);

/// What has become of a request.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Outcome {
    Granted(RequestId, SessionId),
    /// It does not wait, and others hold the lock.
    Refused(RequestId),
    /// It polls, and others hold the lock: to be asked for [again](Table::ask_again) later.
    Paused(RequestId),
    /// Whether the session has held it until then.
    Released(RequestId, bool),
    /// The server refuses it with an error.
    Failed(RequestId),
    /// Nobody wants what this session is queueing for.
    EndWait(SessionId),
}

/// How a request waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Manner {
    /// Not at all.
    Tries,
    /// Not at all, and is the first in the queue for one of several slots, so that it does not make
    /// way for those who queue.
    TriesFirst,
    /// It is asked for with every sweep, and may queue on the server.
    Waits,
    /// It is asked for when it says so.
    Polls,
}

/// One message to a session: what it unlocks, then what it tries.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Message {
    pub(super) session: SessionId,
    pub(super) unlocks: Vec<Unlock>,
    pub(super) tries: Vec<(RequestId, LockId)>,
    pub(super) picks: Vec<Pick>,
    /// Whether to look at the requests that queue on the server.
    pub(super) looks: bool,
    /// The newest request that had arrived when the message was sent.
    newest: RequestId,
}

impl Message {
    /// How many requests travel in it.
    pub(super) fn len(&self) -> usize {
        self.unlocks.len() + self.tries_len()
    }

    fn tries_len(&self) -> usize {
        let picks = self.picks.iter().map(|pick| pick.ids.len());
        self.tries.len() + picks.sum::<usize>()
    }

    /// The requests that are tried.
    pub(super) fn tried(&self) -> impl Iterator<Item = RequestId> {
        let tries = self.tries.iter().map(|(id, _)| *id);
        tries.chain(self.picks.iter().flat_map(|pick| pick.ids.iter().copied()))
    }
}

/// A try for the first free ones of several slots, one for each request.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Pick {
    pub(super) ids: Vec<RequestId>,
    /// The lock with several permits.
    pub(super) lock: LockId,
    /// The slots that nobody here has or wants.
    pub(super) slots: Vec<Key>,
    /// Whether nobody is to queue for the lock.
    pub(super) makes_way: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Unlock {
    pub(super) key: Key,
    pub(super) mode: Mode,
    releaser: Option<RequestId>,
}

/// The answer to a [`Message`], in its order.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Answer {
    pub(super) unlocked: Vec<bool>,
    pub(super) granted: Vec<bool>,
    /// The slots of each pick, at most one for each of its requests.
    pub(super) picked: Vec<Vec<Key>>,
    /// The keys for which exclusive requests queue on the server.
    pub(super) awaited: BTreeSet<Key>,
}

impl Answer {
    /// Whether the session has been granted anything.
    pub(super) fn grants(&self) -> bool {
        self.granted.contains(&true) || self.picked.iter().any(|slots| !slots.is_empty())
    }
}

/// Whether a message looks at the requests that queue on the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Look {
    Now,
    /// If a shared key is not to be joined otherwise.
    IfNeeded,
    Not,
}

/// How long a key may go round among local holders before others get their chance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Limits {
    pub(super) hand_overs: u32,
    pub(super) time: Duration,
    /// The most keys in one message.
    pub(super) keys: usize,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Table {
    limits: Limits,
    requests: BTreeMap<RequestId, Request>,
    keys: BTreeMap<Key, Entry>,
    /// The session that tries and unlocks, once it is open.
    main: Option<SessionId>,
    /// How many keys each session has.
    held: BTreeMap<SessionId, usize>,
    /// Those in the queues of their keys.
    queued: BTreeSet<RequestId>,
    /// To be asked for in the next message.
    ready: BTreeSet<RequestId>,
    /// Others hold them: to be asked for with the next sweep.
    refused: BTreeSet<RequestId>,
    /// The keys without a local holder, which their sessions still hold.
    to_unlock: BTreeSet<(SessionId, Key)>,
    /// Shared keys to look at before others may join their holders.
    to_look: BTreeSet<Key>,
    /// Shared keys that others were seen to wait for, while requests here want to join.
    awaited: BTreeSet<Key>,
    /// The most requests to try in one message, after one has failed.
    most_tries: usize,
    /// The keys whose queues are to be considered. Empty between two calls.
    to_wake: VecDeque<Key>,
    /// What has happened. Empty between two calls.
    outcomes: Vec<Outcome>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Request {
    lock: LockId,
    manner: Manner,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum State {
    /// In the queues of its keys.
    Waiting,
    /// It polls, and is not in the queues until it asks again.
    Paused,
    /// A message is under way that tries it. Still in the queues.
    Asked {
        is_wanted: bool,
    },
    /// A session waits for it on the server. Still in the queues.
    Queueing(SessionId),
    Held(SessionId),
    Releasing {
        session: SessionId,
        left: u32,
        was_held: bool,
    },
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
struct Entry {
    held: Option<Held>,
    queue: VecDeque<RequestId>,
    /// How many in the queue do not wait.
    trying: usize,
    underway: Underway,
}

/// What a session is just doing with a key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
enum Underway {
    #[default]
    Nothing,
    Trying,
    Unlocking,
    Queueing,
}

/// A key that a session of ours holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Held {
    session: SessionId,
    mode: Mode,
    /// How many hold it in this process. None: the session is to unlock it.
    holders: usize,
    /// Who has released it last and waits until it is unlocked.
    releaser: Option<RequestId>,
    /// When the server has granted it, or was asked who else waits for it.
    since: Duration,
    hand_overs: u32,
    /// Others wait for it, so nobody joins its holders.
    is_awaited: bool,
}

/// What can be done for a request now.
enum Verdict {
    /// Another request, another session or a message under way decides first.
    Blocked,
    /// Local requests that came first hold the lock or wait for it.
    Held,
    /// The session has it for this request.
    InHand(SessionId),
    /// The server decides.
    Ask,
    /// Others may wait for this shared key: the server is asked before one more joins.
    Look(Key),
    /// Others do wait for it: the server is asked whether they still do.
    Awaited(Key),
}

impl Table {
    pub(super) fn new(limits: Limits) -> Self {
        Self {
            limits,
            requests: BTreeMap::new(),
            keys: BTreeMap::new(),
            main: None,
            held: BTreeMap::new(),
            queued: BTreeSet::new(),
            ready: BTreeSet::new(),
            refused: BTreeSet::new(),
            to_unlock: BTreeSet::new(),
            to_look: BTreeSet::new(),
            awaited: BTreeSet::new(),
            most_tries: limits.keys,
            to_wake: VecDeque::new(),
            outcomes: Vec::new(),
        }
    }

    /// Whether nobody holds, wants or releases anything.
    pub(super) fn is_empty(&self) -> bool {
        self.requests.is_empty()
    }

    /// The requests that are neither granted nor refused, in the order of their arrival.
    pub(super) fn waiting(&self) -> &BTreeSet<RequestId> {
        &self.queued
    }

    /// Whether the answer of the server to a request is on its way.
    pub(super) fn is_being_asked(&self, id: RequestId) -> bool {
        let is_asked = |request: &Request| matches!(request.state, State::Asked { .. });
        self.ready.contains(&id) || self.requests.get(&id).is_some_and(is_asked)
    }

    /// Whether a request does not wait.
    pub(super) fn is_try(&self, id: RequestId) -> bool {
        let request = self.requests.get(&id);
        request.is_some_and(|request| matches!(request.manner, Manner::Tries | Manner::TriesFirst))
    }

    pub(super) fn is_held(&self, id: RequestId) -> bool {
        self.requests.get(&id).and_then(Request::held).is_some()
    }

    /// What a request holds: of a lock with several permits, the slot.
    #[cfg(test)]
    pub(super) fn held_lock(&self, id: RequestId) -> Option<LockId> {
        let held = self.requests.get(&id).and_then(Request::held);
        held.map(|(lock, _)| lock)
    }

    /// Whether a message is to look for others that wait for a shared key.
    pub(super) fn is_to_look(&self) -> bool {
        !self.to_look.is_empty() || self.is_awaited()
    }

    /// Whether requests here make way for others, who may have gone.
    pub(super) fn is_awaited(&self) -> bool {
        !self.awaited.is_empty()
    }

    /// Of the requests that are asked for with the next sweep, the one that has waited longest.
    pub(super) fn longest_refused(&self) -> Option<RequestId> {
        self.refused.first().copied()
    }

    /// Whether a session has a key, held by somebody or about to be unlocked.
    pub(super) fn holds(&self, session: SessionId) -> bool {
        self.held.contains_key(&session)
    }

    /// The session that tries and unlocks is open.
    pub(super) fn open(&mut self, session: SessionId) {
        self.main = Some(session);
        self.most_tries = self.limits.keys;
    }

    pub(super) fn arrive(
        &mut self,
        id: RequestId,
        lock: LockId,
        manner: Manner,
        now: Duration,
    ) -> Vec<Outcome> {
        if lock.semaphore().is_some() {
            return self.arrive_for_slot(id, lock, manner);
        }
        for key in lock.keys() {
            let entry = self.keys.entry(*key).or_default();
            entry.queue.push_back(id);
            entry.trying += usize::from(manner == Manner::Tries);
        }
        let state = State::Waiting;
        let request = Request {
            lock,
            manner,
            state,
        };
        self.requests.insert(id, request);
        self.queued.insert(id);
        self.consider(id, now);
        self.settle(now)
    }

    fn arrive_for_slot(&mut self, id: RequestId, lock: LockId, manner: Manner) -> Vec<Outcome> {
        let state = State::Waiting;
        let request = Request {
            lock,
            manner,
            state,
        };
        let slots = self.slots(&request);
        self.requests.insert(id, request);
        self.queued.insert(id);
        self.ready.insert(id);
        // What is under way may end before the next message.
        let is_in_hand = |slot: &Key| self.keys.get(slot).is_some_and(Entry::is_held_for_long);
        if slots.iter().all(is_in_hand) {
            self.refuse(id);
        }
        take(&mut self.outcomes)
    }

    /// The slots that a request may be granted: none if it makes way for others here.
    fn slots(&self, request: &Request) -> Vec<Key> {
        let turnstile = request.lock.semaphore().map(|key| key.slot(0));
        let turnstile = turnstile.and_then(|turnstile| self.keys.get(&turnstile));
        let is_awaited =
            turnstile.is_some_and(|entry| !entry.queue.is_empty() || entry.is_held_for_long());
        if is_awaited && request.manner != Manner::TriesFirst {
            return Vec::new();
        }
        request.lock.held_keys()
    }

    /// The request is dropped, or its time is over.
    pub(super) fn withdraw(&mut self, id: RequestId, now: Duration) -> Vec<Outcome> {
        let Some(request) = self.requests.get_mut(&id) else {
            return Vec::new();
        };
        match request.state {
            State::Paused => {
                self.queued.remove(&id);
                self.requests.remove(&id);
            }
            State::Waiting => {
                let lock = self.remove(id);
                self.wake(&lock);
            }
            State::Asked { .. } => request.state = State::Asked { is_wanted: false },
            State::Queueing(session) => {
                let heir = self.heir(id);
                let lock = self.remove(id);
                if let Some(heir) = heir {
                    self.refused.remove(&heir);
                    self.ready.remove(&heir);
                    self.set_state(heir, State::Queueing(session));
                } else {
                    self.set_underway(&lock, Underway::Nothing);
                    self.outcomes.push(Outcome::EndWait(session));
                    self.wake(&lock);
                }
            }
            State::Held(_) | State::Releasing { .. } => self.let_go(id),
        }
        self.settle(now)
    }

    /// The holder gives its lock back.
    pub(super) fn release(&mut self, id: RequestId, now: Duration) -> Vec<Outcome> {
        self.let_go(id);
        self.settle(now)
    }

    fn let_go(&mut self, id: RequestId) {
        let Some((lock, session)) = self.requests.get(&id).and_then(Request::held) else {
            return;
        };
        let mut left = 0;
        for key in lock.keys() {
            let Some(held) = self.keys.get_mut(key).and_then(|entry| entry.held.as_mut()) else {
                continue;
            };
            held.holders -= 1;
            if held.holders == 0 {
                held.releaser = Some(id);
                self.to_unlock.insert((session, *key));
                left += 1;
            }
        }
        let was_held = true;
        self.set_state(
            id,
            State::Releasing {
                session,
                left,
                was_held,
            },
        );
        if left == 0 {
            self.requests.remove(&id);
            self.outcomes.push(Outcome::Released(id, true));
        }
        self.wake(&lock);
    }

    /// Asks for a request before the next sweep, or for one that polls.
    pub(super) fn ask_again(&mut self, id: RequestId, now: Duration) -> Vec<Outcome> {
        if self.refused.remove(&id) {
            self.ready.insert(id);
        }
        let Some(request) = self.requests.get_mut(&id) else {
            return Vec::new();
        };
        if request.state == State::Paused {
            request.state = State::Waiting;
            let lock = request.lock.clone();
            for key in lock.keys() {
                self.entry(key).queue.push_back(id);
            }
            self.consider(id, now);
        }
        self.settle(now)
    }

    /// Asks for everything that was refused again.
    pub(super) fn sweep(&mut self) {
        let refused = take(&mut self.refused);
        self.ready.extend(refused);
    }

    /// What to send to a session that has no message under way; `None` if there is nothing.
    pub(super) fn message(
        &mut self,
        session: SessionId,
        look: Look,
        now: Duration,
    ) -> Option<Message> {
        let mut message = Message {
            session,
            unlocks: Vec::new(),
            tries: Vec::new(),
            picks: Vec::new(),
            looks: false,
            newest: self.queued.last().copied().unwrap_or_default(),
        };
        let unlocks = self.to_unlock.range((session, LEAST_KEY)..);
        let unlocks = unlocks.take_while(|(holder, _)| *holder == session);
        let unlocks: Vec<_> = unlocks.take(self.limits.keys).copied().collect();
        for (_, key) in unlocks {
            self.to_unlock.remove(&(session, key));
            let entry = self.keys.get_mut(&key);
            let entry = entry.expect("BUG: a key to unlock has no entry");
            let held = entry.held.take().expect("BUG: a key to unlock is not held");
            self.count_held(session, -1);
            message.unlocks.push(Unlock {
                key,
                mode: held.mode,
                releaser: held.releaser,
            });
        }
        if self.main == Some(session) {
            self.add_tries(&mut message, now);
            message.looks = match look {
                Look::Now => true,
                Look::IfNeeded => !self.to_look.is_empty(),
                Look::Not => false,
            };
        }
        for unlock in &message.unlocks {
            let entry = self.entry(&unlock.key);
            if entry.underway == Underway::Nothing {
                entry.underway = Underway::Unlocking;
            }
        }
        (message.len() > 0 || message.looks).then_some(message)
    }

    /// What the message unlocks is free for its tries.
    fn add_tries(&mut self, message: &mut Message, now: Duration) {
        let mut keys = message.unlocks.len();
        let mut later = BTreeSet::new();
        while let Some(id) = self.ready.pop_first() {
            let Some(request) = self.requests.get(&id) else {
                continue;
            };
            let lock = request.lock.clone();
            let tries = message.tries_len();
            let is_full = keys + lock.keys().len() > self.limits.keys || tries >= self.most_tries;
            if is_full && tries > 0 {
                later.insert(id);
                break;
            }
            if lock.semaphore().is_some() {
                keys += 1;
                if !self.add_pick(message, id, lock) {
                    later.insert(id);
                }
                continue;
            }
            match self.verdict(id, now) {
                Verdict::Ask if self.is_given_back(&lock) => {
                    later.insert(id);
                }
                Verdict::Ask => {
                    let missing = self.reserve(&lock);
                    keys += missing.keys().len();
                    self.set_state(id, State::Asked { is_wanted: true });
                    message.tries.push((id, missing));
                }
                // Time alone has changed what is to be done: no event considers it again.
                Verdict::Look(key) | Verdict::Awaited(key) => {
                    self.to_look.insert(key);
                }
                // It is considered again when that changes.
                Verdict::Blocked | Verdict::Held | Verdict::InHand(_) => {}
            }
        }
        self.ready.append(&mut later);
    }

    /// Tries slots for a request; none if others here have them all or queue for one. False if that
    /// depends on an answer.
    fn add_pick(&mut self, message: &mut Message, id: RequestId, lock: LockId) -> bool {
        let Some(request) = self.requests.get(&id) else {
            return true;
        };
        let makes_way = request.manner != Manner::TriesFirst;
        let mut slots = self.slots(request);
        let mut same = message.picks.iter_mut();
        if let Some(pick) = same.find(|pick| pick.lock == lock && pick.makes_way == makes_way) {
            let has_one = pick.slots.is_empty() || pick.ids.len() < pick.slots.len();
            if has_one {
                pick.ids.push(id);
                self.set_state(id, State::Asked { is_wanted: true });
            }
            return has_one;
        }
        let is_tried = |slot| {
            let entry = self.keys.get(slot);
            entry.is_some_and(|entry| entry.underway == Underway::Trying)
        };
        let depends = slots.iter().any(is_tried);
        slots.retain(|slot| !self.keys.get(slot).is_some_and(Entry::is_in_use));
        if slots.is_empty() && depends {
            return false;
        }
        for slot in &slots {
            self.entry(slot).underway = Underway::Trying;
        }
        self.set_state(id, State::Asked { is_wanted: true });
        message.picks.push(Pick {
            ids: vec![id],
            lock,
            slots,
            makes_way,
        });
        true
    }

    /// The server has granted some slots, or none is free.
    fn end_pick(&mut self, session: SessionId, pick: &Pick, picked: &[Key], now: Duration) {
        self.end_underway(pick);
        let mut picked = picked.iter();
        for id in &pick.ids {
            let Some(slot) = picked.next() else {
                self.refuse(*id);
                continue;
            };
            let lock = pick.lock.of_slot(*slot);
            if let Some(request) = self.requests.get_mut(id) {
                request.lock = lock.clone();
            }
            self.grant(session, *id, &lock, now);
        }
    }

    fn end_underway(&mut self, pick: &Pick) {
        for slot in &pick.slots {
            self.entry(slot).underway = Underway::Nothing;
        }
        self.to_wake.extend(&pick.slots);
    }

    /// A try that has no answer is made again, if it is still wanted.
    fn pick_again(&mut self, pick: &Pick) {
        self.end_underway(pick);
        for id in &pick.ids {
            if self.is_wanted(*id) {
                self.set_state(*id, State::Waiting);
                self.ready.insert(*id);
            } else {
                self.remove(*id);
            }
        }
    }

    /// Whether the session still holds a key that nobody holds here.
    fn is_given_back(&self, lock: &LockId) -> bool {
        let held = |key| self.keys.get(key).and_then(|entry| entry.held);
        let mut held = lock.keys().iter().filter_map(held);
        held.any(|held| held.holders == 0)
    }

    /// Joins the holders of shared keys that the session has. What is left is to be tried.
    fn reserve(&mut self, lock: &LockId) -> LockId {
        let mut missing = Vec::new();
        for key in lock.keys() {
            let entry = self.entry(key);
            if let Some(held) = &mut entry.held {
                held.holders += 1;
            } else {
                entry.underway = Underway::Trying;
                missing.push(*key);
            }
        }
        lock.with_keys(missing)
    }

    /// The answer to a message.
    pub(super) fn answered(
        &mut self,
        message: &Message,
        answer: &Answer,
        now: Duration,
    ) -> Vec<Outcome> {
        self.most_tries = self.most_tries.saturating_mul(2).min(self.limits.keys);
        self.end_unlocks(message, &answer.unlocked);
        for ((id, missing), granted) in message.tries.iter().zip(&answer.granted) {
            if *granted {
                self.set_underway(missing, Underway::Nothing);
                self.grant(message.session, *id, missing, now);
            } else {
                self.end_try(*id, missing, message.newest);
            }
        }
        for (pick, picked) in message.picks.iter().zip(&answer.picked) {
            self.end_pick(message.session, pick, picked, now);
        }
        self.end_look(message, &answer.awaited, now);
        self.wake_unlocked(message);
        self.settle(now)
    }

    /// Who else waits for the shared keys is known, or cannot be found out.
    fn end_look(&mut self, message: &Message, awaited: &BTreeSet<Key>, now: Duration) {
        if !message.looks {
            return;
        }
        for key in take(&mut self.to_look)
            .into_iter()
            .chain(take(&mut self.awaited))
        {
            let entry = self.keys.get_mut(&key);
            if let Some(held) = entry.and_then(|entry| entry.held.as_mut()) {
                held.since = now;
                held.is_awaited = awaited.contains(&key);
            }
            self.to_wake.push_back(key);
        }
    }

    /// The server refused the message with an error, and everything in it was unlocked after that.
    /// If the error is that of one request, it is sent again in parts, until that one is alone.
    pub(super) fn failed(
        &mut self,
        message: &Message,
        is_of_one: bool,
        now: Duration,
    ) -> Vec<Outcome> {
        let tries = message.tries_len();
        self.most_tries = (tries / 2).max(1);
        self.end_look(message, &BTreeSet::new(), now);
        let unlocked = vec![true; message.unlocks.len()];
        self.end_unlocks(message, &unlocked);
        let is_alone = is_of_one && tries == 1;
        for pick in &message.picks {
            if is_alone {
                self.end_underway(pick);
                for id in &pick.ids {
                    self.remove(*id);
                    self.outcomes.push(Outcome::Failed(*id));
                }
            } else {
                self.pick_again(pick);
            }
        }
        for (id, missing) in &message.tries {
            self.set_underway(missing, Underway::Nothing);
            let lock = self.unreserve(*id, missing);
            if is_alone || !self.is_wanted(*id) {
                self.remove(*id);
                self.outcomes.push(Outcome::Failed(*id));
            } else {
                self.wait_again(*id);
            }
            self.wake(&lock);
        }
        self.wake_unlocked(message);
        self.settle(now)
    }

    fn end_unlocks(&mut self, message: &Message, unlocked: &[bool]) {
        for (unlock, was_held) in message.unlocks.iter().zip(unlocked) {
            self.end_unlocking(&unlock.key);
            if let Some(releaser) = unlock.releaser {
                self.note_unlocked(releaser, *was_held);
            }
        }
    }

    fn end_unlocking(&mut self, key: &Key) {
        let entry = self.entry(key);
        if entry.underway == Underway::Unlocking {
            entry.underway = Underway::Nothing;
        }
    }

    /// One key less to release.
    fn note_unlocked(&mut self, releaser: RequestId, held: bool) {
        let Some(request) = self.requests.get_mut(&releaser) else {
            return;
        };
        if let State::Releasing { left, was_held, .. } = &mut request.state {
            *left -= 1;
            *was_held &= held;
            if *left == 0 {
                self.outcomes.push(Outcome::Released(releaser, *was_held));
                self.requests.remove(&releaser);
            }
        }
    }

    /// The server has refused a request.
    fn end_try(&mut self, id: RequestId, missing: &LockId, newest: RequestId) {
        self.set_underway(missing, Underway::Nothing);
        let lock = self.unreserve(id, missing);
        let is_wanted = self.is_wanted(id);
        let request = self.requests.get_mut(&id);
        let request = request.expect("BUG: an answer to no request");
        match request.manner {
            Manner::Waits if is_wanted => {
                request.state = State::Waiting;
                self.refused.insert(id);
                self.wake(&lock);
            }
            // Those behind it do not wait for its next poll.
            Manner::Polls if is_wanted => {
                request.state = State::Paused;
                self.step_out(id, &lock);
                self.outcomes.push(Outcome::Paused(id));
                self.wake(&lock);
            }
            _ => {
                self.refuse_like(id, &lock, newest);
                self.refuse(id);
                self.wake(&lock);
            }
        }
    }

    /// What the server has refused once, it has refused to all that had asked by then.
    fn refuse_like(&mut self, refused: RequestId, lock: &LockId, newest: RequestId) {
        let [key] = lock.keys() else { return };
        let Some(entry) = self.keys.get(key).filter(|entry| entry.trying > 1) else {
            return;
        };
        let is_like = |id: &RequestId| {
            let request = self.requests.get(id);
            request.is_some_and(|request| {
                request.manner == Manner::Tries
                    && request.lock.keys() == lock.keys()
                    && (request.lock.mode() == lock.mode() || lock.mode() == Mode::Shared)
            })
        };
        let before = entry
            .queue
            .iter()
            .filter(|id| **id != refused && **id <= newest);
        let like: Vec<_> = before.filter(|id| is_like(id)).copied().collect();
        for id in like {
            self.refuse(id);
        }
    }

    /// The session has been granted the missing keys.
    fn grant(&mut self, session: SessionId, id: RequestId, missing: &LockId, now: Duration) {
        let mode = missing.mode();
        self.count_held(session, missing.keys().len().cast_signed());
        for key in missing.keys() {
            self.entry(key).held = Some(Held {
                session,
                mode,
                holders: 1,
                releaser: None,
                since: now,
                hand_overs: 0,
                is_awaited: false,
            });
        }
        let is_wanted = self.is_wanted(id);
        let lock = self.leave_queues(id);
        self.set_state(id, State::Held(session));
        if is_wanted {
            self.outcomes.push(Outcome::Granted(id, session));
            self.wake(&lock);
        } else {
            self.let_go(id);
        }
    }

    /// Leaves the holders of shared keys that it had joined. Returns the whole lock.
    fn unreserve(&mut self, id: RequestId, missing: &LockId) -> LockId {
        let lock = self.requests.get(&id).map(|request| request.lock.clone());
        let lock = lock.expect("BUG: an answer to no request");
        for key in lock.keys() {
            if missing.keys().binary_search(key).is_ok() {
                continue;
            }
            if let Some(held) = self.keys.get_mut(key).and_then(|entry| entry.held.as_mut()) {
                held.holders -= 1;
                if held.holders == 0 {
                    self.to_unlock.insert((held.session, *key));
                    self.to_wake.push_back(*key);
                }
            }
        }
        lock
    }

    /// The request that has waited longest and may queue on the server; a session does so now.
    pub(super) fn queue(
        &mut self,
        session: SessionId,
        now: Duration,
    ) -> Option<(RequestId, LockId)> {
        let mut refused = self.refused.iter().copied();
        let id = refused.find(|id| {
            let request = self.requests.get(id);
            request.is_some_and(|request| !self.is_held_here(&request.lock))
                && matches!(self.verdict(*id, now), Verdict::Ask)
        })?;
        self.refused.remove(&id);
        let lock = self.requests.get(&id)?.lock.clone();
        self.set_state(id, State::Queueing(session));
        self.set_underway(&lock, Underway::Queueing);
        Some((id, lock))
    }

    /// Whether a session of ours has a part of the lock.
    fn is_held_here(&self, lock: &LockId) -> bool {
        let mut keys = lock.keys().iter();
        keys.any(|key| self.keys.get(key).is_some_and(|entry| entry.held.is_some()))
    }

    /// The server has granted what a session queued for.
    pub(super) fn queue_granted(&mut self, session: SessionId, now: Duration) -> Vec<Outcome> {
        if let Some((id, lock)) = self.queueing(session) {
            self.set_underway(&lock, Underway::Nothing);
            self.grant(session, id, &lock, now);
        }
        self.settle(now)
    }

    /// A session queues no more, and was not granted anything.
    pub(super) fn queue_ended(&mut self, session: SessionId, now: Duration) -> Vec<Outcome> {
        if let Some((id, lock)) = self.queueing(session) {
            self.set_underway(&lock, Underway::Nothing);
            self.set_state(id, State::Waiting);
            self.refused.insert(id);
            self.wake(&lock);
        }
        self.settle(now)
    }

    /// What a session queues for.
    pub(super) fn queueing(&self, session: SessionId) -> Option<(RequestId, LockId)> {
        let mut requests = self.requests.iter();
        let found = requests.find(|(_, request)| request.state == State::Queueing(session));
        found.map(|(id, request)| (*id, request.lock.clone()))
    }

    /// A session has ended, and all its locks with it. The message that was under way has no
    /// answer.
    pub(super) fn lost(
        &mut self,
        session: SessionId,
        under_way: Option<&Message>,
        now: Duration,
    ) -> Vec<Outcome> {
        if self.main == Some(session) {
            self.main = None;
        }
        self.held.remove(&session);
        self.to_unlock.retain(|(holder, _)| *holder != session);
        for (key, entry) in &mut self.keys {
            if entry.held.is_some_and(|held| held.session == session) {
                entry.held = None;
                self.to_wake.push_back(*key);
            }
        }
        if let Some(message) = under_way {
            for unlock in &message.unlocks {
                self.end_unlocking(&unlock.key);
            }
            self.wake_unlocked(message);
            for pick in &message.picks {
                self.pick_again(pick);
            }
            for (id, missing) in &message.tries {
                self.set_underway(missing, Underway::Nothing);
                if self.is_wanted(*id) {
                    self.wait_again(*id);
                } else {
                    self.remove(*id);
                }
                self.wake(missing);
            }
        }
        self.requests.retain(|id, request| match request.state {
            State::Held(holder) => holder != session,
            State::Releasing {
                session: holder, ..
            } if holder == session => {
                self.outcomes.push(Outcome::Released(*id, false));
                false
            }
            _ => true,
        });
        if let Some((id, lock)) = self.queueing(session) {
            self.set_underway(&lock, Underway::Nothing);
            self.set_state(id, State::Waiting);
            self.wake(&lock);
        }
        self.settle(now)
    }

    fn wake_unlocked(&mut self, message: &Message) {
        let keys = message.unlocks.iter().map(|unlock| unlock.key);
        self.to_wake.extend(keys);
    }

    fn wake(&mut self, lock: &LockId) {
        self.to_wake.extend(lock.keys());
    }

    /// Considers those whose keys have changed, and says what has become of all requests.
    fn settle(&mut self, now: Duration) -> Vec<Outcome> {
        while let Some(key) = self.to_wake.pop_front() {
            self.wake_key(key, now);
        }
        take(&mut self.outcomes)
    }

    /// Considers those in front of the queue, until one has to wait.
    fn wake_key(&mut self, key: Key, now: Duration) {
        loop {
            let Some(entry) = self.keys.get(&key) else {
                return;
            };
            let Some(first) = entry.queue.front().copied() else {
                if entry.held.is_none() && entry.underway == Underway::Nothing {
                    self.keys.remove(&key);
                }
                return;
            };
            self.consider(first, now);
            if self.is_being_asked(first) {
                return;
            }
            if self.queued.contains(&first) {
                return self.refuse_tries(key, now);
            }
        }
    }

    /// Does what can be done for a waiting request.
    fn consider(&mut self, id: RequestId, now: Duration) {
        let Some(request) = self.requests.get(&id) else {
            return;
        };
        if request.state != State::Waiting || self.refused.contains(&id) {
            return;
        }
        let tries = request.manner == Manner::Tries;
        match self.verdict(id, now) {
            Verdict::Held | Verdict::Awaited(_) if tries => {
                let first_in = self.first_in(id);
                self.refuse(id);
                self.to_wake.extend(first_in);
            }
            Verdict::Blocked | Verdict::Held => {}
            Verdict::InHand(session) => self.take_in_hand(session, id),
            Verdict::Ask => {
                self.ready.insert(id);
            }
            Verdict::Look(key) => {
                self.to_look.insert(key);
            }
            Verdict::Awaited(key) => {
                self.awaited.insert(key);
            }
        }
    }

    /// A key that the session has goes to one more holder, or to the next one.
    fn take_in_hand(&mut self, session: SessionId, id: RequestId) {
        let lock = self.leave_queues(id);
        let mut released = None;
        for key in lock.keys() {
            let Some(held) = self.keys.get_mut(key).and_then(|entry| entry.held.as_mut()) else {
                continue;
            };
            if held.holders == 0 {
                self.to_unlock.remove(&(session, *key));
                held.hand_overs += 1;
                released = held.releaser.take();
            }
            held.holders += 1;
        }
        if let Some(releaser) = released {
            self.note_unlocked(releaser, true);
        }
        self.set_state(id, State::Held(session));
        self.outcomes.push(Outcome::Granted(id, session));
        self.wake(&lock);
    }

    fn verdict(&self, id: RequestId, now: Duration) -> Verdict {
        let Some(request) = self.requests.get(&id) else {
            return Verdict::Blocked;
        };
        let (keys, mode) = (request.lock.keys(), request.lock.mode());
        let is_single = keys.len() == 1;
        let mut in_hand = None;
        for key in keys {
            let Some(entry) = self.keys.get(key) else {
                return Verdict::Blocked;
            };
            if entry.queue.front() != Some(&id) {
                return self.behind(entry);
            }
            match entry.underway {
                Underway::Nothing => {}
                Underway::Queueing => return Verdict::Held,
                Underway::Trying | Underway::Unlocking => return Verdict::Blocked,
            }
            let Some(held) = entry.held else { continue };
            let has_time = now.saturating_sub(held.since) < self.limits.time;
            let is_main = self.main == Some(held.session);
            let joins = mode == Mode::Shared && held.mode == Mode::Shared;
            if held.holders == 0 {
                let goes_round = held.mode == mode
                    && has_time
                    && held.hand_overs < self.limits.hand_overs
                    && !held.is_awaited;
                if is_single && goes_round {
                    in_hand = Some(held.session);
                } else if !is_main {
                    // Its own session unlocks it first.
                    return Verdict::Blocked;
                }
            } else if !joins {
                return Verdict::Held;
            } else if !has_time {
                return Verdict::Look(*key);
            } else if held.is_awaited {
                return Verdict::Awaited(*key);
            } else if is_single {
                in_hand = Some(held.session);
            } else if !is_main {
                // The first session cannot join, and nobody knows when the holders release.
                return Verdict::Held;
            }
        }
        in_hand.map_or(Verdict::Ask, Verdict::InHand)
    }

    /// The verdict for a request that is not in front: nothing is decided before the server has
    /// answered the one that is.
    fn behind(&self, entry: &Entry) -> Verdict {
        let is_asked = |first: &RequestId| self.is_being_asked(*first);
        let is_unlocked = entry.underway == Underway::Unlocking;
        if is_unlocked || entry.queue.front().is_some_and(is_asked) {
            Verdict::Blocked
        } else {
            Verdict::Held
        }
    }

    /// The keys in whose queues the request is in front.
    fn first_in(&self, id: RequestId) -> Vec<Key> {
        let is_first = |key: &&Key| {
            let queue = self.keys.get(key).map(|entry| &entry.queue);
            queue.and_then(VecDeque::front) == Some(&id)
        };
        let lock = self.requests.get(&id).map(|request| &request.lock);
        let keys = lock.map_or(&[][..], LockId::keys);
        keys.iter().filter(is_first).copied().collect()
    }

    /// Refuses those in the queue of a key that others hold, and that do not wait.
    fn refuse_tries(&mut self, key: Key, now: Duration) {
        let Some(entry) = self.keys.get(&key).filter(|entry| entry.trying > 0) else {
            return;
        };
        let behind: Vec<_> = entry.queue.iter().skip(1).copied().collect();
        for id in behind {
            let tries = |request: &Request| request.manner == Manner::Tries;
            if self.requests.get(&id).is_some_and(tries) {
                self.consider(id, now);
            }
        }
    }

    /// Who inherits a place in the server's queue.
    fn heir(&self, id: RequestId) -> Option<RequestId> {
        let lock = &self.requests.get(&id)?.lock;
        let [key] = lock.keys() else { return None };
        let mut queue = self.keys.get(key)?.queue.iter();
        let next = queue.find(|next| **next != id)?;
        let heir = self.requests.get(next)?;
        let same = heir.lock.keys() == lock.keys() && heir.lock.mode() == lock.mode();
        (same && heir.manner == Manner::Waits && heir.state == State::Waiting).then_some(*next)
    }

    /// Leaves the queues of its keys, and waits.
    fn step_out(&mut self, id: RequestId, lock: &LockId) {
        for key in lock.keys() {
            if let Some(entry) = self.keys.get_mut(key) {
                entry.queue.retain(|queued| *queued != id);
            }
        }
    }

    fn leave_queues(&mut self, id: RequestId) -> LockId {
        let request = self.requests.get(&id).expect("BUG: no such request");
        let (lock, tries) = (request.lock.clone(), request.manner == Manner::Tries);
        for key in lock.keys() {
            if let Some(entry) = self.keys.get_mut(key)
                && let Some(position) = entry.queue.iter().position(|queued| *queued == id)
            {
                entry.queue.remove(position);
                entry.trying -= usize::from(tries);
            }
        }
        self.queued.remove(&id);
        self.ready.remove(&id);
        self.refused.remove(&id);
        lock
    }

    /// The request is over. Returns its lock.
    fn remove(&mut self, id: RequestId) -> LockId {
        let lock = self.leave_queues(id);
        self.requests.remove(&id);
        lock
    }

    fn refuse(&mut self, id: RequestId) {
        self.remove(id);
        self.outcomes.push(Outcome::Refused(id));
    }

    fn count_held(&mut self, session: SessionId, change: isize) {
        let held = self.held.entry(session).or_default();
        *held = held.saturating_add_signed(change);
        if *held == 0 {
            self.held.remove(&session);
        }
    }

    fn is_wanted(&self, id: RequestId) -> bool {
        let request = self.requests.get(&id);
        request.is_some_and(|request| request.state != State::Asked { is_wanted: false })
    }

    fn set_state(&mut self, id: RequestId, state: State) {
        if let Some(request) = self.requests.get_mut(&id) {
            request.state = state;
        }
    }

    /// The message that asked for it has failed. It is considered when its keys are woken; a lock
    /// on no keys has none, and is asked for with the next message.
    fn wait_again(&mut self, id: RequestId) {
        let Some(request) = self.requests.get_mut(&id) else {
            return;
        };
        request.state = State::Waiting;
        if request.lock.keys().is_empty() {
            self.ready.insert(id);
        }
    }

    fn set_underway(&mut self, lock: &LockId, underway: Underway) {
        for key in lock.keys() {
            self.entry(key).underway = underway;
        }
    }

    fn entry(&mut self, key: &Key) -> &mut Entry {
        self.keys.entry(*key).or_default()
    }
}

impl Entry {
    /// Whether this process has the key, wants it, or is just trying or unlocking it.
    fn is_in_use(&self) -> bool {
        self.held.is_some() || !self.queue.is_empty() || self.underway != Underway::Nothing
    }

    /// Whether this process has the key, and nothing says when it will be free.
    fn is_held_for_long(&self) -> bool {
        self.held.is_some_and(|held| held.holders > 0)
    }
}

impl Request {
    fn held(&self) -> Option<(LockId, SessionId)> {
        match self.state {
            State::Held(session) => Some((self.lock.clone(), session)),
            _ => None,
        }
    }
}
