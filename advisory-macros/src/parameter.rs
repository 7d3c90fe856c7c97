//! Which of a function's parameters a lock can be taken on.

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
pub(crate) enum Passing {
    Owned,
    Shared,
    Mutable,
}

#[derive(Clone)]
pub(crate) struct Parameter {
    pub(crate) index: usize,
    pub(crate) mutability: Option<Token![mut]>,
    /// A generated one where the pattern is `_`.
    pub(crate) name: Ident,
    pub(crate) kind: Kind,
    pub(crate) passing: Passing,
    pub(crate) ty: Type,
}

impl Parameter {
    pub(crate) fn all(sig: &Signature) -> Vec<Self> {
        let parameters = sig.inputs.iter().enumerate();
        let parameters = parameters.filter_map(|(index, argument)| Self::read(index, argument));
        parameters.collect()
    }

    fn read(index: usize, argument: &FnArg) -> Option<Self> {
        let FnArg::Typed(argument) = argument else {
            return None;
        };
        let (kind, passing) = classify(&argument.ty)?;
        let (mutability, name) = binding(&argument.pat)?;
        Some(Self {
            index,
            mutability,
            name,
            kind,
            passing,
            ty: (*argument.ty).clone(),
        })
    }
}

/// The names of all plain parameters.
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

/// Whether some pattern binds the name.
pub(crate) fn is_parameter(name: &Ident, sig: &Signature) -> bool {
    sig.inputs.iter().any(|argument| match argument {
        FnArg::Typed(argument) => mentions(argument.pat.to_token_stream(), name),
        FnArg::Receiver(_) => false,
    })
}

fn mentions(tokens: TokenStream, name: &Ident) -> bool {
    tokens.into_iter().any(|token| match token {
        TokenTree::Ident(word) => word == *name,
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

fn classify(ty: &Type) -> Option<(Kind, Passing)> {
    let (passing, inner) = match bare(ty) {
        Type::Reference(reference) if reference.mutability.is_some() => {
            (Passing::Mutable, &*reference.elem)
        }
        Type::Reference(reference) => (Passing::Shared, &*reference.elem),
        owned => (Passing::Owned, owned),
    };
    let kind = if is_pool(inner) {
        Kind::Pool
    } else {
        exclusive_kind(last_segment(inner)?)?
    };
    Some((kind, passing))
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
    if let Type::Reference(reference) = bare(ty) {
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

fn last_argument(segment: &PathSegment) -> Option<&Type> {
    let PathArguments::AngleBracketed(arguments) = &segment.arguments else {
        return None;
    };
    match arguments.args.last()? {
        GenericArgument::Type(ty) => Some(ty),
        _ => None,
    }
}

fn last_segment(ty: &Type) -> Option<&PathSegment> {
    match bare(ty) {
        Type::Path(path) => path.path.segments.last(),
        _ => None,
    }
}

/// What a `macro_rules!` argument or parentheses wrap.
fn bare(ty: &Type) -> &Type {
    match ty {
        Type::Group(group) => bare(&group.elem),
        Type::Paren(paren) => bare(&paren.elem),
        _ => ty,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(ty: &str) -> Option<(Kind, Passing)> {
        classify(&syn::parse_str(ty).unwrap())
    }

    #[test]
    fn transactions() {
        for ty in [
            "PgTransaction<'_>",
            "Transaction<'a, Postgres>",
            "sqlx::Transaction<'static, sqlx::Postgres>",
        ] {
            assert_eq!(read(ty), Some((Kind::Transaction, Passing::Owned)), "{ty}");
            assert_eq!(
                read(&format!("&mut {ty}")),
                Some((Kind::Transaction, Passing::Mutable)),
                "{ty}"
            );
            assert_eq!(
                read(&format!("&'a {ty}")),
                Some((Kind::Transaction, Passing::Shared)),
                "{ty}"
            );
        }
    }

    #[test]
    fn connections() {
        for ty in [
            "PgConnection",
            "sqlx::PgConnection",
            "PoolConnection<Postgres>",
        ] {
            assert_eq!(
                read(&format!("&mut {ty}")),
                Some((Kind::Connection, Passing::Mutable)),
                "{ty}"
            );
        }
    }

    #[test]
    fn pools() {
        for ty in [
            "PgPool",
            "&PgPool",
            "&Pool<Postgres>",
            "Arc<PgPool>",
            "&Arc<PgPool>",
            "(std::sync::Arc<sqlx::PgPool>)",
        ] {
            assert_eq!(read(ty).map(|(kind, _)| kind), Some(Kind::Pool), "{ty}");
        }
    }

    #[test]
    fn others() {
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
            assert_eq!(read(ty), None, "{ty}");
        }
    }
}
