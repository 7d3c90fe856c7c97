//! Whatever stands in the attribute and under it: an expansion or a `compile_error!`, never a panic.

mod slip;
mod token;

use proc_macro2::TokenStream;
use proptest::prelude::*;
use proptest::sample::select;

use crate::function::Function;
use crate::locked;
use slip::{slipped, slips};
use token::{options, soup};

/// Right arguments, and functions under which each of them stands.
const ARGUMENTS: &[&str] = &[
    "",
    "key = \"sync({id})\", timeout = 2, side_effect = Skip",
    "key = \"a\", shared, polling = 0.1, scheme = Pals::app(\"b\"),",
    "keys = [\"account:{from}\", (1, 7), -42], timeout = None, isolation = Serializable",
    "keys = ids.iter().copied(), scheme = Sha256, timeout = Duration::ZERO",
    "key = \"a\", on = pool, tx = locked, crate = \"other::advisory_core\"",
    "key = format!(\"{}\", id), scope = session, on = self.pool",
    "key = 7, on = *conn.lock().await, cancel_via = &self.pool, scope = xact, crate = crate::locks",
];

const FUNCTIONS: &[&str] = &[
    "async fn f(pool: &PgPool) -> Result<(), Error> { work().await }",
    "#[doc = \"a\"] pub(crate) async fn f<'a, T: A>(_: &Pool<Postgres>, b: &'a T) -> Result<impl B + 'a, E> where T: C { \
     #![allow(dead_code)] b.c().await? }",
    "async fn f(tx: &mut PgTransaction<'_>, id: i64) -> Result<Option<u64>, sqlx::Error> { Ok(None) }",
    "async fn f(mut tx: Transaction<'static, Postgres>) -> Result<(), Error> { tx.commit().await }",
    "async fn r#loop(&self, (a, b): (u8, u8), conn: &mut PoolConnection<Postgres>) -> Result<(), Error> { Ok(()) }",
    "#[test] fn f() -> Result<(), Error> { let body = async { work(pool).await }; run(body) }",
    "impl Jobs { async fn f(&self) -> Result<(), Error> { Ok(()) } }",
];

fn tokens(text: &str) -> TokenStream {
    text.parse().expect("BUG: it is made of tokens")
}

fn is_refused(expanded: &TokenStream) -> bool {
    expanded.to_string().contains("compile_error")
}

/// Either it is refused, or it is a function that takes a lock; and the same again.
fn judge(args: &TokenStream, item: &TokenStream) -> Result<(), TestCaseError> {
    let expanded = locked(args.clone(), item.clone());
    let text = expanded.to_string();
    let again = locked(args.clone(), item.clone()).to_string();
    prop_assert_eq!(&text, &again);
    if !is_refused(&expanded) {
        prop_assert!(text.contains("__private"), "{}", text);
        let function = syn::parse2::<Function>(expanded);
        prop_assert!(function.is_ok(), "{}", text);
    }
    Ok(())
}

proptest! {
    #[test]
    fn soup_everywhere(args in soup(), item in soup()) {
        judge(&args, &item)?;
    }

    #[test]
    fn soup_in_the_attribute(args in soup(), item in select(FUNCTIONS)) {
        judge(&args, &tokens(item))?;
    }

    #[test]
    fn options_with_any_value(args in options(), item in select(FUNCTIONS)) {
        judge(&args, &tokens(item))?;
    }

    #[test]
    fn slips_in_the_attribute(args in select(ARGUMENTS), slips in slips(), item in select(FUNCTIONS)) {
        judge(&slipped(tokens(args), &slips), &tokens(item))?;
    }

    #[test]
    fn slips_in_the_function(args in select(ARGUMENTS), item in select(FUNCTIONS), slips in slips()) {
        judge(&tokens(args), &slipped(tokens(item), &slips))?;
    }
}

#[test]
fn what_the_slips_are_made_on_is_right() {
    for args in ARGUMENTS {
        let fits = |item: &&&str| !is_refused(&locked(tokens(args), tokens(item)));
        assert!(FUNCTIONS.iter().filter(fits).count() > 0, "{args}");
    }
    for item in FUNCTIONS.iter().filter(|item| !item.starts_with("impl")) {
        let fits = |args: &&&str| !is_refused(&locked(tokens(args), tokens(item)));
        assert!(ARGUMENTS.iter().filter(fits).count() > 0, "{item}");
    }
}
