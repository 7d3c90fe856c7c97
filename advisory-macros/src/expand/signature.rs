//! The function's parameters as the lock needs them.

use proc_macro2::Span;
use syn::{FnArg, Pat, PatIdent, Signature, Token};

use crate::model::{Model, Target};
use crate::parameter::{Kind, Parameter, Passing};

pub(super) fn signature(model: &Model) -> Signature {
    let mut sig = model.function.sig.clone();
    let (Target::Transaction(parameter)
    | Target::Connection(parameter)
    | Target::Pool { parameter, .. }) = &model.target
    else {
        return sig;
    };
    if let FnArg::Typed(argument) = &mut sig.inputs[parameter.index] {
        *argument.pat = pattern(parameter);
    }
    sig
}

/// The parameter as the lock needs it: a name for `_`, `mut` where it is borrowed by `&mut`, and none where the body sees
/// another binding of that name.
fn pattern(parameter: &Parameter) -> Pat {
    let mutability = match (parameter.kind, parameter.passing) {
        (Kind::Connection, _) => None,
        (Kind::Transaction, Passing::Owned) => Some(Token![mut](Span::mixed_site())),
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
