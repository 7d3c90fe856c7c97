//! The function under its lock. Nothing fails here.

/// Tokens whose names the user's cannot collide with.
macro_rules! hygienic {
    ($($tokens:tt)*) => { quote_spanned! {Span::mixed_site()=> $($tokens)*} };
}

mod lock;
mod signature;

use proc_macro2::{Delimiter, Group, Span, TokenStream};
use quote::{ToTokens, quote_spanned};
use syn::spanned::Spanned as _;
use syn::{Expr, Ident, Path};

use crate::args::{Args, Scope, SideEffect};
use crate::function::Function;
use crate::model::{Model, Target};
use crate::parameter::{Parameter, Passing, is_parameter, names};

pub(crate) fn expand(model: &Model) -> TokenStream {
    let krate = Krate(model.krate.as_ref());
    let body = match &model.target {
        Target::Transaction(parameter) => in_transaction(model, &krate, parameter),
        Target::Connection(parameter) => on_connection(model, &krate, parameter),
        Target::Pool { parameter, tx } => on_pool(model, &krate, parameter, tx.as_ref()),
        Target::Place { place, tx } => on_place(model, &krate, place, tx.as_ref()),
    };
    model.function.with(&signature::signature(model), body)
}

/// The function as it was, for the editor. What the lock would have used or bound is used and bound, which spares its user
/// further messages.
pub(crate) fn unlocked(function: &Function, args: &Args) -> TokenStream {
    let krate = Krate(args.krate.as_ref().map(|krate| &krate.value));
    let names = names(&function.sig);
    let tx = args.tx.as_ref().map(|given| &given.value);
    let tx = tx.filter(|tx| !is_parameter(tx, &function.sig)).map(|tx| {
        hygienic! {
            #[allow(unused_variables)]
            let #tx = #krate::__private::PoolScope::transaction(
                ::core::option::Option::unwrap(::core::option::Option::None),
            );
        }
    });
    let body = braced(function);
    function.with(&function.sig, hygienic!(let _ = (#(&#names),*); #tx #body))
}

/// The path of the library.
struct Krate<'a>(Option<&'a Path>);

impl Krate<'_> {
    fn at(&self, span: Span) -> TokenStream {
        let default = || quote_spanned!(span=> ::advisory_core);
        self.0.map_or_else(default, ToTokens::to_token_stream)
    }
}

impl ToTokens for Krate<'_> {
    fn to_tokens(&self, tokens: &mut TokenStream) {
        tokens.extend(self.at(Span::mixed_site()));
    }
}

/// Input: `async fn f(tx: &mut PgTransaction<'_>) -> R { body }`
///
/// Output:
/// ```text
/// { let lock = …; match Target::enter(&mut *tx, &lock).await { … } };
/// { body }
/// ```
fn in_transaction(model: &Model, krate: &Krate<'_>, parameter: &Parameter) -> TokenStream {
    let lock = lock::lock(&model.lock, krate);
    let entered = entered(model, krate, &lock, &exclusive(parameter));
    let body = body(model);
    hygienic! {
        #[allow(clippy::used_underscore_binding)]
        #entered;
        #body
    }
}

