//! The lock that a command is about: a name, or a key.

use std::collections::BTreeSet;

use advisory_core::known::Known;
use advisory_core::monitor::LockStatus;
use advisory_core::scheme::System;
use advisory_core::{AdvisoryLock, Key, known};
use clap::Args;
use sqlx::postgres::PgPool;

use crate::exit::Failure;
use crate::logged_key::LoggedKey;
use crate::names::{Names, NamesOption, Part};
use crate::scheme_name::{default_scheme, hash, parse_scheme};
use crate::sql;

/// A lock, by its name or by its key.
#[derive(Args, Clone)]
pub(crate) struct Target {
    /// The name of the lock. The scheme makes its key, unless the names file gives a key that name
    /// (`42 = nightly`), or a known tool has it (`Prisma Migrate`).
    #[arg(allow_negative_numbers = true)]
    pub(crate) name: String,
    #[command(flatten)]
    pub(crate) reading: Reading,
}

/// How a name is read.
#[derive(Args, Clone)]
pub(crate) struct Reading {
    /// The scheme that makes the key from the name: that of the library or of another system, by
    /// its own name or by the system's, such as `DjangoPglock` or `django-pglock`;
    /// `advisory key NAME` lists all. If not given, `Sha1`, as in the library.
    #[arg(long, value_name = "SCHEME", value_parser = parse_scheme, conflicts_with = "key")]
    key_scheme: Option<&'static System>,
    /// The name is the key itself: `42`, `-42`, `0x1f` or `1,7`, or as the server's log has it,
    /// `[5,0,72707369,1]`.
    #[arg(long, short)]
    pub(crate) key: bool,
    #[command(flatten)]
    names: NamesOption,
}

/// What a name is, as far as that is known without the server.
enum Meaning {
    Key(LoggedKey),
    /// A name for a key that no scheme makes from it.
    NamedKey(Key),
    Tool(&'static Known),
    Hashed(&'static System),
}

/// A lock by its name or key, before the server is asked.
pub(crate) struct Wanted {
    name: String,
    meaning: Meaning,
    names: Names,
    /// Whether the name can be any that `ls` shows.
    is_any_name: bool,
}

impl Target {
    pub(crate) fn read(&self) -> Result<Wanted, Failure> {
        self.reading.read(&self.name)
    }
}

impl Reading {
    /// Reads a name. Fails if it can name no lock.
    pub(crate) fn read(&self, name: &str) -> Result<Wanted, Failure> {
        let names = Names::read(&self.names)?;
        Ok(Wanted {
            name: name.to_owned(),
            meaning: self.meaning(name, &names)?,
            names,
            is_any_name: !self.key && self.key_scheme.is_none(),
        })
    }

    fn meaning(&self, name: &str, names: &Names) -> Result<Meaning, Failure> {
        if self.key {
            return name.parse().map(Meaning::Key).map_err(Failure::usage);
        }
        if let Some(system) = self.key_scheme {
            hash(system, name)?;
            return Ok(Meaning::Hashed(system));
        }
        Ok(match (names.named_key(name), tool(name)) {
            (Some(key), _) => Meaning::NamedKey(key),
            (None, Some(tool)) => Meaning::Tool(tool),
            (None, None) => Meaning::Hashed(default_scheme()),
        })
    }
}

impl Wanted {
    /// The lock to acquire in the database of this pool.
    pub(crate) async fn lock(&self, pool: &PgPool) -> Result<AdvisoryLock, Failure> {
        let named = |key: Key| AdvisoryLock::with_scheme(&*self.name, move |_: &str| key);
        Ok(match &self.meaning {
            Meaning::Key(logged) => {
                if let Some(oid) = logged.database {
                    check_database(pool, oid).await?;
                }
                AdvisoryLock::new(logged.key)
            }
            Meaning::NamedKey(key) => named(*key),
            Meaning::Tool(tool) => named(tool_key(tool, pool).await?),
            Meaning::Hashed(system) => AdvisoryLock::with_scheme(&*self.name, *system),
        })
    }

    /// The lock that the name means among these locks of the pool's database: the one that `ls`
    /// shows under this name, or else the one to acquire.
    pub(crate) async fn lock_among(
        &mut self,
        locks: &[LockStatus],
        pool: &PgPool,
    ) -> Result<AdvisoryLock, Failure> {
        let lock = self.lock(pool).await?;
        if !self.is_any_name {
            return Ok(lock);
        }
        let shown = self.names.of_locks(locks);
        let is_shown = |name: &Option<_>| name.as_ref().is_some_and(|name| self.is_named(name));
        let rows = locks.iter().zip(&shown);
        let keys = rows.filter(|(row, name)| is_shown(name) || lock.keys().contains(&row.key));
        let keys: BTreeSet<_> = keys.map(|(row, _)| row.key).collect();
        let mut keys = keys.into_iter();
        match (keys.next(), keys.next()) {
            (None, _) => Ok(self.part().unwrap_or(lock)),
            (Some(key), None) if lock.keys() == [key] => Ok(lock),
            (Some(key), None) => Ok(AdvisoryLock::with_scheme(&*self.name, move |_: &str| key)),
            (Some(first), Some(second)) => {
                let name = &self.name;
                Err(Failure::usage(format!(
                    "`{name}` names several locks, {first} and {second}; \
                     choose one with `--key` or `--key-scheme`"
                )))
            }
        }
    }

    /// A slot of a lock with several permits, or the queue for one, by the name that `ls` shows.
    fn part(&self) -> Option<AdvisoryLock> {
        let (of, number) = Part::parse(&self.name)?;
        let key = self.names.named_key(of).unwrap_or_else(|| Key::from(of));
        let part = move |_: &str| key.slot(number);
        Some(AdvisoryLock::with_scheme(&*self.name, part))
    }

    fn is_named(&self, shown: &crate::names::Name) -> bool {
        shown.text == self.name
    }

    /// What the user may have meant, if the name looks like a key.
    pub(crate) fn hint(&self) -> Option<String> {
        let name = &self.name;
        let is_key = name.parse::<LoggedKey>().is_ok();
        (self.is_any_name && is_key)
            .then(|| format!("`{name}` is a name here; `--key` makes it the key {name}"))
    }
}

/// The known tool of this name.
pub(crate) fn tool(name: &str) -> Option<&'static Known> {
    known::all().iter().find(|tool| tool.label == name)
}

async fn tool_key(tool: &Known, pool: &PgPool) -> Result<Key, Failure> {
    if let Some(key) = tool.key(None) {
        return Ok(key);
    }
    let (_, database) = sql::current_database(&mut *pool.acquire().await?).await?;
    let key = tool.key(Some(&database));
    key.ok_or_else(|| Failure::other(format!("{} has no key in `{database}`", tool.label)))
}

/// Fails if the pool is connected to another database than the one with this oid.
async fn check_database(pool: &PgPool, oid: u32) -> Result<(), Failure> {
    let mut conn = pool.acquire().await?;
    let (current, name) = sql::current_database(&mut conn).await?;
    if current == i64::from(oid) {
        return Ok(());
    }
    let other = match sql::database_name(&mut conn, oid).await? {
        Some(other) => format!("database `{other}`, whose oid is {oid}"),
        None => format!("a database of oid {oid}, which this server does not have"),
    };
    Err(Failure::usage(format!(
        "the key is one of {other}, and the connection is to `{name}`; give `--database-url`"
    )))
}

/// Parses a key in any form: `-42`, `0x1f`, `(1, 7)`, `[5,0,42,1]`.
pub(crate) fn parse_key(text: &str) -> Result<Key, String> {
    text.parse().map(|logged: LoggedKey| logged.key)
}
