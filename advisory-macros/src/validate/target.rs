//! Where the lock is taken.

use syn::{Error, Expr, Ident, Result, Signature, UnOp};

use super::bare;
use crate::args::{Args, Given};
use crate::mistake::Mistakes;
use crate::model::Target;
use crate::parameter::{Kind, Parameter, Passing, is_parameter};

pub(super) fn target(args: &Args, sig: &Signature) -> Result<Target> {
    let mut parameters = Parameter::all(sig);
    let Some(on) = &args.on else {
        return of_parameter(only(parameters, sig)?, args, sig);
    };
    let named = place_name(&on.value);
    match parameters
        .iter()
        .position(|parameter| named == Some(&parameter.name))
    {
        Some(index) => of_parameter(parameters.swap_remove(index), args, sig),
        None => Ok(Target::Place {
            place: on.value.clone(),
            tx: tx(args, sig)?,
        }),
    }
}

fn only(parameters: Vec<Parameter>, sig: &Signature) -> Result<Parameter> {
    let mut parameters = parameters.into_iter();
    match (parameters.next(), parameters.next()) {
        (Some(only), None) => Ok(only),
        (Some(first), Some(second)) => {
            let fix = format!(
                "both `{}` and `{}` can be locked on; choose one, as in `on = {0}`",
                first.name, second.name,
            );
            Err(Error::new_spanned(second.ty, fix))
        }
        (None, _) => {
            let on = sig.receiver().map_or("on = …", |_| "on = self.pool");
            let fix = format!(
                "no parameter is a PostgreSQL transaction, connection or pool; add one, or say where \
                 to lock with `{on}`"
            );
            Err(Error::new(sig.paren_token.span.join(), fix))
        }
    }
}

/// The name in `name`, `&name`, `&mut *name`.
fn place_name(on: &Expr) -> Option<&Ident> {
    match bare(on) {
        Expr::Path(path) => path.path.get_ident(),
        Expr::Reference(reference) => place_name(&reference.expr),
        Expr::Unary(unary) if matches!(unary.op, UnOp::Deref(_)) => place_name(&unary.expr),
        _ => None,
    }
}

fn of_parameter(parameter: Parameter, args: &Args, sig: &Signature) -> Result<Target> {
    let mut mistakes = Mistakes::default();
    mistakes.check(passing(&parameter));
    let tx = match (parameter.kind, &args.tx) {
        (Kind::Transaction | Kind::Connection, Some(tx)) => {
            mistakes.check(Err(tx_without_pool(tx, &parameter)))
        }
        _ => mistakes.check(tx(args, sig)),
    };
    let target = tx.map(|tx| match parameter.kind {
        Kind::Transaction => Target::Transaction(parameter),
        Kind::Connection => Target::Connection(parameter),
        Kind::Pool => Target::Pool { parameter, tx },
    });
    mistakes.none_in(target)
}

fn passing(parameter: &Parameter) -> Result<()> {
    let needed = match parameter.kind {
        Kind::Pool => return Ok(()),
        Kind::Transaction if parameter.passing == Passing::Owned => return Ok(()),
        Kind::Transaction => "a lock in a transaction needs it by `&mut`",
        Kind::Connection => {
            "a lock on a connection needs it by `&mut`, and leaves it to the caller"
        }
    };
    let fix = match parameter.passing {
        Passing::Mutable => return Ok(()),
        Passing::Shared => "write `&mut` instead of `&`",
        Passing::Owned => "write `&mut` before the type",
    };
    Err(Error::new_spanned(
        &parameter.ty,
        format!("{needed}; {fix}"),
    ))
}

fn tx_without_pool(tx: &Given<Ident>, parameter: &Parameter) -> Error {
    let name = &parameter.name;
    let fix = match parameter.kind {
        Kind::Transaction => {
            format!("the lock joins the transaction `{name}`, no other is opened; remove `tx`")
        }
        _ => format!("a transaction opened on `{name}` is used through `{name}`; remove `tx`"),
    };
    Error::new(tx.name, fix)
}

