//! The rules for the target, on which the lock is taken.

use syn::{Error, Expr, Ident, Result, Signature, UnOp, parse_quote};

use super::ungroup;
use crate::args::{Arg, Args};
use crate::errors::Errors;
use crate::model::Target;
use crate::parameter::{Kind, Ownership, Parameter, candidates, is_parameter};

/// Returns the target, or `None` if an option that may name it was not parsed.
pub(super) fn target(args: &Args, sig: &Signature) -> Result<Option<Target>> {
    let mut parameters = Parameter::all(sig);
    let name = args.on.as_ref().and_then(|on| variable(&on.value));
    let named = |parameter: &Parameter| name == Some(&parameter.name);
    let parameter = match (&args.on, parameters.iter().position(named)) {
        (_, Some(index)) => parameters.swap_remove(index),
        (Some(on), None) => {
            return Ok(Some(Target::Expr {
                expr: ungroup(&on.value).clone(),
                parameter: None,
                tx: tx(args, sig)?,
            }));
        }
        (None, None) if parameters.len() != 1 && !args.is_complete => return Ok(None),
        (None, None) => only_parameter(parameters, sig)?,
    };
    parameter_target(parameter, args, sig).map(Some)
}

fn only_parameter(parameters: Vec<Parameter>, sig: &Signature) -> Result<Parameter> {
    let mut parameters = parameters.into_iter();
    match (parameters.next(), parameters.next()) {
        (Some(only), None) => Ok(only),
        (Some(first), Some(second)) => {
            let fix = format!(
                "both `{}` and `{}` can be locked on; name one of them, as in `on = {0}`",
                first.name, second.name,
            );
            Err(Error::new_spanned(second.ty, fix))
        }
        (None, _) => Err(missing_target(sig)),
    }
}

fn missing_target(sig: &Signature) -> Error {
    const RULE: &str = "no parameter has the type of a PostgreSQL transaction, connection or pool";
    if let [(name, ty)] = *candidates(sig) {
        let fix = format!("{RULE}; if `{name}` is one, write `on = {name}`");
        return Error::new_spanned(ty, fix);
    }
    let on = sig.receiver().map_or("on = …", |_| "on = self.pool");
    let fix = format!("{RULE}; add one, or name what to lock on with `{on}`");
    Error::new(sig.paren_token.span.join(), fix)
}

/// Returns the name in `name`, `&name` and `&mut *name`.
fn variable(on: &Expr) -> Option<&Ident> {
    match ungroup(on) {
        Expr::Path(path) => path.path.get_ident(),
        Expr::Reference(reference) => variable(&reference.expr),
        Expr::Unary(unary) if matches!(unary.op, UnOp::Deref(_)) => variable(&unary.expr),
        _ => None,
    }
}

fn parameter_target(parameter: Parameter, args: &Args, sig: &Signature) -> Result<Target> {
    let mut errors = Errors::default();
    errors.handle(check_ownership(&parameter));
    let tx = match (parameter.kind, &args.tx) {
        (Kind::Transaction | Kind::SeaOrmTransaction | Kind::Connection, Some(tx)) => {
            errors.handle(Err(tx_without_pool(tx, &parameter)))
        }
        _ => errors.handle(tx(args, sig)),
    };
    let target = tx.map(|tx| match parameter.kind {
        Kind::Transaction | Kind::SeaOrmTransaction => Target::Transaction(parameter),
        Kind::Connection => Target::Connection(parameter),
        Kind::Pool | Kind::LockSession => {
            let name = &parameter.name;
            let (expr, parameter) = (parse_quote!(#name), Some(parameter));
            Target::Expr {
                expr,
                parameter,
                tx,
            }
        }
    });
    errors.finish(target)
}

fn check_ownership(parameter: &Parameter) -> Result<()> {
    let needed = match parameter.kind {
        Kind::Pool | Kind::LockSession | Kind::SeaOrmTransaction => return Ok(()),
        Kind::Transaction if parameter.ownership == Ownership::Owned => return Ok(()),
        Kind::Transaction => "a lock in a transaction needs the transaction by `&mut`",
        Kind::Connection => {
            "a lock on a connection needs the connection by `&mut`, and leaves it to the caller"
        }
    };
    let fix = match parameter.ownership {
        Ownership::Mutable => return Ok(()),
        Ownership::Shared => "write `&mut` instead of `&`",
        Ownership::Owned => "write `&mut` before the type",
    };
    let message = format!("{needed}; {fix}");
    Err(Error::new_spanned(&parameter.ty, message))
}

fn tx_without_pool(tx: &Arg<Ident>, parameter: &Parameter) -> Error {
    let name = &parameter.name;
    let fix = match parameter.kind {
        Kind::Transaction | Kind::SeaOrmTransaction => {
            format!("the lock joins the transaction `{name}` and opens no other; remove `tx`")
        }
        _ => format!(
            "the body uses the transaction opened on `{name}` through `{name}`; remove `tx`"
        ),
    };
    Error::new(tx.name, fix)
}

fn tx(args: &Args, sig: &Signature) -> Result<Option<Ident>> {
    let Some(Arg { value: tx, .. }) = &args.tx else {
        return Ok(None);
    };
    if is_parameter(&tx.to_string(), sig) {
        let fix = format!(
            "`{tx}` is already a parameter; give the transaction another name, as in `tx = locked`"
        );
        return Err(Error::new(tx.span(), fix));
    }
    Ok(Some(tx.clone()))
}
