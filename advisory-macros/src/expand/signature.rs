//! The signature of the expanded function.

use proc_macro2::Span;
use syn::{FnArg, Pat, PatIdent, Signature, Token};

use crate::model::{Model, Target};
use crate::parameter::{Kind, Ownership, Parameter};

pub(super) fn signature(model: &Model) -> Signature {
    let mut sig = model.function.outer_sig.clone();
    let (Target::Transaction(parameter)
    | Target::Connection(parameter)
    | Target::Expr {
        parameter: Some(parameter),
        ..
    }) = &model.target
    else {
        return sig;
    };
    if let FnArg::Typed(argument) = &mut sig.inputs[parameter.index] {
        *argument.pat = pattern(parameter);
    }
    sig
}

/// Returns the pattern of the parameter that is locked on.
///
/// `_` becomes a name. A transaction by value becomes `mut`, because the lock borrows it mutably. A
/// connection loses its `mut`, because the body sees another binding of the same name.
fn pattern(parameter: &Parameter) -> Pat {
    let mutability = match (parameter.kind, parameter.ownership) {
        (Kind::Connection, _) => None,
        (Kind::Transaction, Ownership::Owned) => Some(Token![mut](Span::mixed_site())),
        _ => parameter.mutability,
    };
    Pat::Ident(PatIdent {
        attrs: Vec::new(),
        by_ref: None,
        mutability,
        ident: parameter.name.clone(),
        subpat: None,
    })
}
