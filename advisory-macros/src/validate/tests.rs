use crate::errors::messages;
use crate::expand::expand;

use super::*;

/// Arguments, parameters (by default a pool), and the end of the only message, beyond the UI cases.
const REFUSED: &str = r#"
    key = "a" timeout = 2, shared ||| expected `,` before `timeout`; options are separated by commas
    timeout = 2 seconds, shared ||| expected `,` before `seconds`; options are separated by commas
    keys = ["a", ""] ||| name the thing to lock, as in `"sync({id})"`
    tx = "locked_tx" ||| write `tx = locked_tx`
    isolation = "none" ||| write `ReadCommitted` or `RepeatableRead` or `Serializable`
    isolation = 1 ||| expected `ReadCommitted` or `RepeatableRead` or `Serializable`
    scope = "statement" ||| write `xact` or `session`
    side_effect = "Return" ||| write `Raise` or `Skip`
    crate = 1 ||| expected the path of `advisory_core`, as in `crate = "other::advisory_core"`
    scheme = "md4" ||| another of `advisory_core::scheme`, or your own
    key = -5, scheme = Md5 ||| remove `scheme`, or write text
    keys = ["a", (1, -2)], scheme = Md5 ||| remove `scheme`, or write text
    on = pool ||| self: Arc<Self> ||| write `key = "….f"`
    ||| pool: &PgPool, jobs: &[Self] ||| write `key = "….f"`
    side_effect = Skip ||| add `timeout = 0` not to wait, or a number of seconds
    side_effect = Skip, polling = 0.1, scope = session ||| or a number of seconds
    key = a, side_effect = Skip ||| tx: &mut PgTransaction<'_>, a: Lock ||| or a number of seconds
    timeout = 500ms ||| as in `2` or `0.5`, a `Duration`, or `None` to wait indefinitely
    timeout = -0.5 ||| write seconds, `0` not to wait, or `None` to wait indefinitely
    timeout = 18446744073709551616 ||| so many seconds; write `None` to wait indefinitely
    permits = -1 ||| from 1 to 1000, as in `10`
    permits = 1_001 ||| from 1 to 1000, as in `10`
    permits = "ten" ||| from 1 to 1000, as in `10`
    every = 60 ||| as in `"1d"`, `"1h30m"` or `"15s"` (`w`, `d`, `h`, `m`, `s`), or a `Duration`
    every = "1d", periods = "jobs." ||| or an expression of type `Periods`
    every = "1d", periods = "\"Period\"" ||| or an expression of type `Periods`
    every = "1d", periods = 7 ||| or an expression of type `Periods`
    ||| pool: &PgPool, tx: &mut PgTransaction<'_> ||| name one of them, as in `on = pool`
    tx = a ||| pool: &PgPool, (a, b): (u8, u8) ||| another name, as in `tx = locked`
    key = 1 ||| &self, db: &Db ||| if `db` is one, write `on = db`
    key = 1 ||| &self, State(main): State<PgPool> ||| if `main` is one, write `on = main`
    ||| State(state): State<SqlPool> ||| if `state` is one, write `on = state`
    ||| main: Arc<Database> ||| if `main` is one, write `on = main`
    ||| Extension(Shared { tx, .. }): Extension<Shared> ||| if `tx` is one, write `on = tx`
    ||| locks: &LockSession ||| add `scope = session`
    ||| conn: PoolConnection<Postgres> ||| write `&mut` before the type
    scope = session ||| pool: &PgPool, locks: &LockSession ||| name one of them, as in `on = pool`
    ||| db: &Db, conn: &Other ||| name what to lock on with `on = …`
    ||| State((pool, id)): State<(PgPool, u8)> ||| name what to lock on with `on = …`
    ||| tx: Option<&mut PgTransaction<'_>> ||| name what to lock on with `on = …`
    ||| pools: &[PgPool] ||| name what to lock on with `on = …`
    ||| pool: impl AsRef<PgPool> ||| name what to lock on with `on = …`
    ||| ctx: &Context, feedback: &Feedback, State(state): State<AppState> ||| with `on = …`
    ||| a: &str, b: MySqlPool, c: Pool<MySql>, d: Transaction<'_, Sqlite> ||| write `on = b`
    ||| e: Transaction, f: Vec<PgPool>, g: impl A ||| write `on = e`
    key = "{{{b.c:>4}}}{d}{e(1)}" ||| write `format!("{{{:>4}}}{d}{}", b.c, e(1))`
    keys = [1, "{A::B:?}"] ||| write `format!("{:?}", A::B)`
    key = "{a[\"b\"]}" ||| write `format!("{}", a["b"])`
    key = "{a b}" ||| write `format!("sync({})", request.id)`, or `{{` for a brace
    key = "a{}" ||| as in `{id}`, or write `format!("a{}", …)`
    key = "{b}{1:>4}" ||| as in `{id}`, or write `format!("{b}{1:>4}", …)`
    tx ||| txn: &DatabaseTransaction ||| opens no other; remove `tx`
    scope = session ||| txn: &DatabaseTransaction ||| or remove `scope = session`
    timout = 1, side_effect = Skip ||| found `timout`
    onn = db ||| &self ||| found `onn`
"#;

