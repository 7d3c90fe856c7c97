use quote::ToTokens as _;

use super::*;
use crate::errors::messages;
use crate::model::{Interval, Key, Keys, Lock, Scheme, Target, Wait};

/// Arguments, parameters (by default a pool), and the end of the only message, beyond the UI cases.
const REFUSED: &str = r#"
    key = "a" timeout = 2, shared ||| expected `,` before `timeout`; options are separated by commas
    tx = "locked_tx" ||| write `tx = locked_tx`
    isolation = "none" ||| write `ReadCommitted` or `RepeatableRead` or `Serializable`
    isolation = 1 ||| expected `ReadCommitted` or `RepeatableRead` or `Serializable`
    scheme = "md4" ||| another of `advisory_core::scheme`, or your own
    key = -5, scheme = Md5 ||| remove `scheme`, or write text
    on = pool ||| self: Arc<Self> ||| write `key = "….f"`
    side_effect = Skip ||| add `timeout = 0` not to wait, or a number of seconds
    ||| pool: &PgPool, tx: &mut PgTransaction<'_> ||| name one of them, as in `on = pool`
    tx = a ||| pool: &PgPool, (a, b): (u8, u8) ||| another name, as in `tx = locked`
    key = 1 ||| &self, db: &Db ||| if `db` is one, write `on = db`
    ||| State(state): State<SqlPool> ||| if `state` is one, write `on = state`
    ||| main: Arc<Database> ||| if `main` is one, write `on = main`
    ||| Extension(Shared { tx, .. }): Extension<Shared> ||| if `tx` is one, write `on = tx`
    ||| db: &Db, conn: &Other ||| name what to lock on with `on = …`
    ||| State((pool, id)): State<(PgPool, u8)> ||| name what to lock on with `on = …`
    ||| tx: Option<&mut PgTransaction<'_>> ||| name what to lock on with `on = …`
    ||| pools: &[PgPool] ||| name what to lock on with `on = …`
    ||| pool: impl AsRef<PgPool> ||| name what to lock on with `on = …`
    ||| ctx: &Context, feedback: &Feedback, State(state): State<AppState> ||| with `on = …`
    key = "{{{b.c:>4}}}{d}{e(1)}" ||| write `format!("{{{:>4}}}{d}{}", b.c, e(1))`
    keys = [1, "{A::B:?}"] ||| write `format!("{:?}", A::B)`
    key = "{a[\"b\"]}" ||| write `format!("{}", a["b"])`
    key = "{a b}" ||| write `format!("sync({})", request.id)`, or `{{` for a brace
    key = "a{}" ||| as in `{id}`, or write `format!("a{}", …)`
    key = "{b}{1:>4}" ||| as in `{id}`, or write `format!("{b}{1:>4}", …)`
    timout = 1, side_effect = Skip ||| found `timout`
    onn = db ||| &self ||| found `onn`
"#;

fn parse(args: &str, parameters: &str) -> Result<Model> {
    let mut errors = Errors::default();
    let args = Args::parse(args.parse()?, &mut errors);
    let function = format!("async fn f({parameters}) -> Result<(), Error> {{}}");
    validate(&args, errors.handle(syn::parse_str(&function)), errors)
}

fn lock(args: &str) -> Lock {
    parse(args, "pool: &PgPool").expect(args).lock
}

/// The kind of the target, and the name of its transaction.
fn target(args: &str, parameters: &str) -> String {
    let tx_of = |tx: Option<syn::Ident>| tx.map_or(String::new(), |tx| format!(" {tx}"));
    match parse(args, parameters).expect(args).target {
        Target::Transaction(_) => "transaction".to_owned(),
        Target::Connection(_) => "connection".to_owned(),
        Target::Pool { tx, .. } => format!("pool{}", tx_of(tx)),
        Target::Expr { tx, .. } => format!("expression{}", tx_of(tx)),
    }
}

#[test]
fn every_mistake_is_one_error_with_the_fix() {
    for row in REFUSED.lines().map(str::trim).filter(|row| !row.is_empty()) {
        let columns: Vec<_> = row.split("|||").map(str::trim).collect();
        let (args, parameters, fix) = match columns[..] {
            [args, fix] => (args, "pool: &PgPool", fix),
            [args, parameters, fix] => (args, parameters, fix),
            _ => panic!("{row}"),
        };
        let messages = messages(parse(args, parameters));
        assert!(
            messages.len() == 1 && messages[0].ends_with(fix),
            "{row}: {messages:?}"
        );
    }
}

#[test]
fn independent_errors_are_reported_together() {
    let args = "keys = [\"\", \"\"], scheme = \"md5\", timeout = -1, tx";
    assert_eq!(messages(parse(args, "conn: PgConnection")).len(), 6);
}

