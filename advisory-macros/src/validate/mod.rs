//! The rules for the input, each with the message for input that breaks it.

mod lock;
mod period;
mod permits;
mod scheme;
mod scope;
mod target;
mod template;
#[cfg(test)]
mod tests;
mod timeout;

use syn::{Error, Expr, Lit, LitStr, Result, ReturnType, Signature, Type, UnOp};

use crate::args::{Arg, Args, Scope, SideEffect};
use crate::errors::Errors;
use crate::function::Function;
use crate::impl_trait::infer_impl_trait;
use crate::model::Model;
use crate::original::future_output;

pub(crate) fn validate(
    args: &Args,
    function: Option<Function>,
    mut errors: Errors,
) -> Result<Model> {
    let Some(function) = function else {
        return errors.finish(None);
    };
    let sig = &function.sig;
    errors.handle(check_async(sig));
    errors.handle(check_qualifiers(sig));
    let output = errors.handle(output(sig));
    let lock = errors.handle(lock::lock(args, sig));
    let target = errors.handle(target::target(args, sig)).flatten();
    if let Some(target) = &target {
        errors.handle(scope::check_scope(args, &function, target));
    }
    let model = output.zip(lock).zip(target);
    let model = model.map(|((output, lock), target)| Model {
        output,
        krate: args.krate.as_ref().map(|krate| krate.value.clone()),
        lock,
        map_err: args.map_err.as_ref().map(|map_err| map_err.value.clone()),
        side_effect: value_or(args.side_effect.as_ref(), SideEffect::Raise),
        scope: value_or(args.scope.as_ref(), Scope::Xact),
        target,
        function,
    });
    errors.finish(model)
}

fn value_or<V: Copy>(arg: Option<&Arg<V>>, default: V) -> V {
    arg.map_or(default, |arg| arg.value)
}

fn check_async(sig: &Signature) -> Result<()> {
    if sig.asyncness.is_some() {
        return Ok(());
    }
    if let Some(constness) = &sig.constness {
        let fix = "a `const fn` cannot wait for a lock; write `async fn`";
        return Err(Error::new(constness.span, fix));
    }
    let fix = if future_output(sig).is_some() {
        "the lock is held while the future runs, so the whole body has to be `Box::pin(async move \
         { … })`, as `#[async_trait]` writes it; move everything into the block"
    } else {
        "`#[advisory]` goes on an `async fn`; add `async`, or, if an attribute above has taken it \
         away, put `#[advisory]` above that one"
    };
    Err(Error::new(sig.fn_token.span, fix))
}

fn check_qualifiers(sig: &Signature) -> Result<()> {
    if let Some(unsafety) = &sig.unsafety {
        let fix = "an `unsafe fn` cannot be put under a lock; make it safe, with an `unsafe` block \
                   inside";
        return Err(Error::new(unsafety.span, fix));
    }
    if let Some(abi) = &sig.abi {
        let fix = "an `extern` function cannot be awaited; remove `extern`";
        return Err(Error::new(abi.extern_token.span, fix));
    }
    Ok(())
}

fn output(sig: &Signature) -> Result<Type> {
    match &sig.output {
        ReturnType::Type(_, output) if !is_unit(output) => Ok(infer_impl_trait(output)),
        _ => {
            let fix = "a function under a lock returns a `Result`, since locking can fail; add \
                       `-> Result<(), advisory_core::Error>`, or an error type that is `From` it";
            Err(Error::new(sig.ident.span(), fix))
        }
    }
}

fn is_unit(ty: &Type) -> bool {
    matches!(ty, Type::Tuple(tuple) if tuple.elems.is_empty())
}

fn text(expr: &Expr) -> Option<&LitStr> {
    match literal(expr) {
        Some((Lit::Str(text), false)) => Some(text),
        _ => None,
    }
}

/// Returns the literal in `2` and `-2`, and whether it has the sign.
fn literal(expr: &Expr) -> Option<(&Lit, bool)> {
    match ungroup(expr) {
        Expr::Lit(literal) => Some((&literal.lit, false)),
        Expr::Unary(unary) if matches!(unary.op, UnOp::Neg(_)) => match ungroup(&unary.expr) {
            Expr::Lit(literal) => Some((&literal.lit, true)),
            _ => None,
        },
        _ => None,
    }
}

/// Removes parentheses, and the invisible group around an argument of a `macro_rules!` macro.
fn ungroup(expr: &Expr) -> &Expr {
    match expr {
        Expr::Group(group) => ungroup(&group.expr),
        Expr::Paren(paren) => ungroup(&paren.expr),
        _ => expr,
    }
}
