//! The benchmark cases.

mod attribute;
mod build;
mod growth;
mod handover;
mod keys;
mod leader;
mod lock_session;
mod monitor;
mod network;
mod peers;
mod permits;
mod scheme;
mod session;
mod small_pool;
mod storm;
mod throughput;
mod transaction;

use std::fmt;
use std::sync::Arc;

use futures_util::future::BoxFuture;

use crate::Bench;
use crate::report::Report;

pub(crate) use self::lock_session::wait_in_this_process;

/// A case: a group of rows of the report.
pub(crate) struct Case {
    pub(crate) name: &'static str,
    pub(crate) about: &'static str,
    pub(crate) run: fn(Arc<Bench>) -> BoxFuture<'static, Report>,
}

macro_rules! cases {
    ($($name:ident: $about:literal,)+) => {
        pub(crate) const ALL: &[Case] = &[$(Case {
            name: stringify!($name),
            about: $about,
            run: |bench| Box::pin(async move { $name::run(&bench).await }),
        }),+];
    };
}

cases! {
    transaction: "A lock in a transaction, uncontended, over a unix socket",
    network: "The same, over a network with 1 ms each way",
    session: "A session lock, uncontended",
    lock_session: "Many locks on one session",
    peers: "Other lock packages of Rust and Python, uncontended",
    keys: "Several keys at once",
    small_pool: "Many calls that want one key, on a pool with few connections",
    handover: "From a release to the next holder's start",
    leader: "From the end of a leader to the term of the next one",
    permits: "Several permits for one lock, against the plain lock",
    storm: "Refused calls: 64 tasks try to take one held lock",
    throughput: "Distinct keys over 1 to 32 connections",
    attribute: "The overhead of the attribute, without a server",
    scheme: "Computing the key of a name",
    monitor: "Listing the locks that are held",
    growth: "How the cost grows",
    build: "The time added to a build",
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:<12} {}", self.name, self.about)
    }
}

/// The named cases in the order of [`ALL`], or all cases.
pub(crate) fn chosen(only: &[String]) -> Vec<&'static Case> {
    let is_wanted = |case: &&Case| only.is_empty() || only.iter().any(|name| name == case.name);
    ALL.iter().filter(is_wanted).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_cases_are_chosen_unless_some_are_named() {
        assert_eq!(chosen(&[]).len(), ALL.len());
        let some = chosen(&["storm", "keys"].map(str::to_owned));
        assert_eq!(
            some.iter().map(|case| case.name).collect::<Vec<_>>(),
            ["keys", "storm"]
        );
    }
}
