//! What is locked.

use proc_macro2::{Span, TokenStream, TokenTree};
use quote::ToTokens as _;
use syn::ext::IdentExt as _;
use syn::{Error, Expr, ExprLit, ExprUnary, Lit, LitInt, LitStr, Result, Signature, UnOp};

use super::scheme::scheme;
use super::{bare, timeout};
use crate::args::Args;
use crate::mistake::Mistakes;
use crate::model::{Isolation, Key, Keys, Lock};

const LEVELS: [&str; 3] = ["ReadCommitted", "RepeatableRead", "Serializable"];

pub(super) fn lock(args: &Args, sig: &Signature) -> Result<Lock> {
    let mut mistakes = Mistakes::default();
    let keys = mistakes.check(keys(args, sig));
    let scheme = mistakes.check(scheme(args));
    let wait = mistakes.check(timeout::wait(args));
    let polling = mistakes.check(timeout::polling(args));
    let isolation = mistakes.check(isolation(args));
    let whole = keys.zip(scheme).zip(wait).zip(polling).zip(isolation);
    let lock = whole.map(|((((keys, scheme), wait), polling), isolation)| Lock {
        keys,
        scheme,
        shared: args.shared.is_some(),
        wait,
        polling,
        isolation,
        cancel_via: args.cancel_via.as_ref().map(|pool| pool.value.clone()),
    });
    mistakes.none_in(lock)
}

fn keys(args: &Args, sig: &Signature) -> Result<Keys> {
    let hashed = args.scheme.is_some();
    match (&args.key, &args.keys) {
        (Some(_), Some(keys)) => {
            let fix = "`key` and `keys` exclude each other; list all of them in `keys`";
            Err(Error::new(keys.name, fix))
        }
        (Some(given), None) => key(&given.value, hashed).map(Keys::One),
        (None, Some(keys)) => several(&keys.value, hashed),
        (None, None) if is_method(sig) => {
            let name = sig.ident.unraw();
            let fix = format!(
                "a method needs a `key`, the default one would not name its type; write `key = \"….{name}\"`"
            );
            Err(Error::new(Span::call_site(), fix))
        }
        (None, None) => Ok(Keys::Path(sig.ident.unraw().to_string())),
    }
}

fn several(keys: &Expr, hashed: bool) -> Result<Keys> {
    match bare(keys) {
        Expr::Array(list) if list.elems.is_empty() => {
            let fix = "an empty `keys` locks nothing; list at least one key";
            Err(Error::new_spanned(list, fix))
        }
        Expr::Array(list) => {
            let mut mistakes = Mistakes::default();
            let keys = list
                .elems
                .iter()
                .filter_map(|elem| mistakes.check(key(elem, hashed)))
                .collect();
            mistakes.none_in(Some(Keys::List(keys)))
        }
        Expr::Lit(one) => {
            let fix = "`keys` is a list; write `keys = […]`, or `key` for a single one";
            Err(Error::new_spanned(one, fix))
        }
        each => Ok(Keys::Each(each.clone())),
    }
}

fn key(key: &Expr, hashed: bool) -> Result<Key> {
    match bare(key) {
        Expr::Lit(ExprLit {
            lit: Lit::Str(text),
            ..
        }) => text_key(text),
        number if hashed && is_number(number) => {
            let fix = "a scheme makes the key out of text, this is a number; remove `scheme`, or write text";
            Err(Error::new_spanned(number, fix))
        }
        value => Ok(Key::Value(wide(value))),
    }
}

fn text_key(text: &LitStr) -> Result<Key> {
    let value = text.value();
    if value.is_empty() {
        let fix = "the key is empty; name what is locked, as in `\"sync({id})\"`";
        return Err(Error::new(text.span(), fix));
    }
    let key = if value.contains(['{', '}']) {
        Key::Template
    } else {
        Key::Text
    };
    Ok(key(text.clone()))
}

fn is_number(expr: &Expr) -> bool {
    match bare(expr) {
        Expr::Lit(_) | Expr::Tuple(_) => true,
        Expr::Unary(ExprUnary {
            op: UnOp::Neg(_),
            expr,
            ..
        }) => is_number(expr),
        _ => false,
    }
}

/// A key is 64 bits wide, a number without a suffix would be taken for 32.
fn wide(value: &Expr) -> Expr {
    let mut wide = value.clone();
    let literal = match &mut wide {
        Expr::Unary(ExprUnary {
            op: UnOp::Neg(_),
            expr,
            ..
        }) => &mut **expr,
        other => other,
    };
    if let Expr::Lit(ExprLit {
        lit: Lit::Int(number),
        ..
    }) = literal
        && number.suffix().is_empty()
    {
        *number = LitInt::new(&format!("{number}i64"), number.span());
    }
    wide
}

