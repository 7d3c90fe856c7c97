//! The parameters of a function that a lock can be taken on.

use proc_macro2::{Span, TokenStream, TokenTree};
use quote::{ToTokens as _, quote};
use syn::{
    FnArg, GenericArgument, Ident, Pat, PatIdent, PatType, PathArguments, PathSegment, Signature,
    Token, Type,
};

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    Transaction,
    /// sea-orm's, which is shared.
    SeaOrmTransaction,
    Connection,
    Pool,
    LockSession,
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
        let arguments = sig.inputs.iter().enumerate();
        let parameters = arguments.filter_map(|(index, arg)| Self::from_argument(index, arg));
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

/// Returns the names that the parameters bind.
pub(crate) fn names(sig: &Signature) -> Vec<&Ident> {
    let patterns = typed(sig).map(|argument| &*argument.pat);
    patterns.flat_map(bindings).collect()
}

/// Returns whether the pattern of a parameter mentions the name.
pub(crate) fn is_parameter(name: &str, sig: &Signature) -> bool {
    typed(sig).any(|argument| mentions(argument.pat.to_token_stream(), name))
}

/// Returns the parameters that may be a target whose type has another name, each with its type.
pub(crate) fn candidates(sig: &Signature) -> Vec<(&Ident, &Type)> {
    typed(sig)
        .filter_map(|argument| candidate(argument, sig))
        .collect()
}

fn candidate<'a>(argument: &'a PatType, sig: &Signature) -> Option<(&'a Ident, &'a Type)> {
    let (pattern, ty) = (&*argument.pat, &*argument.ty);
    let [name] = bindings(pattern)[..] else {
        return None;
    };
    // A type parameter is not a target, nor is `Option<_>`, unless the pattern opens it.
    let is_plain = last_segment(pointee(ty)).is_some_and(|last| {
        let mut parameters = sig.generics.type_params();
        last_argument(last).is_none() && parameters.all(|parameter| parameter.ident != last.ident)
    });
    let may_be_target = is_plain || !matches!(pattern, Pat::Ident(_));
    (may_be_target && mentions_target(&quote!(#name #ty).to_string())).then_some((name, ty))
}

fn typed(sig: &Signature) -> impl Iterator<Item = &PatType> {
    sig.inputs.iter().filter_map(|argument| match argument {
        FnArg::Typed(argument) => Some(argument),
        FnArg::Receiver(_) => None,
    })
}

fn bindings(pattern: &Pat) -> Vec<&Ident> {
    match pattern {
        Pat::Ident(pattern) => vec![&pattern.ident],
        Pat::Paren(pattern) => bindings(&pattern.pat),
        Pat::Reference(pattern) => bindings(&pattern.pat),
        Pat::Struct(pattern) => {
            let fields = pattern.fields.iter().map(|field| &*field.pat);
            fields.flat_map(bindings).collect()
        }
        Pat::Tuple(pattern) => pattern.elems.iter().flat_map(bindings).collect(),
        Pat::TupleStruct(pattern) => pattern.elems.iter().flat_map(bindings).collect(),
        _ => Vec::new(),
    }
}

/// Returns whether a word in the text, as `pool` in `PgPool` and `main_pool`, stands for a target.
fn mentions_target(text: &str) -> bool {
    const WORDS: &str = "pool db database conn connection tx transaction";
    let separate = |c: char| [c.is_uppercase().then_some(' '), Some(c)];
    let text: String = text.chars().flat_map(separate).flatten().collect();
    let mut words = text.split(|c: char| !c.is_alphanumeric());
    words.any(|word| {
        WORDS
            .split(' ')
            .any(|target| word.eq_ignore_ascii_case(target))
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
    let kind = match shared_kind(inner) {
        Some(kind) => kind,
        None => exclusive_kind(last_segment(inner)?)?,
    };
    Some((kind, ownership))
}

fn exclusive_kind(segment: &PathSegment) -> Option<Kind> {
    match segment.ident.to_string().as_str() {
        "PgTransaction" => Some(Kind::Transaction),
        "Transaction" if is_of_postgres(segment) => Some(Kind::Transaction),
        "DatabaseTransaction" => Some(Kind::SeaOrmTransaction),
        "PgConnection" => Some(Kind::Connection),
        "PoolConnection" if is_of_postgres(segment) => Some(Kind::Connection),
        _ => None,
    }
}

fn shared_kind(ty: &Type) -> Option<Kind> {
    let segment = last_segment(pointee(ty))?;
    match segment.ident.to_string().as_str() {
        // sea-orm's connection is a pool.
        "PgPool" | "DatabaseConnection" | "DbConn" => Some(Kind::Pool),
        "Pool" if is_of_postgres(segment) => Some(Kind::Pool),
        "LockSession" => Some(Kind::LockSession),
        _ => None,
    }
}

/// Removes references and smart pointers.
fn pointee(ty: &Type) -> &Type {
    if let Type::Reference(reference) = ungroup(ty) {
        return pointee(&reference.elem);
    }
    let is_pointer = |last: &&PathSegment| ["Arc", "Rc", "Box"].iter().any(|p| last.ident == p);
    let inner = last_segment(ty).filter(is_pointer).and_then(last_argument);
    inner.map_or(ty, pointee)
}

fn is_of_postgres(segment: &PathSegment) -> bool {
    let database = last_argument(segment).and_then(last_segment);
    database.is_some_and(|database| database.ident == "Postgres")
}

/// Returns the last type argument of the type with this name.
pub(crate) fn argument_of<'a>(ty: &'a Type, name: &str) -> Option<&'a Type> {
    let segment = last_segment(ty).filter(|segment| segment.ident == name);
    segment.and_then(last_argument)
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
