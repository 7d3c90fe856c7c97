//! The parts of messages that take one of several slots; see [`Key::slot`].
//!
//! A try looks through the lock's turnstile first: it takes it in shared mode and releases it in
//! the same expression, so that tries do not refuse each other, and are refused while others queue.
//! A wait queues for the turnstile in exclusive mode, and then looks for a free slot.

use std::fmt::Write as _;
use std::hash::{BuildHasher as _, RandomState};

use super::LOCK_TIMEOUT;
use super::call::{Function, array_literal};
use super::timeout::{lock_timeout, milliseconds};
use crate::key::Key;
use crate::lock::{LockId, Mode, Wait};
use crate::time_bounds::{FIRST_SLOT_PAUSE, LONGEST_SLOT_PAUSE};

/// A lock with several permits.
pub(super) struct Semaphore {
    key: Key,
    /// In random order, so that those who look at the same time do not meet at the same slots.
    slots: Vec<Key>,
    /// Whether the turnstile is looked through.
    makes_way: bool,
}

/// Whether a setting holds for the transaction or for the session.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Reach {
    Transaction,
    Session,
}

impl Semaphore {
    /// `None` for a lock with one permit.
    pub(super) fn of(lock: &LockId) -> Option<Self> {
        let key = lock.semaphore()?;
        Some(Self::among(key, lock.held_keys(), true))
    }

    /// Some of its slots.
    pub(super) fn among(key: Key, mut slots: Vec<Key>, makes_way: bool) -> Self {
        shuffle(&mut slots);
        Self {
            key,
            slots,
            makes_way,
        }
    }

    /// Whether a slot is free, and is taken now; an expression, which stops at the first free slot.
    pub(super) fn try_any(&self, function: Function) -> String {
        let (probe, rows) = (self.probe(), self.rows());
        let call = self.call(function, "k");
        format!("CASE WHEN {probe} THEN EXISTS(SELECT FROM {rows} WHERE {call}) ELSE false END")
    }

    /// The slot that is free, and is taken now, as a number that [`slot`](Self::slot) reads; null
    /// if there is none. An expression, which stops at the first free slot.
    pub(super) fn take_any(&self, function: Function) -> String {
        let (probe, rows) = (self.probe(), self.rows());
        let call = self.call(function, "k");
        // There is no `ORDER BY`, which would evaluate all rows.
        format!(
            "CASE WHEN {probe} THEN (SELECT k::pg_catalog.int8 FROM {rows} WHERE {call} LIMIT 1) END"
        )
    }

    /// As [`take_any`](Self::take_any) for at most this many slots; an array, or null.
    pub(super) fn take_some(&self, function: Function, most: usize) -> String {
        let (probe, rows) = (self.probe(), self.rows());
        let call = self.call(function, "k");
        format!(
            "CASE WHEN {probe} THEN (SELECT pg_catalog.array_agg(s.k) FROM (SELECT k FROM {rows} WHERE {call} LIMIT {most}) AS s) END"
        )
    }

    /// Waits for a slot in the transaction: statements. `refusals` are evaluated before the wait
    /// begins. The slot is kept in a setting, where [`call_on_slot`](Self::call_on_slot) finds it.
    pub(super) fn wait(&self, wait: Wait, refusals: &str, reach: Reach) -> String {
        let limit = match wait {
            Wait::Server => format!("COALESCE(NULLIF({LOCK_TIMEOUT},0)::pg_catalog.text,'')"),
            wait => match lock_timeout(wait) {
                Some(limit) if !limit.is_zero() => format!("'{}'", milliseconds(limit)),
                _ => "''".to_owned(),
            },
        };
        let mut message = format!("SELECT {refusals}");
        let turnstile = self.key.slot(0);
        let settings = [
            ("slots", array_literal(&self.numbers())),
            ("turnstile", format!("'{}'", number(turnstile))),
            ("limit", limit),
        ];
        for (name, value) in settings {
            let _ = write!(
                message,
                ",pg_catalog.set_config('advisory.{name}',{value},true)"
            );
        }
        if let Key::IntPair(first, _) = self.key {
            let _ = write!(
                message,
                ",pg_catalog.set_config('advisory.namespace','{first}',true)"
            );
        }
        message.push(';');
        message.push_str(&self.block(reach));
        message
    }

