//! The meaning of the arguments and the function together.

use syn::punctuated::Punctuated;
use syn::{Expr, ExprPath, Ident, Path, Token, Type};

use crate::args::{Scope, SideEffect};
use crate::function::Function;
use crate::parameter::Parameter;

pub(crate) struct Model {
    pub(crate) function: Function,
    /// The function's return type, with `_` in place of each `impl Trait`.
    pub(crate) output: Type,
    pub(crate) krate: Option<Path>,
    pub(crate) lock: Lock,
    /// Converts the error of the lock, instead of `From`.
    pub(crate) map_err: Option<Expr>,
    pub(crate) side_effect: SideEffect,
    pub(crate) scope: Scope,
    pub(crate) target: Target,
}

pub(crate) struct Lock {
    pub(crate) keys: Keys,
    pub(crate) scheme: Option<Scheme>,
    pub(crate) shared: bool,
    pub(crate) permits: Option<Expr>,
    pub(crate) wait: Option<Wait>,
    pub(crate) polling: Option<Expr>,
    pub(crate) at_least: Option<Expr>,
    pub(crate) every: Option<Every>,
    pub(crate) isolation: Option<Isolation>,
    pub(crate) cancel_via: Option<Expr>,
}

pub(crate) enum Keys {
    /// The path of the function, which has this name.
    FunctionPath(String),
    One(Expr),
    List(Vec<Expr>),
    /// An expression that yields the keys.
    Iterator(Expr),
}

pub(crate) enum Scheme {
    /// A name such as `Sha256`, or a call such as `Pals::app("…")`.
    Named(SchemeName, Option<Arguments>),
    Expr(Expr),
}

pub(crate) type Arguments = Punctuated<Expr, Token![,]>;

/// A name that may belong to the library.
pub(crate) struct SchemeName {
    pub(crate) path: ExprPath,
    /// Whether the name is written as a type is.
    pub(crate) is_type: bool,
}

pub(crate) enum Wait {
    For(Expr),
    Forever,
}

/// The periods in which the function runs once.
pub(crate) struct Every {
    pub(crate) length: Expr,
    pub(crate) offset: Option<Expr>,
    pub(crate) table: Option<PeriodTable>,
}

/// The table with the marks of the periods.
pub(crate) enum PeriodTable {
    Named {
        schema: Option<String>,
        table: String,
    },
    Expr(Expr),
}

pub(crate) enum Isolation {
    Level(Ident),
    Expr(Expr),
}

pub(crate) enum Target {
    /// The body runs in the caller's transaction.
    Transaction(Parameter),
    /// The body uses the connection through the scope that holds the lock.
    Connection(Parameter),
    /// The attribute opens a transaction on the pool, or on the connection, and binds it to `tx`
    /// for the body. Only the compiler knows which, unless the expression is a parameter.
    Expr {
        expr: Expr,
        parameter: Option<Parameter>,
        tx: Option<Ident>,
    },
}
