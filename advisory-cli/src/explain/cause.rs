//! Why a session does not release a lock.

use advisory_core::Key;
use advisory_core::monitor::LockStatus;

use crate::duration::age;
use crate::lock_status::UNTRACKED;
use crate::sql::Blocker;

/// Names that poolers give their sessions.
const POOLERS: [&str; 5] = ["pgbouncer", "pgcat", "odyssey", "supavisor", "pgpool"];

/// What a pooler runs between two clients.
const POOLER_STATEMENTS: [&str; 5] = ["discard all", "reset all", "abort", ";", "select 1"];

pub(super) enum Cause {
    Prepared {
        gid: String,
        database: String,
    },
    /// The session waits for another advisory lock.
    AnotherLock {
        key: Key,
        holders: Vec<i32>,
        /// The session at the end of the chain, which waits for nobody.
        root: Option<i32>,
    },
    /// The session waits for a lock on a row, a table or the like.
    OtherLock {
        what: String,
        blockers: Vec<Blocker>,
    },
    Running {
        for_how_long: String,
    },
    Transaction {
        has_failed: bool,
        for_how_long: String,
    },
    Idle {
        is_pooled: bool,
        for_how_long: String,
    },
    /// The session is the one on which the command itself looks.
    Leftover,
    /// The role may not see the state.
    Hidden,
    /// The session does not report its state.
    Untracked,
}

impl Cause {
    /// The cause, if the locks show it already.
    pub(super) fn of_locks(lock: &LockStatus, all: &[LockStatus]) -> Option<Self> {
        if let Some(gid) = &lock.gid {
            return Some(Self::Prepared {
                gid: gid.clone(),
                database: lock.database.clone(),
            });
        }
        let wait = wait_of(lock.pid, all)?;
        Some(Self::AnotherLock {
            key: wait.key,
            holders: wait.blocked_by.clone(),
            root: root(lock.pid, all),
        })
    }

    pub(super) fn waits_for_other_lock(lock: &LockStatus, blockers: Vec<Blocker>) -> Self {
        let event = lock.wait_event.as_deref().unwrap_or_default();
        let what = match event.trim_start_matches("Lock: ") {
            "transactionid" | "tuple" => "a row that another transaction has written".to_owned(),
            "relation" => "a table that another transaction has locked".to_owned(),
            other => format!("a lock of the server ({other})"),
        };
        Self::OtherLock { what, blockers }
    }

    pub(super) fn of_state(lock: &LockStatus, is_pooled: bool) -> Self {
        let for_how_long = lock.state_age.map_or_else(|| "some time".to_owned(), age);
        match lock.state.as_deref() {
            None => Self::Hidden,
            Some(UNTRACKED) => Self::Untracked,
            Some("idle") => Self::Idle {
                is_pooled,
                for_how_long,
            },
            Some(state) if state.starts_with("idle in transaction") => Self::Transaction {
                has_failed: state.ends_with("(aborted)"),
                for_how_long,
            },
            Some(_) => Self::Running { for_how_long },
        }
    }