    /// A block that waits. Its text is the same for all locks of a key space, because
    /// `pg_stat_statements` does not replace the literals of a block.
    ///
    /// The turnstile and the slot are transaction locks in a subtransaction, so a wait that fails
    /// leaves nothing behind, and the end of the subtransaction releases the turnstile. Meanwhile
    /// the session has the slot, which then becomes a lock of the outer transaction. A cancel can
    /// arrive between two statements of the block, and never between a grant to the session and the
    /// variable that notes it, which are one expression. So the handler knows what to release.
    fn block(&self, reach: Reach) -> String {
        let (number, first) = match self.key {
            Key::BigInt(_) => ("pg_catalog.int8", ""),
            Key::IntPair(..) => (
                "pg_catalog.int4",
                "space pg_catalog.int4:=pg_catalog.current_setting('advisory.namespace');",
            ),
        };
        let call = |function: Function, argument: &str| {
            let name = function.name(Mode::Exclusive);
            match self.key {
                Key::BigInt(_) => format!("{name}({argument})"),
                Key::IntPair(..) => format!("{name}(space,{argument})"),
            }
        };
        let shared = |function: Function| {
            call(function, "turnstile")
                .replace(function.name(Mode::Exclusive), function.name(Mode::Shared))
        };
        let try_slot = call(Function::TryXactLock, "k");
        let left = "COALESCE(NULLIF(pg_catalog.current_setting('advisory.limit'),'')::pg_catalog.float8 \
             OPERATOR(pg_catalog.-) (1000 OPERATOR(pg_catalog.*) pg_catalog.date_part('epoch',\
             pg_catalog.clock_timestamp() OPERATOR(pg_catalog.-) started)),'infinity')";
        let is_local = reach == Reach::Transaction;
        let (pause, longest) = (
            FIRST_SLOT_PAUSE.as_secs_f64(),
            LONGEST_SLOT_PAUSE.as_secs_f64(),
        );
        format!(
            "DO LANGUAGE plpgsql $advisory$DECLARE \
             {first}slots {number}[]:=pg_catalog.current_setting('advisory.slots');\
             turnstile {number}:=pg_catalog.current_setting('advisory.turnstile');\
             started pg_catalog.timestamptz:=pg_catalog.clock_timestamp();\
             pause pg_catalog.float8:={pause};\
             time_left pg_catalog.float8;\
             slot {number};\
             is_of_session pg_catalog.bool:=false;\
             BEGIN \
             IF {try_turnstile} AND {free_turnstile} THEN slot:={try_xact};END IF;\
             IF slot IS NULL THEN \
             BEGIN BEGIN \
             time_left:={left};\
             PERFORM pg_catalog.set_config('lock_timeout',CASE WHEN time_left OPERATOR(pg_catalog.=) 'infinity' THEN '0' \
             ELSE GREATEST(1,pg_catalog.ceil(time_left))::pg_catalog.int4::pg_catalog.text END,true);\
             PERFORM {lock_turnstile};\
             LOOP \
             slot:={try_xact};\
             EXIT WHEN slot IS NOT NULL;\
             time_left:={left};\
             IF time_left OPERATOR(pg_catalog.<=) 0 THEN \
             RAISE SQLSTATE '55P03' USING MESSAGE='canceling statement due to lock timeout';END IF;\
             PERFORM pg_catalog.pg_sleep(LEAST(time_left OPERATOR(pg_catalog./) 1000,\
             pause OPERATOR(pg_catalog.*) (0.5 OPERATOR(pg_catalog.+) pg_catalog.random())));\
             pause:=LEAST({longest},pause OPERATOR(pg_catalog.*) 1.25);\
             END LOOP;\
             is_of_session:={try_for_session};\
             RAISE SQLSTATE 'AL000';\
             EXCEPTION WHEN SQLSTATE 'AL000' THEN \
             is_of_session:=NOT ({try_for_transaction} AND {leave_session});\
             END;\
             EXCEPTION WHEN query_canceled OR OTHERS THEN \
             IF is_of_session THEN is_of_session:=NOT {leave_session};END IF;RAISE;\
             END;END IF;\
             PERFORM pg_catalog.set_config('advisory.slot',slot::pg_catalog.text,{is_local});\
             END$advisory$",
            try_turnstile = shared(Function::TryLock),
            free_turnstile = shared(Function::Unlock),
            try_xact =
                format!("(SELECT k FROM pg_catalog.unnest(slots) AS k WHERE {try_slot} LIMIT 1)"),
            lock_turnstile = call(Function::XactLock, "turnstile"),
            try_for_session = call(Function::TryLock, "slot"),
            try_for_transaction = call(Function::TryXactLock, "slot"),
            leave_session = call(Function::Unlock, "slot"),
        )
    }

