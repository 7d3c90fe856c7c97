//! The parameters of a function that a lock can be taken on.

use proc_macro2::{Span, TokenStream, TokenTree};
use quote::ToTokens as _;
use syn::{
    FnArg, GenericArgument, Ident, Pat, PatIdent, PathArguments, PathSegment, Signature, Token,
    Type,
};

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    Transaction,
    Connection,
    Pool,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Ownership {
    Owned,
    Shared,
    Mutable,
}

#[derive(Clone)]
pub(crate) struct Parameter {
    pub(crate) index: usize,
    pub(crate) mutability: Option<Token![mut]>,
    /// A generated name where the pattern is `_`.
    pub(crate) name: Ident,
    pub(crate) kind: Kind,
    pub(crate) ownership: Ownership,
    pub(crate) ty: Type,
}

impl Parameter {
    pub(crate) fn all(sig: &Signature) -> Vec<Self> {
        let parameters = sig.inputs.iter().enumerate();
        let parameters =
            parameters.filter_map(|(index, argument)| Self::from_argument(index, argument));
        parameters.collect()
    }

    fn from_argument(index: usize, argument: &FnArg) -> Option<Self> {
        let FnArg::Typed(argument) = argument else {
            return None;
        };
        let (kind, ownership) = classify(&argument.ty)?;
        let (mutability, name) = binding(&argument.pat)?;
        Some(Self {
            index,
            mutability,
            name,
            kind,
            ownership,
            ty: (*argument.ty).clone(),
        })
    }
}

/// Returns the names of all parameters that are plain identifiers.
pub(crate) fn names(sig: &Signature) -> Vec<&Ident> {
    let names = sig.inputs.iter().filter_map(|argument| match argument {
        FnArg::Typed(argument) => match &*argument.pat {
            Pat::Ident(pattern) => Some(&pattern.ident),
            _ => None,
        },
        FnArg::Receiver(_) => None,
    });
    names.collect()
}

/// Returns whether the pattern of a parameter mentions the name.
pub(crate) fn is_parameter(name: &Ident, sig: &Signature) -> bool {
    sig.inputs.iter().any(|argument| match argument {
        FnArg::Typed(argument) => mentions(argument.pat.to_token_stream(), &name.to_string()),
        FnArg::Receiver(_) => false,
    })
}

/// Returns whether the tokens contain the name, at any depth.
pub(crate) fn mentions(tokens: TokenStream, name: &str) -> bool {
    tokens.into_iter().any(|token| match token {
        TokenTree::Ident(word) => word == name,
        TokenTree::Group(group) => mentions(group.stream(), name),
        _ => false,
    })
}

fn binding(pattern: &Pat) -> Option<(Option<Token![mut]>, Ident)> {
    match pattern {
        Pat::Ident(PatIdent {
            by_ref: None,
            mutability,
            ident,
            subpat: None,
            ..
        }) => Some((*mutability, ident.clone())),
        Pat::Wild(wild) => {
            let span = Span::mixed_site().located_at(wild.underscore_token.span);
            Some((None, Ident::new("parameter", span)))
        }
        _ => None,
    }
}

fn classify(ty: &Type) -> Option<(Kind, Ownership)> {
    let (ownership, inner) = match ungroup(ty) {
        Type::Reference(reference) if reference.mutability.is_some() => {
            (Ownership::Mutable, &*reference.elem)
        }
        Type::Reference(reference) => (Ownership::Shared, &*reference.elem),
        owned => (Ownership::Owned, owned),
    };
    let kind = if is_pool(inner) {
        Kind::Pool
    } else {
        exclusive_kind(last_segment(inner)?)?
    };
    Some((kind, ownership))
}

fn exclusive_kind(segment: &PathSegment) -> Option<Kind> {
    match segment.ident.to_string().as_str() {
        "PgTransaction" => Some(Kind::Transaction),
        "Transaction" if is_of_postgres(segment) => Some(Kind::Transaction),
        "PgConnection" => Some(Kind::Connection),
        "PoolConnection" if is_of_postgres(segment) => Some(Kind::Connection),
        _ => None,
    }
}

fn is_pool(ty: &Type) -> bool {
    if let Type::Reference(reference) = ungroup(ty) {
        return is_pool(&reference.elem);
    }
    let Some(segment) = last_segment(ty) else {
        return false;
    };
    match segment.ident.to_string().as_str() {
        "PgPool" => true,
        "Pool" => is_of_postgres(segment),
        "Arc" | "Rc" | "Box" => last_argument(segment).is_some_and(is_pool),
        _ => false,
    }
}

fn is_of_postgres(segment: &PathSegment) -> bool {
    let database = last_argument(segment).and_then(last_segment);
    database.is_some_and(|database| database.ident == "Postgres")
}

pub(crate) fn last_argument(segment: &PathSegment) -> Option<&Type> {
    let PathArguments::AngleBracketed(arguments) = &segment.arguments else {
        return None;
    };
    match arguments.args.last()? {
        GenericArgument::Type(ty) => Some(ty),
        _ => None,
    }
}

pub(crate) fn last_segment(ty: &Type) -> Option<&PathSegment> {
    match ungroup(ty) {
        Type::Path(path) => path.path.segments.last(),
        _ => None,
    }
}

/// Removes parentheses, and the invisible group around an argument of a `macro_rules!` macro.
fn ungroup(ty: &Type) -> &Type {
    match ty {
        Type::Group(group) => ungroup(&group.elem),
        Type::Paren(paren) => ungroup(&paren.elem),
        _ => ty,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn classify_text(ty: &str) -> Option<(Kind, Ownership)> {
        classify(&syn::parse_str(ty).unwrap())
    }

    #[test]
    fn transactions_are_recognized() {
        for ty in [
            "PgTransaction<'_>",
            "Transaction<'a, Postgres>",
            "sqlx::Transaction<'static, sqlx::Postgres>",
        ] {
            assert_eq!(
                classify_text(ty),
                Some((Kind::Transaction, Ownership::Owned)),
                "{ty}"
            );
            assert_eq!(
                classify_text(&format!("&mut {ty}")),
                Some((Kind::Transaction, Ownership::Mutable)),
                "{ty}"
            );
            assert_eq!(
                classify_text(&format!("&'a {ty}")),
                Some((Kind::Transaction, Ownership::Shared)),
                "{ty}"
            );
        }
    }

    #[test]
    fn connections_are_recognized() {
        for ty in [
            "PgConnection",
            "sqlx::PgConnection",
            "PoolConnection<Postgres>",
        ] {
            assert_eq!(
                classify_text(&format!("&mut {ty}")),
                Some((Kind::Connection, Ownership::Mutable)),
                "{ty}"
            );
        }
    }

    #[test]
    fn pools_are_recognized() {
        for ty in [
            "PgPool",
            "&PgPool",
            "&Pool<Postgres>",
            "Arc<PgPool>",
            "&Arc<PgPool>",
            "(std::sync::Arc<sqlx::PgPool>)",
        ] {
            assert_eq!(
                classify_text(ty).map(|(kind, _)| kind),
                Some(Kind::Pool),
                "{ty}"
            );
        }
    }

    #[test]
    fn other_types_are_not_recognized() {
        for ty in [
            "&str",
            "MySqlPool",
            "Pool<MySql>",
            "Transaction<'_, Sqlite>",
            "Transaction",
            "Vec<PgPool>",
            "&[PgPool]",
            "impl A",
        ] {
            assert_eq!(classify_text(ty), None, "{ty}");
        }
    }
}
