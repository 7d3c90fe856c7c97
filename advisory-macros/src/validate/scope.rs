//! Which options go with the scope and with the place: one that would do nothing is refused.

use proc_macro2::Span;
use syn::{Error, Result};

use crate::args::{Args, Given, Scope};
use crate::mistake::Mistakes;
use crate::model::Target;

pub(super) fn fits(args: &Args, target: &Target) -> Result<()> {
    let mut mistakes = Mistakes::default();
    match &args.scope {
        Some(scope) if scope.value == Scope::Session => {
            mistakes.check(session(args, scope.name, target));
        }
        _ => {
            mistakes.check(isolation(args, target));
            mistakes.check(cancel_via(args, target));
        }
    }
    mistakes.none_in(Some(()))
}

fn session(args: &Args, scope: Span, target: &Target) -> Result<()> {
    let mut mistakes = Mistakes::default();
    if matches!(target, Target::Transaction(_) | Target::Connection(_)) {
        let fix =
            "a session lock has a session of its own; give a pool, or remove `scope = session`";
        mistakes.check::<()>(Err(Error::new(scope, fix)));
    }
    mistakes.check(unused(
        args.tx.as_ref(),
        "a session lock opens no transaction; remove `tx`",
    ));
    mistakes.check(unused(
        args.isolation.as_ref(),
        "a session lock opens no transaction; remove `isolation`",
    ));
    mistakes.check(unused(
        args.cancel_via.as_ref(),
        "a wait for a session lock ends when it is dropped; remove `cancel_via`",
    ));
    mistakes.none_in(Some(()))
}

fn isolation(args: &Args, target: &Target) -> Result<()> {
    match target {
        Target::Transaction(_) => unused(
            args.isolation.as_ref(),
            "the transaction has begun already; remove `isolation`, or give a pool",
        ),
        Target::Connection(_) => unused(
            args.isolation.as_ref(),
            "only a transaction on a pool is opened with an isolation level; remove `isolation`, or give a pool",
        ),
        Target::Pool { .. } | Target::Place { .. } => Ok(()),
    }
}

fn cancel_via(args: &Args, target: &Target) -> Result<()> {
    match target {
        Target::Pool { .. } => unused(
            args.cancel_via.as_ref(),
            "a wait on a pool ends when it is dropped; remove `cancel_via`",
        ),
        Target::Transaction(_) | Target::Connection(_) | Target::Place { .. } => Ok(()),
    }
}

fn unused<V>(option: Option<&Given<V>>, fix: &str) -> Result<()> {
    match option {
        Some(given) => Err(Error::new(given.name, fix)),
        None => Ok(()),
    }
}
