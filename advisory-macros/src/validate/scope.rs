//! The rules for options that depend on the scope and the target. An option without effect is refused.

use proc_macro2::Span;
use syn::{Error, Result};

use crate::args::{Arg, Args, Scope};
use crate::errors::Errors;
use crate::function::Function;
use crate::model::Target;
use crate::unbound_tx::unbound_tx;

pub(super) fn check_scope(args: &Args, function: &Function, target: &Target) -> Result<()> {
    let mut errors = Errors::default();
    match &args.scope {
        Some(scope) if scope.value == Scope::Session => {
            errors.handle(check_session(args, scope.name, target));
        }
        _ => {
            errors.handle(check_isolation(args, target));
            errors.handle(check_cancel_via(args, target));
            errors.handle(check_unbound_tx(args, function, target));
        }
    }
    errors.finish(Some(()))
}

fn check_session(args: &Args, scope: Span, target: &Target) -> Result<()> {
    let mut errors = Errors::default();
    if matches!(target, Target::Transaction(_) | Target::Connection(_)) {
        let fix = "a session lock needs a session of its own; pass a pool, or remove \
                   `scope = session`";
        errors.handle::<()>(Err(Error::new(scope, fix)));
    }
    errors.handle(refuse(
        args.tx.as_ref(),
        "a session lock opens no transaction; remove `tx`",
    ));
    errors.handle(refuse(
        args.isolation.as_ref(),
        "a session lock opens no transaction; remove `isolation`",
    ));
    errors.handle(refuse(
        args.cancel_via.as_ref(),
        "a dropped wait for a session lock leaves the queue by itself; remove `cancel_via`",
    ));
    errors.finish(Some(()))
}

fn check_isolation(args: &Args, target: &Target) -> Result<()> {
    match target {
        Target::Transaction(_) => refuse(
            args.isolation.as_ref(),
            "the transaction has already begun; remove `isolation`, or pass a pool",
        ),
        Target::Connection(_) => refuse(
            args.isolation.as_ref(),
            "only a transaction on a pool is opened with an isolation level; remove `isolation`, or \
             pass a pool",
        ),
        Target::Pool { .. } | Target::Expr { .. } => Ok(()),
    }
}

fn check_cancel_via(args: &Args, target: &Target) -> Result<()> {
    match target {
        Target::Pool { .. } => refuse(
            args.cancel_via.as_ref(),
            "a dropped wait on a pool leaves the queue by itself; remove `cancel_via`",
        ),
        Target::Transaction(_) | Target::Connection(_) | Target::Expr { .. } => Ok(()),
    }
}

fn check_unbound_tx(args: &Args, function: &Function, target: &Target) -> Result<()> {
    let (Target::Pool { tx: None, .. } | Target::Expr { tx: None, .. }) = target else {
        return Ok(());
    };
    match unbound_tx(function) {
        Some(tx) if args.is_complete => {
            let fix = "`tx` is not bound; add `tx` to the arguments of `#[advisory]` to use the \
                       transaction that holds the lock";
            Err(Error::new(tx.span(), fix))
        }
        _ => Ok(()),
    }
}

fn refuse<V>(option: Option<&Arg<V>>, fix: &str) -> Result<()> {
    match option {
        Some(arg) => Err(Error::new(arg.name, fix)),
        None => Ok(()),
    }
}
