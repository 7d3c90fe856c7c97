//! The rules for the keys and the settings of the lock.

use proc_macro2::Span;
use quote::ToTokens as _;
use syn::ext::IdentExt as _;
use syn::{
    Error, Expr, Lit, LitInt, LitStr, Result, Signature, Token, parse_quote, parse_quote_spanned,
};

use super::scheme::scheme;
use super::template::check_template;
use super::{literal, period, permits, text, timeout, ungroup};
use crate::args::{Args, quoted};
use crate::errors::Errors;
use crate::model::{Isolation, Keys, Lock};
use crate::parameter::mentions;

const LEVELS: [&str; 3] = ["ReadCommitted", "RepeatableRead", "Serializable"];

pub(super) fn lock(args: &Args, sig: &Signature) -> Result<Lock> {
    let mut errors = Errors::default();
    let keys = errors.handle(keys(args, sig));
    let scheme = errors.handle(scheme(args));
    let permits = errors.handle(permits::permits(args));
    let wait = errors.handle(timeout::wait(args));
    let polling = errors.handle(timeout::polling(args));
    let at_least = errors.handle(timeout::at_least(args));
    let every = errors.handle(period::every(args));
    let isolation = errors.handle(isolation(args));
    let settings = permits.zip(wait).zip(polling).zip(at_least);
    let settings = settings.zip(every).zip(isolation);
    let lock = keys.zip(scheme).zip(settings);
    let lock = lock.map(|((keys, scheme), settings)| {
        let (((((permits, wait), polling), at_least), every), isolation) = settings;
        Lock {
            keys,
            scheme,
            shared: args.shared.is_some(),
            permits,
            wait,
            polling,
            at_least,
            every,
            isolation,
            cancel_via: args.cancel_via.as_ref().map(|pool| pool.value.clone()),
        }
    });
    errors.finish(lock)
}

fn keys(args: &Args, sig: &Signature) -> Result<Keys> {
    let has_scheme = args.scheme.is_some();
    match (&args.key, &args.keys) {
        (Some(_), Some(keys)) => {
            let fix = "`key` and `keys` exclude each other; list every key in `keys`";
            Err(Error::new(keys.name, fix))
        }
        (Some(arg), None) => key(&arg.value, has_scheme).map(Keys::One),
        (None, Some(keys)) => key_list(&keys.value, has_scheme),
        (None, None) if args.is_complete && is_method(sig) => {
            let name = sig.ident.unraw();
            let fix = format!(
                "a method needs a `key`, because the default key would not name its type; write \
                 `key = \"….{name}\"`"
            );
            Err(Error::new(Span::call_site(), fix))
        }
        (None, None) => Ok(Keys::FunctionPath(sig.ident.unraw().to_string())),
    }
}

fn key_list(keys: &Expr, has_scheme: bool) -> Result<Keys> {
    match ungroup(keys) {
        Expr::Array(list) if list.elems.is_empty() => {
            let fix = "an empty `keys` locks nothing; list at least one key";
            Err(Error::new_spanned(list, fix))
        }
        Expr::Array(list) => {
            let mut errors = Errors::default();
            let keys = list.elems.iter().map(|elem| key(elem, has_scheme));
            let keys = keys.filter_map(|key| errors.handle(key)).collect();
            errors.finish(Some(Keys::List(keys)))
        }
        Expr::Lit(one) => {
            let fix = "`keys` is a list; write `keys = […]`, or `key` for a single one";
            Err(Error::new_spanned(one, fix))
        }
        iterator => Ok(Keys::Iterator(iterator.clone())),
    }
}

fn key(key: &Expr, has_scheme: bool) -> Result<Expr> {
    if let Some(text) = text(key) {
        return text_key(text);
    }
    let is_number = literal(key).is_some() || matches!(ungroup(key), Expr::Tuple(_));
    if is_number && has_scheme {
        let fix = "a scheme makes a key from text, and this is a number; remove `scheme`, or write \
                   text";
        return Err(Error::new_spanned(ungroup(key), fix));
    }
    Ok(with_i64_suffix(ungroup(key)))
}

fn text_key(text: &LitStr) -> Result<Expr> {
    let value = text.value();
    if value.is_empty() {
        let fix = "the key is empty; name the thing to lock, as in `\"sync({id})\"`";
        return Err(Error::new(text.span(), fix));
    }
    if value.contains(['{', '}']) {
        check_template(text)?;
        return Ok(parse_quote_spanned!(Span::mixed_site()=> ::std::format!(#text)));
    }
    Ok(parse_quote!(#text))
}

/// Makes a number without a suffix an `i64`, which is what a key is; rustc would infer `i32`.
fn with_i64_suffix(expr: &Expr) -> Expr {
    match literal(expr) {
        Some((Lit::Int(number), is_negative)) if number.suffix().is_empty() => {
            let sign = is_negative.then(<Token![-]>::default);
            let number = LitInt::new(&format!("{number}i64"), number.span());
            parse_quote!(#sign #number)
        }
        _ => expr.clone(),
    }
}

fn isolation(args: &Args) -> Result<Option<Isolation>> {
    let Some(isolation) = &args.isolation else {
        return Ok(None);
    };
    if let Some(text) = text(&isolation.value) {
        return Err(quoted("isolation", text, &LEVELS));
    }
    match ungroup(&isolation.value) {
        Expr::Lit(literal) => {
            let fix = format!("expected `{}`", LEVELS.join("` or `"));
            Err(Error::new_spanned(literal, fix))
        }
        Expr::Path(path) if LEVELS.iter().any(|level| path.path.is_ident(level)) => {
            Ok(path.path.get_ident().cloned().map(Isolation::Level))
        }
        expr => Ok(Some(Isolation::Expr(expr.clone()))),
    }
}

fn is_method(sig: &Signature) -> bool {
    sig.receiver().is_some() || mentions(sig.to_token_stream(), "Self")
}