#[test]
fn correct_arguments_are_accepted() {
    for args in [
        "timeout = None, side_effect = Raise",
        "timeout = 0, side_effect = Skip",
        "timeout = limit, side_effect = Skip",
        "key = five, scheme = Md5",
        "keys = [\"a{b}\", \"{b:?}\", \"{b:>4}\", \"{b::>4}\", \"{b:w$}\", \"{ b }\", \"{self}\"]",
        // `format!` reports what is wrong with the last four.
        "keys = [\"{{b.c}}\", \"{{{b}}}\", \"{\", \"a{b\", \"{b:!}\", \"}{b.c\"]",
    ] {
        assert!(parse(args, "pool: &PgPool").is_ok(), "{args}");
    }
    assert!(parse("key = \"a\"", "&self, pool: &PgPool").is_ok());
}

#[test]
fn only_braces_make_a_template() {
    let key = |key: &str| lock(&format!("key = {key}")).keys;
    assert!(matches!(key("\"a\""), Keys::One(Key::Text(_))));
    assert!(matches!(key("\"a{b}\""), Keys::One(Key::Template(_))));
    assert!(matches!(key("(r\"}}\")"), Keys::One(Key::Template(_))));
    assert!(matches!(key("format!(\"a\")"), Keys::One(Key::Expr(_))));
}

#[test]
fn numbers_without_a_suffix_are_i64() {
    for row in ["5 5i64", "-5 -5i64", "5u32 5u32", "(1,2) (1,2)"] {
        let (key, expected) = row.split_once(' ').unwrap();
        let Keys::One(Key::Expr(expr)) = lock(&format!("key = {key}")).keys else {
            panic!("{key} is an expression");
        };
        assert_eq!(
            expr.to_token_stream().to_string().replace(' ', ""),
            expected
        );
    }
}

#[test]
fn keys_are_the_path_a_list_or_an_iterator() {
    assert!(matches!(lock("").keys, Keys::FunctionPath(name) if name == "f"));
    assert!(matches!(lock("keys = [\"a\", 1, b]").keys, Keys::List(keys) if keys.len() == 3));
    assert!(matches!(lock("keys = ids.iter()").keys, Keys::Iterator(_)));
}

#[test]
fn numbers_are_seconds() {
    let timeout = |timeout: &str| match lock(&format!("timeout = {timeout}")).wait {
        Some(Wait::For(Interval::Seconds(duration))) => duration.as_millis(),
        _ => panic!("{timeout} is a number"),
    };
    assert_eq!(timeout("0"), 0);
    assert_eq!(timeout("1_000u64"), 1_000_000);
    assert_eq!(timeout("2f64"), 2_000);
    assert_eq!(timeout("1.5"), 1_500);
    assert_eq!(timeout("25e-2_f32"), 250);
    assert_eq!(timeout("18446744073709551615"), u128::from(u64::MAX) * 1000);
}

#[test]
fn other_timeouts_are_left_to_the_compiler() {
    assert!(matches!(lock("timeout = None").wait, Some(Wait::Forever)));
    for args in ["timeout = self.wait", "timeout = -limit()"] {
        assert!(
            matches!(lock(args).wait, Some(Wait::For(Interval::Expr(_)))),
            "{args}"
        );
    }
    assert!(lock("shared").wait.is_none());
}

#[test]
fn bare_schemes_may_belong_to_the_library() {
    for scheme in [
        "Sha256",
        "(Sha256)",
        "Pals::app",
        "Pals::app(1)",
        "sha256",
        "mine(7)",
    ] {
        let Some(Scheme::Named(name, arguments)) = lock(&format!("scheme = {scheme}")).scheme
        else {
            panic!("{scheme} is a name");
        };
        assert_eq!(arguments.is_some(), scheme.contains(['1', '7']), "{scheme}");
        assert_eq!(name.is_type, scheme.contains(['S', 'P']), "{scheme}");
    }
}

#[test]
fn other_schemes_are_unchanged() {
    let schemes = "self::Mine crate::Mine super::Mine Self::SCHEME ::mine::Mine mine::Mine \
                   <Mine>::default() |name:&str|7 mine.scheme()";
    for scheme in schemes.split(' ') {
        let Some(Scheme::Expr(expr)) = lock(&format!("scheme = {scheme}")).scheme else {
            panic!("{scheme} is an expression");
        };
        assert_eq!(expr.to_token_stream().to_string().replace(' ', ""), scheme);
    }
}

#[test]
fn the_only_target_is_taken() {
    assert_eq!(target("", "id: u8, pool: &PgPool"), "pool");
    assert_eq!(target("", "mut tx: PgTransaction<'_>"), "transaction");
    assert_eq!(target("", "_: &mut PgConnection"), "connection");
}

#[test]
fn on_names_the_target() {
    const BOTH: &str = "pool: &PgPool, tx: &mut PgTransaction<'_>";
    for on in ["on = tx", "on = (tx)", "on = &mut *tx"] {
        assert_eq!(target(on, BOTH), "transaction", "{on}");
    }
    assert_eq!(target("on = pool.clone()", BOTH), "expression");
    assert_eq!(target("on = other", "other: &Database"), "expression");
}

#[test]
fn tx_names_the_transaction_opened_on_a_pool() {
    assert_eq!(target("tx", "pool: PgPool"), "pool tx");
    assert_eq!(
        target("key = 1, on = self.pool, tx = a", "&self"),
        "expression a"
    );
}
