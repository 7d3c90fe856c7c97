//! The report, as text and as JSON.

use std::fmt::Write as _;
use std::time::Duration;

use advisory_core::monitor::LockStatus;
use advisory_core::{Key, Mode};
use anstyle::Style;
use serde::ser::{Serialize, SerializeMap as _, Serializer};

use super::cause::{Cause, pids};
use crate::duration::age;
use crate::lock_status::{application, query, state};
use crate::output::printable;

/// At most so many waiters are listed.
const MAX_WAITERS: usize = 10;
const MAX_QUERY: usize = 200;

pub(super) struct Report {
    pub(super) key: Key,
    pub(super) name: Option<String>,
    pub(super) database: String,
    pub(super) holders: Vec<Holder>,
    pub(super) waiters: Vec<Waiter>,
    /// The lock of the same key in other databases.
    pub(super) elsewhere: Vec<LockStatus>,
}

pub(super) struct Holder {
    lock: LockStatus,
    /// Which of several permits it is.
    slot: Option<u32>,
    /// `None` if it was not examined.
    cause: Option<Cause>,
}

pub(super) struct Waiter {
    lock: LockStatus,
    /// Of a lock with several permits, 0 is the queue for one.
    slot: Option<u32>,
}

impl Waiter {
    pub(super) fn new(lock: &LockStatus, slot: Option<u32>) -> Self {
        let lock = lock.clone();
        Self { lock, slot }
    }

    fn add_to(&self, text: &mut String) {
        let Self { lock, .. } = self;
        let place = if lock.granted {
            // It has the queue's lock, and looks for a free slot.
            "the first in the queue".to_owned()
        } else {
            let waited = lock.waiting_for.map(age).unwrap_or_default();
            format!("{waited}, behind {}", pids(&lock.blocked_by))
        };
        let who = printable(&who_is(lock).unwrap_or_default());
        let _ = writeln!(text, "  pid {}, {place}: {who}", lock.pid);
    }
}

impl Holder {
    pub(super) fn new(lock: &LockStatus, slot: Option<u32>, cause: Option<Cause>) -> Self {
        let lock = lock.clone();
        Self { lock, slot, cause }
    }

    fn add_to(&self, cause: &Cause, text: &mut String) {
        let Self { lock, slot, .. } = self;
        let bold = Style::new().bold();
        let who = match lock.pid {
            0 => "a prepared transaction".to_owned(),
            pid => format!("pid {pid}"),
        };
        let held = lock.transaction_age.map(age);
        let held = held.map_or(String::new(), |age| format!(", for at most {age}"));
        let mode = match lock.mode {
            Mode::Shared => ", shared",
            Mode::Exclusive => "",
        };
        let slot = slot.map_or(String::new(), |slot| format!("slot {slot} "));
        let _ = writeln!(text, "\n{bold}{slot}held by {who}{bold:#}{mode}{held}");
        let mut line = |head: &str, content: Option<String>| {
            if let Some(content) = content {
                let _ = writeln!(text, "  {head:<9}{}", on_one_line(&content));
            }
        };
        line("who", who_is(lock));
        line("state", state(lock));
        line("query", query(lock).map(str::to_owned));
        line("why", Some(cause.text()));
        line("to end", Some(cause.remedy(lock.pid)));
    }
}

impl Report {
    pub(super) fn is_free(&self) -> bool {
        self.holders.is_empty() && self.waiters.is_empty()
    }

    pub(super) fn text(&self, hint: Option<String>) -> String {
        let mut text = self.title();
        if self.holders.is_empty() {
            text.push_str("nobody holds it\n");
        }
        let mut more_holders = 0;
        for holder in &self.holders {
            match &holder.cause {
                Some(cause) => holder.add_to(cause, &mut text),
                None => more_holders += 1,
            }
        }
        if more_holders > 0 {
            let _ = writeln!(text, "\nand {more_holders} more holders");
        }
        self.add_waiters(&mut text);
        self.add_elsewhere(&mut text);
        if let Some(hint) = hint {
            let _ = writeln!(text, "{hint}");
        }
        text
    }

    fn title(&self) -> String {
        let (key, database) = (self.key, printable(&self.database));
        let name = self.name.as_deref().map(on_one_line);
        let name = name.map_or(String::new(), |name| format!("`{name}`, "));
        format!("advisory lock {name}key {key}, in database `{database}`\n")
    }