fn isolation(args: &Args) -> Result<Option<Isolation>> {
    let Some(isolation) = &args.isolation else {
        return Ok(None);
    };
    match bare(&isolation.value) {
        Expr::Lit(literal) => {
            let fix = "an isolation level is a name; write `ReadCommitted`, `RepeatableRead` or `Serializable`";
            Err(Error::new_spanned(literal, fix))
        }
        Expr::Path(path) if LEVELS.iter().any(|level| path.path.is_ident(level)) => {
            Ok(path.path.get_ident().cloned().map(Isolation::Level))
        }
        value => Ok(Some(Isolation::Value(value.clone()))),
    }
}

fn is_method(sig: &Signature) -> bool {
    sig.receiver().is_some() || mentions_self(sig.to_token_stream())
}

fn mentions_self(tokens: TokenStream) -> bool {
    tokens.into_iter().any(|token| match token {
        TokenTree::Ident(word) => word == "Self",
        TokenTree::Group(group) => mentions_self(group.stream()),
        _ => false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(args: &str, sig: &str) -> Result<Lock> {
        let mut mistakes = Mistakes::default();
        let args = Args::parse(args.parse().unwrap(), &mut mistakes);
        let args = mistakes.none_in(Some(args)).unwrap();
        lock(&args, &syn::parse_str(sig).unwrap())
    }

    fn keys(args: &str) -> Keys {
        read(args, "async fn f()").unwrap().keys
    }

    fn messages(args: &str, sig: &str) -> Vec<String> {
        let mistakes = read(args, sig).err().expect("the arguments are wrong");
        let messages = mistakes.into_iter().map(|mistake| mistake.to_string());
        messages.collect()
    }

    #[test]
    fn a_function_is_its_own_key() {
        let lock = read("", "async fn r#loop(pool: &PgPool)").unwrap();
        assert!(matches!(lock.keys, Keys::Path(name) if name == "loop"));
    }

    #[test]
    fn only_braces_make_a_template() {
        assert!(matches!(keys("key = \"a\""), Keys::One(Key::Text(_))));
        assert!(matches!(
            keys("key = \"a{b}\""),
            Keys::One(Key::Template(_))
        ));
        assert!(matches!(
            keys("key = (r\"}}\")"),
            Keys::One(Key::Template(_))
        ));
        assert!(matches!(
            keys("key = format!(\"a\")"),
            Keys::One(Key::Value(_))
        ));
    }

    #[test]
    fn numbers_are_wide() {
        for (written, wide) in [
            ("5", "5i64"),
            ("-5", "- 5i64"),
            ("5u32", "5u32"),
            ("(1, 2)", "(1 , 2)"),
        ] {
            let Keys::One(Key::Value(value)) = keys(&format!("key = {written}")) else {
                panic!("{written} is a value");
            };
            assert_eq!(value.to_token_stream().to_string(), wide);
        }
    }

    #[test]
    fn several_keys_are_listed_or_yielded() {
        assert!(matches!(keys("keys = [\"a\", 1, b]"), Keys::List(keys) if keys.len() == 3));
        assert!(matches!(keys("keys = ids.iter().copied()"), Keys::Each(_)));
    }

    #[test]
    fn methods_need_a_key() {
        for sig in [
            "async fn f(&self)",
            "async fn f(self: Arc<Self>)",
            "async fn f(all: &[Self])",
        ] {
            assert!(
                messages("", sig)[0].starts_with("a method needs a `key`"),
                "{sig}"
            );
            assert!(read("key = \"a\"", sig).is_ok(), "{sig}");
        }
    }

    #[test]
    fn only_text_is_hashed() {
        for key in ["5", "-5", "(1, 2)", "1.5"] {
            let messages = messages(&format!("key = {key}, scheme = Md5"), "async fn f()");
            assert!(messages[0].contains("remove `scheme`"), "{messages:?}");
        }
        assert!(read("key = five, scheme = Md5", "async fn f()").is_ok());
    }

    #[test]
    fn each_mistake_is_told() {
        let messages = messages(
            "keys = [\"\", \"\"], scheme = \"md5\", timeout = -1",
            "async fn f()",
        );
        assert_eq!(messages.len(), 4, "{messages:?}");
    }
}
