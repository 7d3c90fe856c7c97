//! The function under its lock. Nothing in this module can fail.

/// Quotes tokens whose names cannot collide with the user's.
macro_rules! hygienic {
    ($($tokens:tt)*) => { quote_spanned! {Span::mixed_site()=> $($tokens)*} };
}

mod lock;
mod signature;

use proc_macro2::{Delimiter, Group, Span, TokenStream};
use quote::{ToTokens, quote_spanned};
use syn::spanned::Spanned as _;
use syn::{Expr, Ident, Path, UnOp, parse_quote};

use crate::args::{Args, Scope, SideEffect};
use crate::function::Function;
use crate::model::{Model, Target};
use crate::parameter::{Kind, Ownership, Parameter, is_parameter, names};
use crate::unbound_tx::unbound_tx;

pub(crate) fn expand(model: &Model) -> TokenStream {
    let krate = Krate(model.krate.as_ref());
    let body = Expansion { model, krate }.body();
    model.function.with(&signature::signature(model), body)
}

/// Returns the function without a lock, for the case that the input is refused.
///
/// It binds `tx` and uses the parameters as the lock would, so that rustc reports nothing further.
pub(crate) fn fallback(function: &Function, args: &Args) -> TokenStream {
    let krate = Krate(args.krate.as_ref().map(|krate| &krate.value));
    let names = names(&function.sig);
    let tx = args.tx.as_ref().map(|arg| arg.value.clone());
    let tx = tx.or_else(|| unbound_tx(function));
    let tx = tx.filter(|tx| !is_parameter(&tx.to_string(), &function.sig));
    let tx = tx.map(|tx| {
        hygienic! {
            #[allow(unused_variables)]
            let #tx = #krate::__private::PoolScope::transaction(
                ::core::option::Option::unwrap(::core::option::Option::None),
            );
        }
    });
    let body = body_block(function);
    function.with(
        &function.outer_sig,
        hygienic!(let _ = (#(&#names),*); #tx #body),
    )
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

struct Expansion<'a> {
    model: &'a Model,
    krate: Krate<'a>,
}

impl Expansion<'_> {
    fn body(&self) -> TokenStream {
        match &self.model.target {
            Target::Transaction(parameter) => self.in_transaction(parameter),
            Target::Connection(parameter) => self.on_connection(parameter),
            Target::Expr { expr, tx, .. } => self.on_expr(expr, tx.as_ref()),
        }
    }

    fn lock(&self) -> TokenStream {
        lock::lock(&self.model.lock, &self.krate)
    }

    /// Input: `async fn f(tx: &mut PgTransaction<'_>) -> R { body }`
    ///
    /// Output:
    /// ```text
    /// { let lock = …; match Target::enter(&mut *tx, &lock, Body::Inside).await { … } };
    /// { body }
    /// ```
    fn in_transaction(&self, parameter: &Parameter) -> TokenStream {
        let enter = self.enter(&self.lock(), &reborrow(parameter), "Inside");
        let body = body_block(&self.model.function);
        hygienic! {
            #[allow(clippy::used_underscore_binding)]
            #enter;
            #body
        }
    }

    /// Input: `async fn f(conn: &mut PgConnection) -> R { body }`
    ///
    /// Output:
    /// ```text
    /// let mut scope = {
    ///     let lock = …;
    ///     match Target::enter(&mut *conn, &lock, Body::Inside).await { … }
    /// };
    /// let result = {
    ///     let held = scope.held();
    ///     let conn = scope.connection();
    ///     held.around(async move { { body } }).await
    /// };
    /// match scope.finish(result.is_ok()).await { … }
    /// ```
    fn on_connection(&self, parameter: &Parameter) -> TokenStream {
        let (mutability, conn) = (&parameter.mutability, &parameter.name);
        let enter = self.enter(&self.lock(), &reborrow(parameter), "Inside");
        let binding = hygienic! {
            #[allow(unused_variables)]
            let #mutability #conn = scope.connection();
        };
        self.in_scope(&enter, Some(&binding))
    }

    /// Input: `#[advisory(on = expr)] async fn f() -> R { body }`, or a pool as a parameter
    ///
    /// Output:
    /// ```text
    /// let lock = …;
    /// let outcome: R = match expr[prove(&expr).get()].pool_or_connection() {
    ///     target => {
    ///         let mut scope = match Target::enter(target, &lock, Body::Inside).await { … };
    ///         let result = {
    ///             let held = scope.held();
    ///             let tx = scope.transaction();
    ///             held.around(async move { { body } }).await
    ///         };
    ///         match scope.finish(result.is_ok()).await { … }
    ///     }
    /// };
    /// outcome
    /// ```
    ///
    /// The `match` keeps temporaries alive, such as the guard in `on = self.conn.lock().await`. The
    /// key is evaluated first, because it may need the same value.
    fn on_expr(&self, expr: &Expr, tx: Option<&Ident>) -> TokenStream {
        let (imports, lock, output) = (self.import_traits(), self.lock(), &self.model.output);
        let enter = self.enter(&hygienic!(lock), &hygienic!(target), body_of(tx));
        let body = self.in_scope(&enter, tx.map(bind_tx).as_ref());
        let on_place = |place: &Expr| {
            let target = self.pool_or_connection(place);
            hygienic!(match #target { target => { #body } })
        };
        let whole = if is_value(expr) {
            let place = Ident::new("place", mixed_site_at(expr));
            let on_place = on_place(&parse_quote!(#place));
            hygienic!(match #expr { #[allow(unused_mut)] mut #place => { #on_place } })
        } else {
            on_place(expr)
        };
        hygienic! {
            #imports
            let lock = #lock;
            #[allow(clippy::used_underscore_binding)]
            let outcome: #output = #whole;
            outcome
        }
    }

    /// Input: `self.pool`
    ///
    /// Output: `match prove(&self.pool).get() { proof => self.pool[proof].pool_or_connection() }`
    ///
    /// The index finds a pool or a connection behind pointers, as the method alone would. If there
    /// is none, rustc reports that the proof fails, and advises nothing.
    fn pool_or_connection(&self, place: &Expr) -> TokenStream {
        let span = mixed_site_at(place);
        let krate = self.krate.at(span);
        let proof = if is_repeatable(place) {
            quote_spanned!(span=> #krate::__private::prove(&#place).get())
        } else {
            quote_spanned!(span=> #krate::__private::Proof)
        };
        quote_spanned!(span=> match #proof { proof => (#place)[proof].pool_or_connection() })
    }

    /// Imports the traits that distinguish a pool from a connection.
    fn import_traits(&self) -> TokenStream {
        let krate = &self.krate;
        hygienic! {
            #[allow(unused_imports)]
            use #krate::__private::{OnConnection as _, OnPool as _};
        }
    }

    /// Runs the body inside the scope that holds the lock.
    ///
    /// The body becomes a future, which is `Send` when the body is.
    fn in_scope(&self, enter: &TokenStream, binding: Option<&TokenStream>) -> TokenStream {
        let (raise, is_ok, body) = (self.raise(), self.is_ok(), self.body_future());
        let (held, result) = if binding.is_some() {
            let held = hygienic!(let held = scope.held(););
            (Some(held), hygienic!(held.around(#body).await))
        } else {
            // The body does not use the connection with the lock, so only the scope sees a loss.
            let result = hygienic! {
                match scope.until_lost(#body).await {
                    ::core::result::Result::Ok(result) => result,
                    ::core::result::Result::Err(error) => return #raise,
                }
            };
            (None, result)
        };
        hygienic! {
            #[allow(clippy::used_underscore_binding)]
            let mut scope = #enter;
            let result = { #held #binding #result };
            match scope.finish(#is_ok).await {
                ::core::result::Result::Ok(()) => result,
                ::core::result::Result::Err(error) => #raise,
            }
        }
    }

    fn body_future(&self) -> TokenStream {
        let (output, body) = (&self.model.output, body_block(&self.model.function));
        hygienic! {
            async move {
                // This never runs. It fixes the type of the block, so that a wrong type is
                // reported where the body has it.
                #[allow(unreachable_code, clippy::all, clippy::pedantic)]
                if false {
                    let output: #output = loop {};
                    return output;
                }
                #body
            }
        }
    }

    /// Evaluates to the scope that holds the lock, or returns from the function.
    ///
    /// The whole call has the span of the target, so that rustc reports a wrong target once.
    fn enter(&self, lock: &TokenStream, target: &TokenStream, body: &str) -> TokenStream {
        let span = mixed_site_at(target);
        let skips = self.model.side_effect == SideEffect::Skip;
        let is_periodic = self.model.lock.every.is_some();
        let verb = match (is_periodic, skips) {
            (true, _) => "enter_due",
            (false, true) => "try_enter",
            (false, false) => "enter",
        };
        let granted = if self.may_skip() {
            hygienic!(::core::option::Option::Some(scope))
        } else {
            hygienic!(scope)
        };
        let skips = is_periodic.then(|| hygienic!(, #skips));
        let names = [verb, "target", body].map(|name| Ident::new(name, span));
        let ([verb, name, body], krate) = (names, self.krate.at(span));
        let place = match self.model.scope {
            Scope::Xact => quote_spanned!(span=> #name),
            Scope::Session => {
                quote_spanned!(span=> #krate::__private::SessionTarget::in_session(#name))
            }
        };
        let enter = quote_spanned! {span=>
            #krate::__private::Target::#verb(#place, &lock, #krate::__private::Body::#body #skips)
        };
        let (raise, skip) = (self.raise(), self.skip_arm());
        hygienic! {
            {
                let lock = #lock;
                let #name = #target;
                match #enter.await {
                    ::core::result::Result::Ok(#granted) => scope,
                    #skip
                    ::core::result::Result::Err(error) => return #raise,
                }
            }
        }
    }

    fn skip_arm(&self) -> Option<TokenStream> {
        let krate = &self.krate;
        let skip = if self.model.map_err.is_none() {
            self.outcome("SkippedOutcome", "skip", None)
        } else {
            hygienic!(::core::result::Result::Ok(#krate::Skipped::skipped()))
        };
        let arm = hygienic! {
            ::core::result::Result::Ok(::core::option::Option::None) => return #skip,
        };
        self.may_skip().then_some(arm)
    }

    /// Whether the function may return without running its body.
    fn may_skip(&self) -> bool {
        self.model.side_effect == SideEffect::Skip || self.model.lock.every.is_some()
    }

    /// Returns `error` from the function.
    fn raise(&self) -> TokenStream {
        let Some(map_err) = &self.model.map_err else {
            return self.outcome("Outcome", "raise", Some(&hygienic!(error,)));
        };
        let span = mixed_site_at(map_err);
        let krate = self.krate.at(span);
        let map_err = quote_spanned!(span=> #krate::__private::map_err(#map_err, error));
        hygienic!(::core::result::Result::Err(#map_err))
    }

    /// Whether the result of the body is `Ok`.
    fn is_ok(&self) -> TokenStream {
        if self.model.map_err.is_none() {
            self.outcome("Outcome", "is_ok", Some(&hygienic!(&result,)))
        } else {
            hygienic!(::core::result::Result::is_ok(&result))
        }
    }

    /// Names the return type by the user's own tokens, so that rustc reports a missing trait once.
    fn outcome(&self, name: &str, function: &str, arg: Option<&TokenStream>) -> TokenStream {
        let (krate, output) = (&self.krate, &self.model.output);
        let [name, function] = [name, function].map(|name| Ident::new(name, Span::mixed_site()));
        let unwritable = hygienic!(#krate::__private::unwritable);
        hygienic!(<#output as #krate::__private::#name<_>>::#function(#arg #unwritable))
    }
}

/// Returns whether the expression makes a value, which may be moved; a place may not.
fn is_value(expr: &Expr) -> bool {
    use Expr::{Await, Call, MethodCall, Reference, Try};
    matches!(
        expr,
        Await(_) | Call(_) | MethodCall(_) | Reference(_) | Try(_)
    )
}

/// Returns whether the expression can be evaluated twice.
fn is_repeatable(expr: &Expr) -> bool {
    match expr {
        Expr::Path(_) => true,
        Expr::Field(field) => is_repeatable(&field.base),
        Expr::Group(group) => is_repeatable(&group.expr),
        Expr::Paren(paren) => is_repeatable(&paren.expr),
        Expr::Unary(unary) => matches!(unary.op, UnOp::Deref(_)) && is_repeatable(&unary.expr),
        _ => false,
    }
}

/// Whether the body runs in the lock's transaction; otherwise it may use the pool.
fn body_of(tx: Option<&Ident>) -> &'static str {
    match tx {
        Some(_) => "Inside",
        None => "Outside",
    }
}

fn reborrow(parameter: &Parameter) -> TokenStream {
    let name = &parameter.name;
    let span = mixed_site_at(name);
    match (parameter.kind, parameter.ownership) {
        (Kind::SeaOrmTransaction, Ownership::Owned) => quote_spanned!(span=> &#name),
        (Kind::SeaOrmTransaction, _) => quote_spanned!(span=> &*#name),
        (_, Ownership::Owned) => quote_spanned!(span=> &mut #name),
        (_, Ownership::Shared | Ownership::Mutable) => quote_spanned!(span=> &mut *#name),
    }
}

fn bind_tx(tx: &Ident) -> TokenStream {
    let transaction = Ident::new("transaction", mixed_site_at(tx));
    hygienic!(let #tx = scope.#transaction();)
}

/// Returns the body as a block, with a constant in front: rustc warns of braces around a lone
/// expression.
fn body_block(function: &Function) -> TokenStream {
    let tokens = function.body.stream();
    let mut block = Group::new(Delimiter::Brace, hygienic!(const _: () = (); #tokens));
    block.set_span(function.body.span());
    block.into_token_stream()
}

/// Returns a hygienic span at the position of the tokens.
fn mixed_site_at(tokens: &impl ToTokens) -> Span {
    Span::mixed_site().located_at(tokens.span())
}