    /// A word for programs.
    pub(super) fn code(&self) -> &'static str {
        match self {
            Self::Prepared { .. } => "prepared_transaction",
            Self::AnotherLock { .. } => "waits_for_advisory_lock",
            Self::OtherLock { .. } => "waits_for_lock",
            Self::Running { .. } => "running",
            Self::Transaction { .. } => "idle_in_transaction",
            Self::Idle {
                is_pooled: true, ..
            } => "idle_pooler",
            Self::Idle { .. } => "idle",
            Self::Leftover => "pooler_leftover",
            Self::Hidden => "hidden",
            Self::Untracked => "untracked",
        }
    }

    /// What the session does instead of releasing the lock.
    pub(super) fn text(&self) -> String {
        match self {
            Self::Prepared { gid, .. } => {
                format!(
                    "the prepared transaction `{gid}` has no session, and stays until it is ended"
                )
            }
            Self::AnotherLock { key, holders, root } => {
                let chain = match root {
                    Some(root) if !holders.contains(root) => {
                        format!("; at the end of this chain is pid {root}")
                    }
                    _ => String::new(),
                };
                format!(
                    "waits itself for advisory lock {key}, behind {}{chain}",
                    pids(holders)
                )
            }
            Self::OtherLock { what, blockers } => {
                let blockers: Vec<_> = blockers.iter().map(describe).collect();
                let blockers = if blockers.is_empty() {
                    "nobody now".to_owned()
                } else {
                    blockers.join(", ")
                };
                format!("waits itself for {what}: {blockers}")
            }
            Self::Running { for_how_long } => format!("has run a statement for {for_how_long}"),
            Self::Transaction {
                has_failed,
                for_how_long,
            } => {
                let failed = if *has_failed {
                    ", which has failed"
                } else {
                    ""
                };
                format!(
                    "has sent nothing in its transaction{failed}, for {for_how_long}: its program \
                     works on something else, or has forgotten the transaction"
                )
            }
            Self::Idle {
                is_pooled: false,
                for_how_long,
            } => format!(
                "has sent nothing for {for_how_long}, and is in no transaction: its program works \
                 on something else under this session lock, or has forgotten to release it"
            ),
            Self::Idle {
                is_pooled: true,
                for_how_long,
            } => format!(
                "has sent nothing for {for_how_long}, and is probably the backend of a pooler: the \
                 program that took this session lock can be gone, and the pooler keeps the session"
            ),
            Self::Leftover => {
                "is the backend of a pooler, which has lent it to this very command: \
                 the program that took this session lock is gone, or does not know that it has lost it"
                    .to_owned()
            }
            Self::Hidden => {
                "its state is hidden from this role; members of `pg_read_all_stats` see it"
                    .to_owned()
            }
            Self::Untracked => {
                "its state is not known, because its `track_activities` is off".to_owned()
            }
        }
    }

    /// What frees the lock.
    pub(super) fn remedy(&self, pid: i32) -> String {
        match self {
            Self::Prepared { gid, database } => {
                let gid = gid.replace('\'', "''");
                format!(
                    "`ROLLBACK PREPARED '{gid}'` or `COMMIT PREPARED '{gid}'` in database \
                     `{database}` frees the lock"
                )
            }
            Self::AnotherLock { key, .. } => {
                format!("`advisory explain --key '{key}'` explains that lock")
            }
            Self::OtherLock { blockers, .. } => match blockers.first() {
                Some(Blocker { pid, .. }) if *pid != 0 => format!(
                    "`SELECT pg_terminate_backend({pid})` ends the session that it waits for"
                ),
                _ => terminate(pid),
            },
            Self::Running { .. } => format!(
                "`advisory cancel {pid}` cancels the statement; if the lock stays, {}",
                terminate(pid)
            ),
            Self::Transaction { .. } => {
                format!("{}, and rolls its transaction back", terminate(pid))
            }
            Self::Leftover
            | Self::Idle {
                is_pooled: true, ..
            } => format!(
                "{}; `advisory doctor` says whether session locks work on this connection",
                terminate(pid)
            ),
            Self::Idle { .. } | Self::Hidden | Self::Untracked => terminate(pid),
        }
    }
}

fn terminate(pid: i32) -> String {
    format!("`advisory terminate {pid}` ends the session and frees the lock")
}

/// Whether the name or the last statement of a session is that of a pooler.
pub(super) fn looks_pooled(lock: &LockStatus) -> bool {
    let lower = |text: &Option<String>| text.as_deref().unwrap_or_default().trim().to_lowercase();
    let (application, query) = (lower(&lock.application_name), lower(&lock.query));
    POOLERS.iter().any(|pooler| application.contains(pooler))
        || POOLER_STATEMENTS.contains(&&*query)
}

/// The advisory lock that a session waits for.
fn wait_of(pid: i32, all: &[LockStatus]) -> Option<&LockStatus> {
    all.iter()
        .find(|lock| lock.pid == pid && !lock.granted && pid != 0)
}

/// The end of the chain of sessions that wait for each other; `None` if it is a cycle.
fn root(mut pid: i32, all: &[LockStatus]) -> Option<i32> {
    for _ in all {
        match wait_of(pid, all).map(|wait| wait.blocked_by.first()) {
            Some(Some(next)) => pid = *next,
            _ => return Some(pid),
        }
    }
    None
}

/// `pid 24884, 24885`
pub(super) fn pids(pids: &[i32]) -> String {
    let sessions = pids.iter().filter(|pid| **pid != 0);
    let sessions: Vec<_> = sessions.map(ToString::to_string).collect();
    let sessions = (!sessions.is_empty()).then(|| format!("pid {}", sessions.join(", ")));
    let prepared = pids
        .contains(&0)
        .then(|| "a prepared transaction".to_owned());
    let all: Vec<_> = sessions.into_iter().chain(prepared).collect();
    all.join(" and ")
}

fn describe(blocker: &Blocker) -> String {
    let about = [&blocker.application_name, &blocker.state];
    let about: Vec<_> = about
        .into_iter()
        .flatten()
        .filter(|text| !text.is_empty())
        .cloned()
        .collect();
    match about.len() {
        0 => pids(&[blocker.pid]),
        _ => format!("{} ({})", pids(&[blocker.pid]), about.join(", ")),
    }
}