    fn add_waiters(&self, text: &mut String) {
        let bold = Style::new().bold();
        let Some(first) = self.waiters.first() else {
            if !self.holders.is_empty() {
                text.push_str("\nnobody waits for it\n");
            }
            return;
        };
        let count = self.waiters.len();
        let _ = writeln!(text, "\n{bold}waited for by {count}{bold:#}");
        for waiter in self.waiters.iter().take(MAX_WAITERS) {
            waiter.add_to(text);
        }
        if count > MAX_WAITERS {
            let _ = writeln!(text, "  and {} more", count - MAX_WAITERS);
        }
        let pid = first.lock.pid;
        let _ = writeln!(
            text,
            "  {:<9}`advisory cancel {pid}` ends the first wait",
            "to end"
        );
    }

    fn add_elsewhere(&self, text: &mut String) {
        let Some(lock) = self.elsewhere.first() else {
            return;
        };
        if self.is_free() {
            let (database, pid) = (printable(&lock.database), lock.pid);
            let verb = if lock.granted { "holds" } else { "waits for" };
            let _ = writeln!(
                text,
                "pid {pid} {verb} the lock of this key in database `{database}`, which is another \
                 lock; give that database with `--database-url`"
            );
        }
    }
}

/// `billing, role app, from 10.0.0.7, connected 5 min ago`
fn who_is(lock: &LockStatus) -> Option<String> {
    let role = lock.user.as_ref().map(|user| format!("role {user}"));
    let client = lock.client_addr.as_ref().map(|client| match &**client {
        "local" => "local".to_owned(),
        address => format!("from {address}"),
    });
    let connected = lock
        .session_age
        .map(|since| format!("connected {} ago", age(since)));
    let parts: Vec<_> = [application(lock), role, client, connected]
        .into_iter()
        .flatten()
        .collect();
    Some(parts.join(", ")).filter(|who| !who.is_empty())
}

/// Without line breaks and control characters, which could move the cursor.
fn on_one_line(text: &str) -> String {
    let words: Vec<_> = text.split_whitespace().collect();
    let text = printable(&words.join(" "));
    match text.char_indices().nth(MAX_QUERY) {
        None => text,
        Some((end, _)) => format!("{}…", &text[..end]),
    }
}

/// Fields are added, and never renamed or removed.
impl Serialize for Report {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("key", &self.key.to_string())?;
        map.serialize_entry("name", &self.name)?;
        map.serialize_entry("database", &self.database)?;
        map.serialize_entry("holders", &self.holders)?;
        let waiters = self.waiters.iter();
        let waiters: Vec<_> = waiters
            .map(|waiter| Session(&waiter.lock, waiter.slot))
            .collect();
        map.serialize_entry("waiters", &waiters)?;
        map.end()
    }
}

impl Serialize for Holder {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("session", &Session(&self.lock, self.slot))?;
        let cause = self.cause.as_ref();
        map.serialize_entry("cause", &cause.map(Cause::code))?;
        map.serialize_entry("why", &cause.map(Cause::text))?;
        map.serialize_entry("to_end", &cause.map(|cause| cause.remedy(self.lock.pid)))?;
        map.end()
    }
}

struct Session<'r>(&'r LockStatus, Option<u32>);

impl Serialize for Session<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self(lock, slot) = self;
        let seconds = |duration: Option<Duration>| duration.map(|duration| duration.as_secs_f64());
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("pid", &lock.pid)?;
        map.serialize_entry("mode", &lock.mode.to_string())?;
        map.serialize_entry("blocked_by", &lock.blocked_by)?;
        map.serialize_entry("waiting_seconds", &seconds(lock.waiting_for))?;
        map.serialize_entry("transaction_age_seconds", &seconds(lock.transaction_age))?;
        map.serialize_entry("state", &lock.state)?;
        map.serialize_entry("state_age_seconds", &seconds(lock.state_age))?;
        map.serialize_entry("application_name", &lock.application_name)?;
        map.serialize_entry("user", &lock.user)?;
        map.serialize_entry("client_addr", &lock.client_addr)?;
        map.serialize_entry("query", &lock.query)?;
        map.serialize_entry("gid", &lock.gid)?;
        map.serialize_entry("slot", slot)?;
        map.end()
    }
}