fn tx(args: &Args, sig: &Signature) -> Result<Option<Ident>> {
    let Some(Given { value: tx, .. }) = &args.tx else {
        return Ok(None);
    };
    if is_parameter(tx, sig) {
        let fix = format!(
            "`{tx}` is a parameter already; name the transaction otherwise, as in `tx = locked`"
        );
        return Err(Error::new(tx.span(), fix));
    }
    Ok(Some(tx.clone()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(args: &str, parameters: &str) -> Result<Target> {
        let mut mistakes = Mistakes::default();
        let args = Args::parse(args.parse().unwrap(), &mut mistakes);
        let args = mistakes.none_in(Some(args)).unwrap();
        let sig = format!("async fn f({parameters})");
        target(&args, &syn::parse_str(&sig).unwrap())
    }

    fn messages(args: &str, parameters: &str) -> Vec<String> {
        let mistakes = read(args, parameters)
            .err()
            .expect("the arguments are wrong");
        let messages = mistakes.into_iter().map(|mistake| mistake.to_string());
        messages.collect()
    }

    const BOTH: &str = "pool: &PgPool, tx: &mut PgTransaction<'_>";

    #[test]
    fn the_only_one_is_taken() {
        assert!(matches!(
            read("", "id: u8, pool: &PgPool"),
            Ok(Target::Pool { tx: None, .. })
        ));
        assert!(matches!(
            read("", "mut tx: PgTransaction<'_>"),
            Ok(Target::Transaction(_))
        ));
        assert!(matches!(
            read("", "_: &mut PgConnection"),
            Ok(Target::Connection(_))
        ));
    }

    #[test]
    fn one_of_several_is_chosen() {
        assert!(messages("", BOTH)[0].ends_with("choose one, as in `on = pool`"));
        for on in ["tx", "(tx)", "&mut *tx"] {
            let args = format!("on = {on}");
            assert!(
                matches!(read(&args, BOTH), Ok(Target::Transaction(_))),
                "{on}"
            );
        }
        assert!(matches!(
            read("on = pool.clone()", BOTH),
            Ok(Target::Place { .. })
        ));
        assert!(matches!(
            read("on = other", "other: &Database"),
            Ok(Target::Place { .. })
        ));
    }

    #[test]
    fn none_is_a_mistake() {
        assert!(messages("", "id: u8")[0].contains("`on = …`"));
        assert!(messages("", "&self, id: u8")[0].contains("`on = self.pool`"));
    }

    #[test]
    fn a_lock_needs_a_mutable_reference() {
        assert!(messages("", "tx: &PgTransaction<'_>")[0].ends_with("`&mut` instead of `&`"));
        assert!(messages("", "conn: &PgConnection")[0].ends_with("`&mut` instead of `&`"));
        assert!(messages("", "conn: PgConnection")[0].ends_with("`&mut` before the type"));
    }

    #[test]
    fn tx_names_what_is_opened_on_a_pool() {
        assert!(
            matches!(read("tx", "pool: PgPool"), Ok(Target::Pool { tx: Some(tx), .. }) if tx == "tx")
        );
        assert!(
            matches!(read("on = self.pool, tx = a", "&self"), Ok(Target::Place { tx: Some(tx), .. }) if tx == "a")
        );
        assert!(messages("tx", "tx: &mut PgTransaction<'_>")[0].ends_with("remove `tx`"));
        assert!(messages("tx = a", "conn: &mut PgConnection")[0].ends_with("remove `tx`"));
        assert!(
            messages("tx = a", "pool: &PgPool, (a, b): (u8, u8)")[0].contains("`a` is a parameter")
        );
    }

    #[test]
    fn each_mistake_is_told() {
        assert_eq!(messages("tx", "conn: PgConnection").len(), 2);
    }
}