fn exclusive(parameter: &Parameter) -> TokenStream {
    let name = &parameter.name;
    let span = Span::mixed_site().located_at(name.span());
    match parameter.passing {
        Passing::Owned => quote_spanned!(span=> &mut #name),
        Passing::Shared | Passing::Mutable => quote_spanned!(span=> &mut *#name),
    }
}

/// Input: `async fn f(conn: &mut PgConnection) -> R { body }`
///
/// Output:
/// ```text
/// let mut scope = { let lock = …; match Target::enter(&mut *conn, &lock).await { … } };
/// let result = { let conn = scope.connection(); async move { { body } }.await };
/// match scope.finish(result.is_ok()).await { … }
/// ```
fn on_connection(model: &Model, krate: &Krate<'_>, parameter: &Parameter) -> TokenStream {
    let (mutability, conn) = (&parameter.mutability, &parameter.name);
    let lock = lock::lock(&model.lock, krate);
    let entered = entered(model, krate, &lock, &exclusive(parameter));
    let binding = hygienic! {
        #[allow(unused_variables)]
        let #mutability #conn = scope.connection();
    };
    in_scope(model, krate, &entered, Some(&binding))
}

/// Input: `async fn f(pool: &PgPool) -> R { body }`
///
/// Output:
/// ```text
/// let mut scope = { let lock = …; match Target::enter(pool.pool_or_connection(), &lock).await { … } };
/// let result = { let tx = scope.transaction(); async move { { body } }.await };
/// match scope.finish(result.is_ok()).await { … }
/// ```
fn on_pool(
    model: &Model,
    krate: &Krate<'_>,
    parameter: &Parameter,
    tx: Option<&Ident>,
) -> TokenStream {
    let (lookup, lock) = (lookup(krate), lock::lock(&model.lock, krate));
    let entered = entered(model, krate, &lock, &found(&parameter.name));
    let body = in_scope(model, krate, &entered, tx.map(transaction).as_ref());
    hygienic!(#lookup #body)
}

/// Input: `#[advisory(on = place)] async fn f() -> R { body }`
///
/// Output: as on a pool, in a `match place.pool_or_connection() { target => { … } }`, which keeps alive what the place
/// borrows from: `on = self.connection.lock().await`. The key, which may need the same, comes first.
fn on_place(model: &Model, krate: &Krate<'_>, place: &Expr, tx: Option<&Ident>) -> TokenStream {
    let (lookup, place) = (lookup(krate), found(place));
    let lock = lock::lock(&model.lock, krate);
    let entered = entered(model, krate, &hygienic!(lock), &hygienic!(target));
    let body = in_scope(model, krate, &entered, tx.map(transaction).as_ref());
    hygienic! {
        #lookup
        let lock = #lock;
        match #place {
            target => { #body }
        }
    }
}

/// The traits that tell a pool from a connection.
fn lookup(krate: &Krate<'_>) -> TokenStream {
    hygienic! {
        #[allow(unused_imports)]
        use #krate::__private::{OnConnection as _, OnPool as _};
    }
}

fn found(place: &impl ToTokens) -> TokenStream {
    let place = place.to_token_stream();
    let span = Span::mixed_site().located_at(place.span());
    quote_spanned!(span=> (#place).pool_or_connection())
}

fn transaction(tx: &Ident) -> TokenStream {
    let transaction = Ident::new("transaction", Span::mixed_site().located_at(tx.span()));
    hygienic!(let #tx = scope.#transaction();)
}

/// The body between entering a scope and finishing it, as a future that is `Send` when the body is.
fn in_scope(
    model: &Model,
    krate: &Krate<'_>,
    entered: &TokenStream,
    binding: Option<&TokenStream>,
) -> TokenStream {
    let outcome = outcome(model, krate);
    let result = match binding {
        Some(_) => awaited(model),
        None => until_lost(model, &outcome),
    };
    hygienic! {
        #[allow(clippy::used_underscore_binding)]
        let mut scope = #entered;
        let result = { #binding #result };
        match scope.finish(#outcome::is_ok(&result)).await {
            ::core::result::Result::Ok(()) => result,
            ::core::result::Result::Err(error) => #outcome::raise(error),
        }
    }
}

fn awaited(model: &Model) -> TokenStream {
    let body = future(model);
    hygienic!(#body.await)
}

/// A body that does not use the connection with the lock would not be told of its loss.
fn until_lost(model: &Model, outcome: &TokenStream) -> TokenStream {
    let body = future(model);
    hygienic! {
        match scope.until_lost(#body).await {
            ::core::result::Result::Ok(result) => result,
            ::core::result::Result::Err(error) => return #outcome::raise(error),
        }
    }
}

fn future(model: &Model) -> TokenStream {
    let (output, body) = (&model.output, body(model));
    hygienic! {
        async move {
            // Never run: without it the type of the block is inferred, and a wrong one is reported elsewhere.
            #[allow(unreachable_code, clippy::all, clippy::pedantic)]
            if false {
                let output: #output = loop {};
                return output;
            }
            #body
        }
    }
}

fn body(model: &Model) -> TokenStream {
    braced(&model.function)
}

/// In braces of its own; the constant is there because rustc warns of braces around a lone expression.
fn braced(function: &Function) -> TokenStream {
    let tokens = function.body.stream();
    let mut braced = Group::new(Delimiter::Brace, hygienic!(const _: () = (); #tokens));
    braced.set_span(function.body.span());
    braced.into_token_stream()
}

/// The scope in which the lock is held, or a return.
///
/// All of the call stands where the place does: the compiler then tells once what cannot be locked on.
fn entered(
    model: &Model,
    krate: &Krate<'_>,
    lock: &TokenStream,
    place: &TokenStream,
) -> TokenStream {
    let at = Span::mixed_site().located_at(place.span());
    let (verb, outcomes) = match model.side_effect {
        SideEffect::Raise => ("enter", granted(model, krate)),
        SideEffect::Skip => ("try_enter", granted_or_skipped(model, krate)),
    };
    let (verb, target) = (Ident::new(verb, at), Ident::new("target", at));
    let krate_there = krate.at(at);
    let places = match model.scope {
        Scope::Xact => "Target",
        Scope::Session => "SessionTarget",
    };
    let places = Ident::new(places, at);
    let enter = quote_spanned!(at=> #krate_there::__private::#places::#verb(#target, &lock));
    hygienic! {
        {
            let lock = #lock;
            let #target = #place;
            match #enter.await { #outcomes }
        }
    }
}

fn granted(model: &Model, krate: &Krate<'_>) -> TokenStream {
    let outcome = outcome(model, krate);
    hygienic! {
        ::core::result::Result::Ok(scope) => scope,
        ::core::result::Result::Err(error) => return #outcome::raise(error),
    }
}

/// Always of the return type's own tokens: the compiler then tells once what it lacks.
fn outcome(model: &Model, krate: &Krate<'_>) -> TokenStream {
    let output = &model.output;
    hygienic!(<#output as #krate::__private::Outcome>)
}

fn granted_or_skipped(model: &Model, krate: &Krate<'_>) -> TokenStream {
    let (output, outcome) = (&model.output, outcome(model, krate));
    let skip = hygienic!(<#output as #krate::__private::SkippedOutcome>::skip);
    hygienic! {
        ::core::result::Result::Ok(::core::option::Option::Some(scope)) => scope,
        ::core::result::Result::Ok(::core::option::Option::None) => return #skip(),
        ::core::result::Result::Err(error) => return #outcome::raise(error),
    }
}
