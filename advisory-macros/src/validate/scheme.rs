//! The rules for the scheme, which turns text into keys.

use syn::{Error, Expr, ExprPath, LitStr, Result};

use super::{text, ungroup};
use crate::args::{Args, quoted};
use crate::model::{Scheme, SchemeName};

const NAMES: [&str; 4] = ["Sha1", "Crc32", "Md5", "Sha256"];

pub(super) fn scheme(args: &Args) -> Result<Option<Scheme>> {
    let Some(scheme) = &args.scheme else {
        return Ok(None);
    };
    let value = ungroup(&scheme.value);
    let is_name = |text: &&LitStr| NAMES.iter().any(|n| text.value().eq_ignore_ascii_case(n));
    if let Some(text) = text(value).filter(is_name) {
        return Err(quoted("scheme", text, &NAMES));
    }
    let scheme = match value {
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
