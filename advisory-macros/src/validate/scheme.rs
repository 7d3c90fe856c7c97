//! The rules for the scheme, which turns text into keys.

use syn::{Error, Expr, ExprLit, ExprPath, Lit, Result};

use super::ungroup;
use crate::args::{Args, quoted};
use crate::model::{Scheme, SchemeName};

const NAMES: [&str; 4] = ["Sha1", "Crc32", "Md5", "Sha256"];

pub(super) fn scheme(args: &Args) -> Result<Option<Scheme>> {
    let Some(scheme) = &args.scheme else {
        return Ok(None);
    };
    let value = ungroup(&scheme.value);
    let scheme = match value {
        Expr::Lit(ExprLit {
            lit: Lit::Str(text),
            ..
        }) if NAMES
            .iter()
            .any(|name| text.value().eq_ignore_ascii_case(name)) =>
        {
            return Err(quoted("scheme", text, &NAMES));
        }
        Expr::Lit(literal) => {
            let fix = "a scheme is the path of a `KeyScheme`; write `Sha1`, `Crc32`, `Md5`, \
                       `Sha256`, another of `advisory_core::scheme`, or your own";
            return Err(Error::new_spanned(literal, fix));
        }
        Expr::Path(path) => scheme_name(path).map(|name| Scheme::Named(name, None)),
        Expr::Call(call) => match ungroup(&call.func) {
            Expr::Path(path) => {
                scheme_name(path).map(|name| Scheme::Named(name, Some(call.args.clone())))
            }
            _ => None,
        },
        _ => None,
    };
    Ok(Some(scheme.unwrap_or_else(|| Scheme::Expr(value.clone()))))
}

/// Returns a name that may belong to the library, or `None` for a path that names its module.
fn scheme_name(path: &ExprPath) -> Option<SchemeName> {
    let segments = &path.path.segments;
    let first = segments[0].ident.to_string();
    let is_type = first.starts_with(char::is_uppercase) && first != "Self";
    let is_keyword = ["self", "Self", "super", "crate"].contains(&first.as_str());
    let is_relative = path.qself.is_none() && path.path.leading_colon.is_none() && !is_keyword;
    let is_bare = is_relative && (is_type || segments.len() == 1);
    is_bare.then(|| SchemeName {
        path: path.clone(),
        is_type,
    })
}

#[cfg(test)]
mod tests {
    use quote::ToTokens as _;

    use super::*;
    use crate::errors::messages;

    fn parse(value: &str) -> Result<Option<Scheme>> {
        scheme(&Args::from_text(&format!("scheme = {value}"))?)
    }

    #[test]
    fn bare_names_may_belong_to_the_library() {
        for (value, called, is_type) in [
            ("Sha256", false, true),
            ("(Sha256)", false, true),
            ("Pals::app", false, true),
            ("Pals::app(\"a\")", true, true),
            ("sha256", false, false),
            ("mine(7)", true, false),
        ] {
            let Ok(Some(Scheme::Named(name, arguments))) = parse(value) else {
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
    fn other_expressions_are_unchanged() {
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
            let Ok(Some(Scheme::Expr(expr))) = parse(value) else {
                panic!("{value} is an expression");
            };
            let expr = expr.to_token_stream().to_string();
            assert_eq!(expr.replace(' ', ""), value.replace(' ', ""));
        }
    }

    #[test]
    fn text_is_refused() {
        assert!(messages(parse("\"md5\""))[0].ends_with("write `scheme = Md5`"));
        assert!(messages(parse("\"md4\""))[0].contains("write `Sha1`"));
    }
}
