//! The expression that is the `AdvisoryLock`.

use proc_macro2::{Span, TokenStream};
use quote::{ToTokens, quote_spanned};
use syn::spanned::Spanned as _;

use super::Krate;
use crate::model::{Arguments, Interval, Isolation, Key, Keys, Lock, Named, Scheme, Wait};

pub(super) fn lock(lock: &Lock, krate: &Krate<'_>) -> TokenStream {
    let keys = keys(lock, krate);
    let shared = lock.shared.then(|| hygienic!(.shared()));
    let wait = lock.wait.as_ref().map(|wait| match wait {
        Wait::For(limit) => {
            let limit = interval(limit);
            hygienic!(.timeout(#limit))
        }
        Wait::Forever => hygienic!(.wait_forever()),
    });
    let polling = lock.polling.as_ref().map(|polling| {
        let polling = interval(polling);
        hygienic!(.polling(#polling))
    });
    let isolation = lock.isolation.as_ref().map(|isolation| match isolation {
        Isolation::Level(level) => hygienic!(.isolation(#krate::Isolation::#level)),
        Isolation::Value(value) => hygienic!(.isolation(#value)),
    });
    let cancel_via = lock
        .cancel_via
        .as_ref()
        .map(|pool| hygienic!(.cancel_via(#pool)));
    hygienic!(#keys #shared #wait #polling #isolation #cancel_via)
}

fn interval(interval: &Interval) -> TokenStream {
    match interval {
        Interval::Seconds(duration) => {
            let (seconds, nanos) = (duration.as_secs(), duration.subsec_nanos());
            hygienic!(::core::time::Duration::new(#seconds, #nanos))
        }
        Interval::Value(value) => value.to_token_stream(),
    }
}

fn keys(lock: &Lock, krate: &Krate<'_>) -> TokenStream {
    let one = |key: &TokenStream| one(key, lock.scheme.as_ref(), krate);
    match &lock.keys {
        Keys::Path(name) => one(&hygienic!(
            ::core::concat!(::core::module_path!(), "::", #name)
        )),
        Keys::One(key) => one(&value(key)),
        Keys::List(keys) => {
            let keys = keys.iter().map(|key| one(&value(key)));
            hygienic!(#krate::AdvisoryLock::all([#(#keys),*]))
        }
        Keys::Each(keys) if lock.scheme.is_some() => {
            let one = one(&hygienic!(name));
            let keys = hygienic!(::core::iter::IntoIterator::into_iter(#keys));
            hygienic!(#krate::AdvisoryLock::all(::core::iter::Iterator::map(#keys, |name| #one)))
        }
        Keys::Each(keys) => hygienic!(#krate::AdvisoryLock::all(#keys)),
    }
}

fn one(key: &TokenStream, scheme: Option<&Scheme>, krate: &Krate<'_>) -> TokenStream {
    match scheme {
        None => hygienic!(#krate::AdvisoryLock::new(#key)),
        Some(Scheme::Named(name, arguments)) => {
            let named = named(name, arguments.as_ref(), krate);
            // Errors of type are shown where these are passed. The key comes first, as it may await.
            let one = quote_spanned!(at(key)=> key);
            let scheme = quote_spanned!(at(&name.path)=> scheme);
            hygienic! {
                match #key {
                    #one => match #named {
                        #scheme => #krate::AdvisoryLock::with_scheme(#one, #scheme),
                    },
                }
            }
        }
        Some(Scheme::Value(scheme)) => hygienic!(#krate::AdvisoryLock::with_scheme(#key, #scheme)),
    }
}

/// Input: `Sha256`
///
/// Output: `{ use self::*; use advisory_core::__private::scheme::*; Sha256 }`
///
/// So the library's names need no path; and where a name is the user's as well, the compiler says so, instead of one silently taking
/// the place of the other when the library gains a scheme. A function's name is only helped to a hint: it may be a local variable.
fn named(name: &Named, arguments: Option<&Arguments>, krate: &Krate<'_>) -> TokenStream {
    let path = &name.path;
    let theirs = name.is_type.then(|| {
        hygienic!(
            use self::*;
        )
    });
    let named = hygienic!({
        #theirs
        use #krate::__private::scheme::*;
        #path
    });
    match arguments {
        Some(arguments) => quote_spanned!(at(path)=> (#named)(#arguments)),
        None => named,
    }
}

fn at(tokens: &impl ToTokens) -> Span {
    Span::mixed_site().located_at(tokens.span())
}

fn value(key: &Key) -> TokenStream {
    match key {
        Key::Text(text) => text.to_token_stream(),
        Key::Template(text) => hygienic!(::std::format!(#text)),
        Key::Value(value) => value.to_token_stream(),
    }
}
