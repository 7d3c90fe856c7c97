//! What the arguments and the function mean together.

use std::time::Duration;

use syn::punctuated::Punctuated;
use syn::{Expr, ExprPath, Ident, LitStr, Path, Token, Type};

use crate::args::{Scope, SideEffect};
use crate::function::Function;
use crate::parameter::Parameter;

pub(crate) struct Model {
    pub(crate) function: Function,
    /// The function's return type, its `impl Trait`s left to inference.
    pub(crate) output: Type,
    pub(crate) krate: Option<Path>,
    pub(crate) lock: Lock,
    pub(crate) side_effect: SideEffect,
    pub(crate) scope: Scope,
    pub(crate) target: Target,
}

pub(crate) struct Lock {
    pub(crate) keys: Keys,
    pub(crate) scheme: Option<Scheme>,
    pub(crate) shared: bool,
    pub(crate) wait: Option<Wait>,
    pub(crate) polling: Option<Interval>,
    pub(crate) isolation: Option<Isolation>,
    pub(crate) cancel_via: Option<Expr>,
}

pub(crate) enum Keys {
    /// The path of the function of this name.
    Path(String),
    One(Key),
    List(Vec<Key>),
    /// An expression that yields them.
    Each(Expr),
}

pub(crate) enum Key {
    Text(LitStr),
    Template(LitStr),
    Value(Expr),
}

pub(crate) enum Scheme {
    /// `Sha256`; or called, `Pals::app("…")`.
    Named(Named, Option<Arguments>),
    Value(Expr),
}

pub(crate) type Arguments = Punctuated<Expr, Token![,]>;

/// A name that is looked for in the library, too.
pub(crate) struct Named {
    pub(crate) path: ExprPath,
    /// Written as types are.
    pub(crate) is_type: bool,
}

pub(crate) enum Wait {
    For(Interval),
    Forever,
}

pub(crate) enum Interval {
    Seconds(Duration),
    Value(Expr),
}

pub(crate) enum Isolation {
    Level(Ident),
    Value(Expr),
}

pub(crate) enum Target {
    /// The body runs in the caller's transaction.
    Transaction(Parameter),
    /// The body sees the connection through its scope.
    Connection(Parameter),
    /// The body runs beside a transaction on the pool, which `tx` names.
    Pool {
        parameter: Parameter,
        tx: Option<Ident>,
    },
    /// The type decides, which only the compiler knows.
    Place { place: Expr, tx: Option<Ident> },
}
