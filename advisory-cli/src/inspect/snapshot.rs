//! The locks of a server at one moment, with their names.

use std::collections::{BTreeSet, HashMap, HashSet};

use advisory_core::monitor::{self, LockStatus};
use advisory_core::{Key, Mode};
use clap::Args;
use sqlx::postgres::PgPool;

use crate::exit::Failure;
use crate::lock_status::LockId;
use crate::names::{Name, Names, NamesOption};
use crate::output::printable;

/// Which locks a snapshot has.
#[derive(Args, Clone)]
pub(super) struct Scope {
    /// Show only the lock of this name, under every scheme; if it has several permits, with all its
    /// slots and the queue for them. Accepts every name that the list shows.
    #[arg(value_name = "NAME")]
    pub(super) name: Option<String>,
    /// Show the locks of every database of the server.
    #[arg(long, short)]
    pub(super) all_databases: bool,
    #[command(flatten)]
    pub(super) names: NamesOption,
}

impl Scope {
    pub(super) fn read_names(&self) -> Result<Names, Failure> {
        let names = Names::read(&self.names)?;
        Ok(match &self.name {
            Some(name) => names.with(name),
            None => names,
        })
    }

    fn has(&self, row: &NamedLock) -> bool {
        self.name.as_deref().is_none_or(|name| {
            let shown = row.name.as_ref();
            shown.is_some_and(|shown| shown.is_of(name))
        })
    }

    /// `an advisory lock`, or the one of this name.
    pub(super) fn subject(&self) -> String {
        match &self.name {
            Some(name) => format!("advisory lock `{}`", printable(name)),
            None => "an advisory lock".to_owned(),
        }
    }
}

pub(super) struct NamedLock {
    pub(super) lock: LockStatus,
    pub(super) name: Option<Name>,
    /// Whether any session waits for this lock.
    pub(super) is_awaited: bool,
    /// Of a lock with several permits, the slot; 0 is the queue for one.
    pub(super) slot: Option<u32>,
}

impl NamedLock {
    /// The lock of which it is a part: one with several permits has several keys.
    pub(super) fn whole(&self) -> LockId<'_> {
        let part = self.name.as_ref().and_then(|name| name.part.as_ref());
        (
            &self.lock.database,
            part.map_or(self.lock.key, |part| part.key),
        )
    }

    /// The name of the whole lock.
    pub(super) fn whole_name(&self) -> Option<&str> {
        let name = self.name.as_ref()?;
        Some(name.part.as_ref().map_or(&*name.text, |part| &*part.of))
    }

    /// Whether the session waits. The first in the queue for a permit has the queue's lock, and
    /// looks for a free slot.
    pub(super) fn waits(&self) -> bool {
        !self.lock.granted || self.is_first_in_queue()
    }

    pub(super) fn is_first_in_queue(&self) -> bool {
        // Calls that do not wait look through the queue in shared mode.
        self.lock.granted && self.slot == Some(0) && self.lock.mode == Mode::Exclusive
    }
}

pub(super) async fn take(
    pool: &PgPool,
    scope: &Scope,
    names: &mut Names,
) -> Result<Vec<NamedLock>, Failure> {
    let locks = if scope.all_databases {
        monitor::locks_of_all_databases(pool).await?
    } else {
        monitor::locks(pool).await?
    };
    Ok(named(locks, scope, names))
}

/// The locks of all databases, if the scope is one database that has none.
pub(super) async fn elsewhere(
    pool: &PgPool,
    scope: &Scope,
    names: &mut Names,
) -> Result<Vec<NamedLock>, Failure> {
    if scope.all_databases {
        return Ok(Vec::new());
    }
    let locks = monitor::locks_of_all_databases(pool).await?;
    Ok(named(locks, scope, names))
}

fn named(locks: Vec<LockStatus>, scope: &Scope, names: &mut Names) -> Vec<NamedLock> {
    let names = names.of_locks(&locks);
    let rows = locks.into_iter().zip(names).map(|(lock, name)| NamedLock {
        slot: name
            .as_ref()
            .and_then(|name| Some(name.part.as_ref()?.number)),
        lock,
        name,
        is_awaited: false,
    });
    let mut rows: Vec<_> = rows.filter(|row| scope.has(row)).collect();
    join_parts(&mut rows);
    let awaited = rows.iter().filter(|row| row.waits());
    let awaited: HashSet<_> = awaited.map(|row| owned(row.whole())).collect();
    for row in &mut rows {
        row.is_awaited = awaited.contains(&owned(row.whole()));
    }
    rows
}

/// Puts the parts of a lock with several permits together, the holders before the queue. The first
/// in the queue is blocked by the holders.
fn join_parts(rows: &mut [NamedLock]) {
    let parts = rows.iter().filter(|row| row.slot.is_some());
    let with_parts: HashSet<_> = parts.map(|row| owned(row.whole())).collect();
    let mut first = HashMap::new();
    let mut holders: HashMap<_, BTreeSet<_>> = HashMap::new();
    for (index, row) in rows.iter_mut().enumerate() {
        let whole = owned(row.whole());
        if with_parts.contains(&whole) {
            // Slot 1 has the key of the lock itself.
            row.slot.get_or_insert(1);
        }
        if row.lock.granted && row.slot.is_some_and(|slot| slot > 0) {
            holders
                .entry(whole.clone())
                .or_default()
                .insert(row.lock.pid);
        }
        first.entry(whole).or_insert(index);
    }
    for row in rows.iter_mut().filter(|row| row.is_first_in_queue()) {
        let holders = holders.get(&owned(row.whole())).into_iter().flatten();
        row.lock.blocked_by = holders.copied().collect();
    }
    rows.sort_by_key(|row| {
        let place = first.get(&owned(row.whole())).copied();
        let order = row.slot.map(|slot| (row.waits(), !row.lock.granted, slot));
        (place, order)
    });
}

fn owned((database, key): LockId<'_>) -> (String, Key) {
    (database.to_owned(), key)
}
