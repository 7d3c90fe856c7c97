//! How names become keys.

use syn::{Error, Expr, ExprPath, Result};

use super::bare;
use crate::args::Args;
use crate::model::{Named, Scheme};

pub(super) fn scheme(args: &Args) -> Result<Option<Scheme>> {
    let Some(scheme) = &args.scheme else {
        return Ok(None);
    };
    let value = bare(&scheme.value);
    let scheme = match value {
        Expr::Lit(literal) => {
            let fix = "a scheme is the path of a `KeyScheme`; write `Sha1`, `Crc32`, `Md5`, `Sha256`, another of \
                       `advisory_core::scheme`, or your own";
            return Err(Error::new_spanned(literal, fix));
        }
        Expr::Path(path) => named(path).map(|name| Scheme::Named(name, None)),
        Expr::Call(call) => match bare(&call.func) {
            Expr::Path(path) => {
                named(path).map(|name| Scheme::Named(name, Some(call.args.clone())))
            }
            _ => None,
        },
        _ => None,
    };
    Ok(Some(scheme.unwrap_or_else(|| Scheme::Value(value.clone()))))
}

/// A name that may be one of the library's. None, if the path says where it leads.
fn named(path: &ExprPath) -> Option<Named> {
    let segments = &path.path.segments;
    let first = segments[0].ident.to_string();
    let is_type = first.starts_with(char::is_uppercase) && first != "Self";
    let is_keyword = ["self", "Self", "super", "crate"].contains(&first.as_str());
    let is_relative = path.qself.is_none() && path.path.leading_colon.is_none() && !is_keyword;
    let is_bare = is_relative && (is_type || segments.len() == 1);
    is_bare.then(|| Named {
        path: path.clone(),
        is_type,
    })
}

#[cfg(test)]
mod tests {
    use quote::ToTokens as _;

    use super::*;
    use crate::mistake::Mistakes;

    fn read(value: &str) -> Result<Option<Scheme>> {
        let mut mistakes = Mistakes::default();
        let args = format!("scheme = {value}").parse().unwrap();
        let args = Args::parse(args, &mut mistakes);
        scheme(&mistakes.none_in(Some(args)).unwrap())
    }

    #[test]
    fn names_may_be_the_librarys() {
        for (value, called, is_type) in [
            ("Sha256", false, true),
            ("(Sha256)", false, true),
            ("Pals::app", false, true),
            ("Pals::app(\"a\")", true, true),
            ("sha256", false, false),
            ("mine(7)", true, false),
        ] {
            let Ok(Some(Scheme::Named(name, arguments))) = read(value) else {
                panic!("{value} is a name");
            };
            assert_eq!(
                (arguments.is_some(), name.is_type),
                (called, is_type),
                "{value}"
            );
        }
    }

    #[test]
    fn paths_that_say_where_they_lead_are_left_alone() {
        for value in [
            "self::Mine",
            "crate::Mine",
            "super::Mine",
            "Self::SCHEME",
            "::mine::Mine",
            "mine::Mine",
            "<Mine as Default>::default()",
            "|name: &str| 7",
            "mine.scheme()",
        ] {
            let Ok(Some(Scheme::Value(left))) = read(value) else {
                panic!("{value} is a value");
            };
            let left = left.to_token_stream().to_string();
            assert_eq!(left.replace(' ', ""), value.replace(' ', ""));
        }
    }

    #[test]
    fn text_is_no_scheme() {
        let mistake = read("\"md5\"").err().expect("it is text");
        assert!(mistake.to_string().contains("write `Sha1`"), "{mistake}");
    }
}
