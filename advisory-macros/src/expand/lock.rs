//! The expression that evaluates to the `AdvisoryLock`, or to the `PeriodicLock`.

use proc_macro2::{Ident, Span, TokenStream};
use quote::{ToTokens, quote_spanned};

use super::{Krate, mixed_site_at};
use crate::model::{
    Arguments, Every, Isolation, Keys, Lock, PeriodTable, Scheme, SchemeName, Wait,
};

pub(super) fn lock(lock: &Lock, krate: &Krate<'_>) -> TokenStream {
    let keys = keys(lock, krate);
    let shared = lock.shared.then(|| hygienic!(.shared()));
    let permits = lock.permits.as_ref();
    let permits = permits.map(|permits| hygienic!(.permits(#permits)));
    let wait = lock.wait.as_ref().map(|wait| match wait {
        Wait::For(limit) => hygienic!(.timeout(#limit)),
        Wait::Forever => hygienic!(.wait_forever()),
    });
    let polling = lock.polling.as_ref();
    let polling = polling.map(|polling| hygienic!(.polling(#polling)));
    let isolation = lock.isolation.as_ref().map(|isolation| match isolation {
        Isolation::Level(level) => hygienic!(.isolation(#krate::Isolation::#level)),
        Isolation::Expr(expr) => hygienic!(.isolation(#expr)),
    });
    let pool = lock.cancel_via.as_ref();
    let cancel_via = pool.map(|pool| hygienic!(.cancel_via(#pool)));
    let at_least = lock.at_least.as_ref();
    let at_least = at_least.map(|time| hygienic!(.at_least(#time)));
    let every = lock.every.as_ref().map(|every| self::every(every, krate));
    hygienic!(#keys #shared #permits #wait #polling #isolation #cancel_via #at_least #every)
}

fn every(every: &Every, krate: &Krate<'_>) -> TokenStream {
    let (length, offset) = (&every.length, every.offset.as_ref());
    let offset = offset.map(|offset| hygienic!(.offset(#offset)));
    let table = every.table.as_ref().map(|table| match table {
        PeriodTable::Named { schema, table } => {
            let schema = schema.as_ref().map(|schema| hygienic!(.schema(#schema)));
            hygienic!(&#krate::Periods::in_table(#table) #schema)
        }
        PeriodTable::Expr(expr) => quote_spanned!(mixed_site_at(expr)=> &#expr),
    });
    let periods = table.map(|table| hygienic!(.periods(#table)));
    hygienic!(.every(#length) #offset #periods)
}

fn keys(lock: &Lock, krate: &Krate<'_>) -> TokenStream {
    let one_key = |key: &TokenStream| one_key(key, lock.scheme.as_ref(), krate);
    match &lock.keys {
        Keys::FunctionPath(name) => one_key(&hygienic!(
            ::core::concat!(::core::module_path!(), "::", #name)
        )),
        Keys::One(key) => one_key(&key.to_token_stream()),
        Keys::List(keys) => {
            let keys = keys.iter().map(|key| one_key(&key.to_token_stream()));
            hygienic!(#krate::AdvisoryLock::all([#(#keys),*]))
        }
        Keys::Iterator(keys) => {
            let key = Ident::new("key", mixed_site_at(keys));
            let lock = one_key(&key.to_token_stream());
            let keys = hygienic!(::core::iter::IntoIterator::into_iter(#keys));
            hygienic!(#krate::AdvisoryLock::all(::core::iter::Iterator::map(#keys, |#key| #lock)))
        }
    }
}

/// The calls have the span of the key, where rustc then reports a type that is not a key.
fn one_key(key: &TokenStream, scheme: Option<&Scheme>, krate: &Krate<'_>) -> TokenStream {
    let span = mixed_site_at(key);
    let krate = krate.at(span);
    let unwritable = quote_spanned!(span=> #krate::__private::unwritable);
    match scheme {
        None => quote_spanned!(span=> #krate::__private::lock(#key, #unwritable)),
        Some(Scheme::Named(name, arguments)) => {
            let named_scheme = named_scheme(name, arguments.as_ref(), &krate);
            let lock_with_scheme = quote_spanned!(span=> #krate::__private::lock_with_scheme);
            // rustc reports a wrong type at these names, so they have the spans of the user's
            // tokens. The key is evaluated first, because it may await.
            let name_span = mixed_site_at(&name.path);
            let key_name = quote_spanned!(mixed_site_at(key)=> key);
            let scheme_name = quote_spanned!(name_span=> scheme);
            hygienic! {
                match #key {
                    #key_name => match #named_scheme {
                        #scheme_name => #lock_with_scheme(#key_name, #scheme_name, #unwritable),
                    },
                }
            }
        }
        Some(Scheme::Expr(scheme)) => {
            quote_spanned!(span=> #krate::__private::lock_with_scheme(#key, #scheme, #unwritable))
        }
    }
}

/// Input: `Sha256`
///
/// Output: `{ use self::*; use advisory_core::__private::scheme::*; Sha256 }`
///
/// The glob imports make the library's schemes available without a path. If the user's module has
/// the same name, rustc reports the ambiguity, so a scheme that the library adds later cannot
/// silently replace the user's. A lower-case name may be a local variable, which a glob import of
/// the module would not find; for such a name only the library is imported.
fn named_scheme(name: &SchemeName, args: Option<&Arguments>, krate: &TokenStream) -> TokenStream {
    let path = &name.path;
    let import_module = name.is_type.then(|| hygienic! { use self::*; });
    let scheme = hygienic!({
        #import_module
        use #krate::__private::scheme::*;
        #path
    });
    match args {
        Some(args) => quote_spanned!(mixed_site_at(path)=> (#scheme)(#args)),
        None => scheme,
    }
}
