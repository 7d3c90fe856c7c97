//! Fuzz tests: any input expands to a function or to a `compile_error!`, and never panics.

mod mutation;
mod token;

use proc_macro2::TokenStream;
use proptest::prelude::*;
use proptest::sample::select;

use crate::expand_advisory;
use crate::function::Function;
use mutation::{mutate, mutations};
use token::{options, tokens};

/// Correct arguments, and below them functions, such that each goes with one of the others.
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
    "#[doc = \"a\"] pub(crate) async fn f<'a, T: A>(_: &Pool<Postgres>, b: &'a T) \
     -> Result<impl B + 'a, E> where T: C { #![allow(dead_code)] b.c().await? }",
    "async fn f(tx: &mut PgTransaction<'_>, id: i64) -> Result<Option<u64>, sqlx::Error> \
     { Ok(None) }",
    "async fn f(mut tx: Transaction<'static, Postgres>) -> Result<(), Error> { tx.commit().await }",
    "async fn r#loop(&self, (a, b): (u8, u8), conn: &mut PoolConnection<Postgres>) \
     -> Result<(), Error> { Ok(()) }",
    "#[test] fn f() -> Result<(), Error> { let body = async { work(pool).await }; run(body) }",
    "fn f(pool: &PgPool, __arg1: (u8, u8)) -> Pin<Box<dyn Future<Output = Result<(), Error>>>> \
     { Box::pin(async move { let (a, b) = { let __arg1 = __arg1; __arg1 }; work(a).await }) }",
    "impl Jobs { async fn f(&self) -> Result<(), Error> { Ok(()) } }",
];

fn is_refused(expanded: &TokenStream) -> bool {
    expanded.to_string().contains("compile_error")
}

/// Checks that the input is refused or becomes a function with a lock, the same one every time.
fn check(args: &TokenStream, item: &TokenStream) -> Result<(), TestCaseError> {
    let expanded = expand_advisory(args.clone(), item.clone());
    let text = expanded.to_string();
    let again = expand_advisory(args.clone(), item.clone()).to_string();
    prop_assert_eq!(&text, &again);
    if !is_refused(&expanded) {
        prop_assert!(text.contains("__private"), "{}", text);
        let function = syn::parse2::<Function>(expanded);
        prop_assert!(function.is_ok(), "{}", text);
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1024))]

    #[test]
    fn random_input(
        args in prop_oneof![tokens(), options()],
        item in prop_oneof![tokens(), select(FUNCTIONS).prop_map(|item| mutate(item, &[]))],
    ) {
        check(&args, &item)?;
    }

    #[test]
    fn mutated_input(
        args in select(ARGUMENTS), changes_of_args in mutations(),
        item in select(FUNCTIONS), changes_of_item in mutations(),
    ) {
        check(&mutate(args, &changes_of_args), &mutate(item, &changes_of_item))?;
    }
}

#[test]
fn the_inputs_of_the_mutations_are_accepted() {
    let accepts = |args, item| !is_refused(&expand_advisory(mutate(args, &[]), mutate(item, &[])));
    for args in ARGUMENTS {
        assert!(FUNCTIONS.iter().any(|item| accepts(args, item)), "{args}");
    }
    for item in FUNCTIONS.iter().filter(|item| !item.starts_with("impl")) {
        assert!(ARGUMENTS.iter().any(|args| accepts(args, item)), "{item}");
    }
}
