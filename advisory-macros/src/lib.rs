//! The `#[advisory]` attribute; use it through `advisory_core::advisory`.

mod args;
mod errors;
mod expand;
mod function;
#[cfg(test)]
mod fuzz;
mod impl_trait;
mod model;
mod original;
mod parameter;
mod unbound_tx;
mod validate;

use proc_macro2::TokenStream;
use quote::quote;

use crate::args::Args;
use crate::errors::Errors;
use crate::function::Function;

/// Puts an `async fn` under a PostgreSQL advisory lock: the body runs while the lock is held.
///
/// ```
/// use advisory_core::{Error, advisory};
/// use sqlx::{PgPool, PgTransaction};
///
/// /// Waits at most two seconds for the lock, and returns `None` if that is not enough.
/// #[advisory(key = "sync({client_id})", timeout = 2, side_effect = Skip)]
/// async fn sync_client(
///     tx: &mut PgTransaction<'_>,
///     client_id: i64,
/// ) -> Result<Option<u64>, sqlx::Error> {
///     let done = sqlx::query("DELETE FROM outbox WHERE client_id = $1").bind(client_id);
///     Ok(Some(done.execute(&mut **tx).await?.rows_affected()))
/// }
///
/// /// Takes both locks at once, always in the same order.
/// #[advisory(keys = ["account:{from}", "account:{to}"], tx)]
/// async fn transfer(pool: &PgPool, from: i64, to: i64, cents: i64) -> Result<(), sqlx::Error> {
///     let update = "UPDATE account SET cents = cents + $2 WHERE id = $1";
///     sqlx::query(update).bind(from).bind(-cents).execute(&mut **tx).await?;
///     sqlx::query(update).bind(to).bind(cents).execute(&mut **tx).await?;
///     Ok(())
/// }
/// ```
///
/// # Where the lock is taken
///
/// The lock is taken on the one parameter that is a transaction, a connection, a pool or a
/// `LockSession`, or on the expression that `on` gives:
///
/// - `&mut PgTransaction<'_>`, or one by value: the lock joins the transaction and is held until
///   the transaction ends. If the lock is not acquired, a transaction by value is dropped, which
///   rolls back everything that was done in it before.
/// - `&mut PgConnection`, `&mut PoolConnection<Postgres>`: if the connection is in a transaction
///   that sqlx has opened, the lock joins that transaction. Otherwise the attribute opens a
///   transaction around the body, as on a pool.
/// - `&PgPool`, and one by value or in an `Arc`: the attribute opens a transaction on a connection
///   of its own. The transaction is committed when the body returns `Ok`, and rolled back when the
///   body returns `Err`, panics or is dropped. The lock is free when the transaction has ended.
///   `tx` gives the transaction to the body.
/// - with the feature `sea-orm` of `advisory-core`, sea-orm's `&DatabaseTransaction`, or one by
///   value, which the lock joins; and its `&DatabaseConnection`, which serves as a pool, and whose
///   `tx` is a `&DatabaseTransaction`. A connection to another database is an error.
/// - `&LockSession`, or a pool, with `scope = session`: a session holds the lock, outside any
///   transaction, until the body has ended. All such functions on one pool share one session beside
///   the pool, so that a thousand locks take one connection. If that session is lost, all of them
///   end.
///
/// On a pool without `tx`, on a connection that `on` names, and in session scope, the body does not
/// use the connection that holds the lock. If that connection is lost, the body is dropped and the
/// function returns `Error::Lost`: within a second for a transaction, at once for a session. On a
/// pool without `tx`, the statements of the body take a second connection of the pool, which the
/// locks leave free; a pool of one connection is refused.
///
/// sqlx's queries take `tx` as `&mut **tx`. The body does not commit it: the attribute does, when
/// the body has returned `Ok`. If one of its statements in `tx` has failed and the body returns
/// `Ok` all the same, nothing is committed and the function returns that `Ok`: PostgreSQL silently
/// rolls back an aborted transaction.
///
/// A parameter is recognized by the name of its type: `PgTransaction`, `Transaction<'_, Postgres>`,
/// `PgConnection`, `PoolConnection<Postgres>`, `PgPool`, `Pool<Postgres>`, `LockSession`,
/// `DatabaseTransaction`, `DatabaseConnection`, `DbConn`. If the type has any other name, name the
/// parameter: `on = database`.
///
/// # Arguments
///
/// | argument | value | if left out |
/// |---|---|---|
/// | `key` | text with inline `{argument}`s, or any expression that is `Into<AdvisoryLock>` | the function's path, `my_crate::jobs::daily_report`; a method must give one |
/// | `keys` | a list of such keys, or an expression that yields `Into<AdvisoryLock>`s; all are locked at once | – |
/// | `timeout` | seconds, as an integer or a float; for anything else an expression of type `Duration`, as `Duration::from_secs(LIMIT)`; or `None` to wait indefinitely | the server's `lock_timeout`; `0` does not wait |
/// | `side_effect` | `Raise`: a lock that is not acquired in time is an error; `Skip`: the function then returns without running, and needs a `timeout` | `Raise` |
/// | `shared` | flag: shares the lock with other shared holders | the lock is exclusive |
/// | `permits` | how many may run at once, from 1 to 1,000: a number, or an expression of type `u32` | one |
/// | `scope` | `xact`: held until the transaction ends; `session`: held by a session, on a pool or a `LockSession` | `xact` |
/// | `on` | the expression to lock on, as in `on = self.pool`; the body cannot use a connection given here | the one parameter that is a transaction, a connection, a pool or a `LockSession` |
/// | `tx` | flag, or `tx = name`: binds the transaction opened on a pool, for the body | the lock is held around the body |
/// | `scheme` | how text becomes a key: `Sha1`, `Crc32`, `Md5`, `Sha256`, another of `advisory_core::scheme` (`DjangoPglock`, `Pals::app("billing")`, with the feature `interop`), or the path of a `KeyScheme` | `Sha1` |
/// | `isolation` | `ReadCommitted`, `RepeatableRead`, `Serializable`: the level of the transaction opened on a pool, which sees what the last holder has committed | the server's default |
/// | `polling` | seconds, or a `Duration`: asks again at this interval, instead of queueing | the server's queue |
/// | `at_least` | seconds, or a `Duration`: in session scope, the lock stays held that long after it was granted, also if the body ends earlier | until the body has ended |
/// | `every` | `"1d"`, `"1h30m"`, `"15s"` (`w`, `d`, `h`, `m`, `s`), or a `Duration`: runs at most once in each such period, by the server's clock | whenever the lock is acquired |
/// | `offset` | as `every`: how much later the periods begin, which otherwise begin at midnight UTC and on Mondays | none |
/// | `periods` | the table with the marks of `every`: its name, as in `"period"` or `"jobs.period"` with its schema, or an expression of type `Periods` | `advisory_period`, in the first schema of the `search_path` |
/// | `cancel_via` | a `&PgPool`: a dropped wait on the caller's transaction or connection is cancelled from another connection | the wait stays in the queue |
/// | `map_err` | a path or a closure `Fn(advisory_core::Error) -> E`, for an `E` of another crate, which cannot implement `From` | `From` |
/// | `crate` | the path of `advisory_core`, as text or bare | `::advisory_core` |
///
/// Settings that are no arguments come with the key, if it is an `AdvisoryLock`:
/// `key = AdvisoryLock::new("sync").response_timeout(LIMIT)`. Arguments override its settings.
/// `keys` takes only the keys of its items.
///
/// A bare name given to `scheme` may belong to the library or to the module. If both have the name,
/// the compiler reports it as ambiguous; write `self::Name` for your own.
///
/// The default key changes when the function is renamed or moved, and then no longer excludes a
/// process that runs the old version. Give a `key` to a function that is deployed in a rolling
/// fashion. Functions of one path share the default key: `X::run` and `Y::run` of two types in one
/// module, the instances of a generic function, and functions of one name inside two others. Give
/// each of them a `key`, too.
///
/// # The function
///
/// The function is `async` and returns `Result<T, E>` with `E: From<advisory_core::Error>`.
/// `advisory_core::Error`, `sqlx::Error`, `anyhow::Error` and `Box<dyn Error + Send + Sync>` have
/// this conversion; for an error enum of your own, derive it with `#[from]`. With
/// `side_effect = Skip` or `every`, `T` implements `Skipped`: `()`, `Option<_>`, or a type of your
/// own.
///
/// With `every`, the function returns without running if it has succeeded in this period. It needs
/// a small table, see `AdvisoryLock::every`. In a transaction, the mark of the period commits with
/// the work; in session scope, the mark is written when the body has returned `Ok`. Without a
/// `timeout`, a second caller waits for the first one, and runs if that one fails.
///
/// Everything else stays as written: arguments, generics, lifetimes, attributes, documentation. The
/// future is `Send` when the future of the body is. The key is evaluated before anything is locked,
/// from the arguments as they were passed.
///
/// ```
/// use advisory_core::{Error, advisory};
/// use sqlx::PgPool;
///
/// struct Jobs {
///     pool: PgPool,
/// }
///
/// impl Jobs {
///     /// Runs on one instance; on the others it returns at once.
///     #[advisory(key = "Jobs.nightly", timeout = 0, side_effect = Skip, on = self.pool)]
///     async fn nightly(&self) -> Result<(), Error> {
///         Ok(())
///     }
/// }
/// ```
///
/// An attribute that turns an `async fn` into another function stands below this one. Two of them
/// may stand above as well: `#[tokio::test]`, and `#[async_trait]` on the `impl` or on the trait,
/// which is expanded before the attributes of its methods. The same goes for a function written by
/// hand that returns `Pin<Box<dyn Future<Output = …>>>` and whose whole body is
/// `Box::pin(async move { … })`. The lock is taken when the future is polled.
///
/// # Errors
///
/// Returns the errors of the body and those of the lock: not acquired in time (unless skipped), a
/// deadlock, a lock that was lost, a transaction that cannot be opened or committed.
///
/// # Cancel safety
///
/// | dropped on | during the wait | in the body |
/// |---|---|---|
/// | a pool, a `LockSession` | the wait leaves the queue | a transaction is rolled back, and the lock is free within two seconds |
/// | a connection | the wait stays in the queue until the lock is granted or the timeout ends, and then rolls back | the transaction is rolled back |
/// | the caller's transaction | the wait stays in the queue until the lock is granted or the timeout ends | the lock is held until the caller ends the transaction |
///
/// `cancel_via` ends a wait of the last two rows at once.
#[proc_macro_attribute]
pub fn advisory(
    args: proc_macro::TokenStream,
    item: proc_macro::TokenStream,
) -> proc_macro::TokenStream {
    expand_advisory(args.into(), item.into()).into()
}

fn expand_advisory(args: TokenStream, item: TokenStream) -> TokenStream {
    let mut errors = Errors::default();
    let args = Args::parse(args, &mut errors);
    let function = errors.handle(syn::parse2::<Function>(item.clone()));
    let fallback = function.as_ref().map(|f| expand::fallback(f, &args));
    match validate::validate(&args, function, errors) {
        Ok(model) => expand::expand(&model),
        Err(errors) => {
            // The item stays, so that an editor can still complete what is inside it.
            let (item, errors) = (fallback.unwrap_or(item), errors.to_compile_error());
            quote!(#item #errors)
        }
    }
}