    /// Keeps the slot that is free, and is taken now, in a setting of the session; an item of a
    /// target list.
    pub(super) fn keep_any(&self, function: Function) -> String {
        let slot = self.take_any(function);
        format!(
            "pg_catalog.set_config('advisory.slot',COALESCE(({slot})::pg_catalog.text,''),false)"
        )
    }

    /// Calls a function for the slot that was kept, and not at all if there is none; an expression.
    pub(super) fn call_on_slot(&self, function: Function) -> String {
        let number = match self.key {
            Key::BigInt(_) => "pg_catalog.int8",
            Key::IntPair(..) => "pg_catalog.int4",
        };
        self.call(function, &format!("NULLIF({SLOT},'')::{number}"))
    }

    /// Whether the turnstile is free; an expression.
    fn probe(&self) -> String {
        if !self.makes_way {
            return "true".to_owned();
        }
        let turnstile = self.key.slot(0);
        let take = Function::TryLock.call(turnstile, Mode::Shared);
        let release = Function::Unlock.call(turnstile, Mode::Shared);
        format!("{take} AND {release}")
    }

    /// The slots as rows `k`.
    fn rows(&self) -> String {
        let number = match self.key {
            Key::BigInt(_) => "int8",
            Key::IntPair(..) => "int4",
        };
        let slots = array_literal(&self.numbers());
        format!("pg_catalog.unnest({slots}::pg_catalog.{number}[]) AS k")
    }

    fn numbers(&self) -> Vec<i64> {
        self.slots.iter().copied().map(number).collect()
    }

    fn call(&self, function: Function, slot: &str) -> String {
        let name = function.name(Mode::Exclusive);
        match self.key {
            Key::BigInt(_) => format!("{name}({slot})"),
            Key::IntPair(first, _) => format!("{name}('{first}',{slot})"),
        }
    }
}

/// The number of the slot that a message has kept, as text; an expression.
pub(crate) const SLOT: &str = "pg_catalog.current_setting('advisory.slot')";

/// The slot of a lock whose number the server has reported.
pub(crate) fn slot(lock: &LockId, number: i64) -> Option<Key> {
    match lock.semaphore()? {
        Key::BigInt(_) => Some(Key::BigInt(number)),
        Key::IntPair(first, _) => Some(Key::IntPair(first, i32::try_from(number).ok()?)),
    }
}

/// What differs between the slots of a lock: of a pair, the second number.
pub(crate) fn number(key: Key) -> i64 {
    match key {
        Key::BigInt(key) => key,
        Key::IntPair(_, second) => second.into(),
    }
}

/// Fisher and Yates.
pub(crate) fn shuffle(keys: &mut [Key]) {
    let random = RandomState::new();
    for unsorted in (2..=keys.len()).rev() {
        let range = u64::try_from(unsorted).unwrap_or(u64::MAX);
        let chosen = usize::try_from(random.hash_one(unsorted) % range);
        keys.swap(unsorted - 1, chosen.unwrap_or_default());
    }
}