/// Arguments, parameters (by default a pool), and a part of the expansion.
const ACCEPTED: &str = r#"
    key = "a" ||| lock("a",
    key = "a{b}" ||| lock(::std::format!("a{b}"),
    key = (r"}}") ||| lock(::std::format!(r"}}"),
    key = format!("a") ||| lock(format!("a"),
    key = 5 ||| lock(5i64,
    key = -5 ||| lock(-5i64,
    key = 5u32 ||| lock(5u32,
    key = (1, 2) ||| lock((1, 2),
    ||| lock(::core::concat!(::core::module_path!(), "::", "f"),
    keys = ["a", b] ||| all([::advisory_core::__private::lock("a",
    keys = ["a{b}", "{b:?}", "{b:>4}", "{b::>4}", "{b:w$}", "{ b }", "{self}"] ||| format!("{b::>4}")
    keys = ["{{b.c}}", "{{{b}}}", "{", "a{b", "{b:!}", "}{b.c"] ||| format!("}{b.c")
    keys = ids.iter() ||| into_iter(ids.iter())
    timeout = 0, side_effect = Skip ||| Duration::new(0u64, 0u32)
    timeout = 1_000u64 ||| Duration::new(1000u64, 0u32)
    timeout = 2f64 ||| Duration::new(2u64, 0u32)
    timeout = 1.5 ||| Duration::new(1u64, 500000000u32)
    timeout = 25e-2_f32 ||| Duration::new(0u64, 250000000u32)
    timeout = 18446744073709551615 ||| Duration::new(18446744073709551615u64, 0u32)
    timeout = None, side_effect = Raise ||| .wait_forever()
    timeout = self.wait, side_effect = Skip ||| .timeout(self.wait)
    timeout = -limit() ||| .timeout(-limit())
    scheme = Sha256 ||| {use self::*; use ::advisory_core::__private::scheme::*; Sha256}
    scheme = (Sha256) ||| {use self::*; use ::advisory_core::__private::scheme::*; Sha256}
    scheme = Pals::app ||| {use self::*; use ::advisory_core::__private::scheme::*; Pals::app}
    scheme = Pals::app(1) ||| use ::advisory_core::__private::scheme::*; Pals::app})(1)
    scheme = sha256 ||| => match {use ::advisory_core::__private::scheme::*; sha256}
    scheme = mine(7) ||| => match ({use ::advisory_core::__private::scheme::*; mine})(7)
    key = five, scheme = self::Mine ||| lock_with_scheme(five, self::Mine,
    key = "a", scheme = super::Mine ||| lock_with_scheme("a", super::Mine,
    key = "a", scheme = Self::SCHEME ||| lock_with_scheme("a", Self::SCHEME,
    key = "a", scheme = ::mine::Mine ||| lock_with_scheme("a", ::mine::Mine,
    key = "a", scheme = mine::Mine ||| lock_with_scheme("a", mine::Mine,
    key = "a", scheme = <Mine>::default() ||| lock_with_scheme("a", <Mine>::default(),
    key = "a", scheme = |name: &str| 7 ||| lock_with_scheme("a", |name: &str| 7,
    key = "a", scheme = mine.scheme() ||| lock_with_scheme("a", mine.scheme(),
    key = "a" ||| &self, id: u8, pool: &PgPool ||| prove(&pool)
    ||| mut tx: PgTransaction<'_> ||| let target = &mut tx;
    ||| _: &mut PgConnection ||| let parameter = scope.connection();
    scope = session ||| locks: Arc<LockSession> ||| prove(&locks)
    on = (tx) ||| pool: &PgPool, tx: &mut PgTransaction<'_> ||| let target = &mut *tx;
    on = &mut *tx ||| pool: &PgPool, tx: &mut PgTransaction<'_> ||| let target = &mut *tx;
    on = pool.clone() ||| pool: &PgPool, tx: &mut PgTransaction<'_> ||| match pool.clone() {
    on = other ||| other: &Database ||| prove(&other)
    tx ||| pool: PgPool ||| let tx = scope.transaction();
    tx ||| db: &DatabaseConnection ||| let tx = scope.transaction();
    ||| db: Arc<DbConn> ||| prove(&db)
    ||| txn: &DatabaseTransaction ||| let target = &*txn;
    ||| txn: DatabaseTransaction ||| let target = &txn;
    key = 1, on = self.pool, tx = a ||| &self ||| let a = scope.transaction();
"#;

fn parse(args: &str, parameters: &str) -> Result<Model> {
    let mut errors = Errors::default();
    let args = Args::parse(args.parse()?, &mut errors);
    let function = format!("async fn f({parameters}) -> Result<(), Error> {{}}");
    validate(&args, errors.handle(syn::parse_str(&function)), errors)
}

/// Calls `check` for each row, with the result of its input and its last column.
fn for_each(rows: &str, check: impl Fn(&str, Result<Model>, &str)) {
    for row in rows.lines().map(str::trim).filter(|row| !row.is_empty()) {
        let columns: Vec<_> = row.split("|||").map(str::trim).collect();
        match columns[..] {
            [args, expected] => check(row, parse(args, "pool: &PgPool"), expected),
            [args, parameters, expected] => check(row, parse(args, parameters), expected),
            _ => panic!("{row}"),
        }
    }
}

#[test]
fn every_mistake_is_one_error_with_the_fix() {
    for_each(REFUSED, |row, result, fix| {
        let messages = messages(result);
        assert!(
            messages.len() == 1 && messages[0].ends_with(fix),
            "{row}: {messages:?}"
        );
    });
}

#[test]
fn correct_input_is_expanded() {
    let squeeze = |text: &str| text.replace(char::is_whitespace, "");
    for_each(ACCEPTED, |row, result, part| {
        let expanded = expand(&result.expect(row)).to_string();
        assert!(
            squeeze(&expanded).contains(&squeeze(part)),
            "{row}: {expanded}"
        );
    });
}

#[test]
fn independent_errors_are_reported_together() {
    let args = "keys = [\"\", \"\"], scheme = \"md5\", timeout = -1, tx";
    assert_eq!(messages(parse(args, "conn: PgConnection")).len(), 6);
}
