//! The rules, each with the message for who breaks it.

mod lock;
mod scheme;
mod scope;
mod target;
mod timeout;

use syn::{Error, Expr, GenericArgument, PathArguments, Result, ReturnType, Signature, Type};

use crate::args::{Args, Scope, SideEffect};
use crate::erase::erase_impl_trait;
use crate::function::Function;
use crate::mistake::Mistakes;
use crate::model::Model;

pub(crate) fn validate(
    args: &Args,
    function: Option<Function>,
    mut mistakes: Mistakes,
) -> Result<Model> {
    let Some(function) = function else {
        return mistakes.none_in(None);
    };
    let sig = &function.sig;
    mistakes.check(is_async(&function));
    mistakes.check(is_safe(sig));
    let output = mistakes.check(output(sig));
    let lock = mistakes.check(lock::lock(args, sig));
    let target = mistakes.check(target::target(args, sig));
    if let Some(target) = &target {
        mistakes.check(scope::fits(args, target));
    }
    let model = output.zip(lock).zip(target);
    let model = model.map(|((output, lock), target)| Model {
        output,
        krate: args.krate.as_ref().map(|krate| krate.value.clone()),
        lock,
        side_effect: args
            .side_effect
            .as_ref()
            .map_or(SideEffect::Raise, |given| given.value),
        scope: args.scope.as_ref().map_or(Scope::Xact, |given| given.value),
        target,
        function,
    });
    mistakes.none_in(model)
}

fn is_async(function: &Function) -> Result<()> {
    let sig = &function.sig;
    if function.is_async() {
        return Ok(());
    }
    if let Some(constness) = &sig.constness {
        let fix = "a `const fn` cannot wait for a lock; write `async fn`";
        return Err(Error::new(constness.span, fix));
    }
    let fix = if returns_boxed_future(sig) {
        "`#[async_trait]` has already turned this into a function that returns a future; put \
         `#[advisory]` on an `async fn` that this one calls, or use the language's own `async fn` in traits"
    } else {
        "`#[advisory]` goes on an `async fn`; add `async`, or, if an attribute above has taken it away, \
         put `#[advisory]` above that one"
    };
    Err(Error::new(sig.fn_token.span, fix))
}

fn is_safe(sig: &Signature) -> Result<()> {
    if let Some(unsafety) = &sig.unsafety {
        let fix = "an `unsafe fn` cannot be put under a lock; make it safe, with an `unsafe` block inside";
        return Err(Error::new(unsafety.span, fix));
    }
    if let Some(abi) = &sig.abi {
        let fix = "nothing awaits an `extern` function; remove `extern`";
        return Err(Error::new(abi.extern_token.span, fix));
    }
    Ok(())
}

fn output(sig: &Signature) -> Result<Type> {
    match &sig.output {
        ReturnType::Type(_, output) => Ok(erase_impl_trait(output)),
        ReturnType::Default => {
            let fix = "a function under a lock returns a `Result`, since locking can fail; add \
                       `-> Result<(), advisory_core::Error>`, or an error type that is `From` it";
            Err(Error::new(sig.ident.span(), fix))
        }
    }
}

/// `Pin<Box<dyn Future<…> + …>>`
fn returns_boxed_future(sig: &Signature) -> bool {
    let ReturnType::Type(_, output) = &sig.output else {
        return false;
    };
    let boxed = argument_of(output, "Pin").and_then(|inner| argument_of(inner, "Box"));
    matches!(boxed, Some(Type::TraitObject(_)))
}

fn argument_of<'a>(ty: &'a Type, name: &str) -> Option<&'a Type> {
    let Type::Path(path) = ty else {
        return None;
    };
    let segment = path
        .path
        .segments
        .last()
        .filter(|segment| segment.ident == name)?;
    match &segment.arguments {
        PathArguments::AngleBracketed(arguments) => match arguments.args.first()? {
            GenericArgument::Type(ty) => Some(ty),
            _ => None,
        },
        _ => None,
    }
}

/// What a `macro_rules!` argument or parentheses wrap.
fn bare(expr: &Expr) -> &Expr {
    match expr {
        Expr::Group(group) => bare(&group.expr),
        Expr::Paren(paren) => bare(&paren.expr),
        _ => expr,
    }
}
