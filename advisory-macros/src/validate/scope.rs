//! The rules for options that depend on the scope and the target.
//!
//! An option that would have no effect is refused.

use syn::{Error, Result};

use crate::args::{Args, Scope};
use crate::errors::Errors;
use crate::function::Function;
use crate::model::Target;
use crate::parameter::Kind;
use crate::unbound_tx::unbound_tx;

pub(super) fn check_scope(args: &Args, function: &Function, target: &Target) -> Result<()> {
    let mut errors = Errors::default();
    let session = args
        .scope
        .as_ref()
        .filter(|scope| scope.value == Scope::Session);
    let is_joined = matches!(target, Target::Transaction(_) | Target::Connection(_));
    let tx = args.tx.as_ref().map(|arg| arg.name);
    let isolation = args.isolation.as_ref().map(|arg| arg.name);
    let cancel_via = args.cancel_via.as_ref().map(|arg| arg.name);
    let refused: &[_] = match target {
        _ if session.is_some() => &[
            (
                session.filter(|_| is_joined).map(|arg| arg.name),
                "a session lock needs a session of its own; pass a pool or a `LockSession`, or \
                 remove `scope = session`",
            ),
            (tx, "a session lock opens no transaction; remove `tx`"),
            (
                isolation,
                "a session lock opens no transaction; remove `isolation`",
            ),
            (
                cancel_via,
                "a dropped wait for a session lock leaves the queue by itself; remove `cancel_via`",
            ),
        ],
        Target::Transaction(_) => &[(
            isolation,
            "the transaction has already begun; remove `isolation`, or pass a pool",
        )],
        Target::Connection(_) => &[(
            isolation,
            "only a transaction on a pool is opened with an isolation level; remove `isolation`, \
             or pass a pool",
        )],
        Target::Expr {
            parameter: Some(_), ..
        } => &[(
            cancel_via,
            "a dropped wait on a pool leaves the queue by itself; remove `cancel_via`",
        )],
        Target::Expr { .. } => &[],
    };
    if session.is_none()
        && args.is_complete
        && let Target::Expr {
            parameter: Some(parameter),
            ..
        } = target
        && parameter.kind == Kind::LockSession
    {
        let fix = "a `LockSession` holds session locks; add `scope = session`";
        errors.push(Error::new_spanned(&parameter.ty, fix));
    }
    if let Some(at_least) = &args.at_least
        && session.is_none()
        && args.is_complete
    {
        let fix = "a transaction lock ends with its transaction; add `scope = session`, or remove `at_least`";
        errors.push(Error::new(at_least.name, fix));
    }
    for (option, fix) in refused {
        if let Some(span) = option {
            errors.push(Error::new(*span, fix));
        }
    }
    if session.is_none() {
        errors.handle(check_unbound_tx(args, function, target));
    }
    errors.finish(Some(()))
}

fn check_unbound_tx(args: &Args, function: &Function, target: &Target) -> Result<()> {
    let Target::Expr { tx: None, .. } = target else {
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
