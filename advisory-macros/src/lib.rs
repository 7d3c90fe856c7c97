//! The `#[advisory]` attribute; use it through `advisory_core::advisory`.

mod args;
mod erase;
mod expand;
mod function;
mod mistake;
mod model;
mod parameter;
#[cfg(test)]
mod soup;
mod validate;

use proc_macro2::TokenStream;
use quote::quote;
use syn::Error;

use crate::args::Args;
use crate::function::Function;
use crate::mistake::Mistakes;

/// Puts an `async fn` under a PostgreSQL advisory lock: the body runs while the lock is held.
///
/// ```
/// use advisory_core::{Error, advisory};
/// use sqlx::{PgPool, PgTransaction};
///
/// /// Waits two seconds for its turn, and is skipped if that was not enough.
/// #[advisory(key = "sync({client_id})", timeout = 2, side_effect = Skip)]
/// async fn sync_client(tx: &mut PgTransaction<'_>, client_id: i64) -> Result<Option<u64>, sqlx::Error> {
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
/// # Where
///
/// The lock is taken on the one parameter that is a transaction, a connection or a pool, or on what `on` says:
///
/// - `&mut PgTransaction<'_>`, or one by value: the lock joins the transaction, and is held until that ends. One by value that is
///   skipped or refused is dropped, and rolls back what was done in it before.
/// - `&mut PgConnection`, `&mut PoolConnection<Postgres>`: if the connection is in a transaction of sqlx's, the lock joins it. If
///   it is in none, a transaction is opened around the body, as on a pool.
/// - `&PgPool`, and one by value or in an `Arc`: a transaction is opened on a connection of its own. It is committed when the
///   body returns `Ok`, and rolled back when it returns `Err`, panics or is dropped. The lock is free when the transaction
///   has ended. `tx` gives the body this transaction.
/// - a pool, with `scope = session`: a session of its own holds the lock, outside any transaction, until the body has ended.
///
/// Without `tx`, and in session scope, the body runs *beside* the connection that holds the lock. It is dropped, and the function
/// returns `Error::Lost`, if that connection goes: within a second for a transaction, at once for a session. Its own statements
/// take a second connection of the pool, and all who wait for the lock hold one each: a pool that can be exhausted so makes the
/// holder wait for those who wait for it. Use `tx`, `polling`, or a pool of its own for the lock.
///
/// A body that returns `Ok` although one of its statements in `tx` has failed commits nothing: PostgreSQL rolls back an aborted
/// transaction, silently.
///
/// A parameter is known by its type's name: `PgTransaction`, `Transaction<'_, Postgres>`, `PgConnection`,
/// `PoolConnection<Postgres>`, `PgPool`, `Pool<Postgres>`. Behind any other name, point to it: `on = database`.
///
/// # Arguments
///
/// | argument | value | if left out |
/// |---|---|---|
/// | `key` | text with inline `{argument}`s, or any expression that is `Into<AdvisoryLock>` | the function's path, `my_crate::jobs::daily_report`; a method must give one |
/// | `keys` | a list of such, or an expression that yields `Into<AdvisoryLock>`s; all are locked at once | – |
/// | `timeout` | seconds, as an integer or a float, an expression of type `Duration`, or `None` to wait for ever | the server's `lock_timeout`; `0` does not wait |
/// | `side_effect` | `Raise`: a lock not to be had in time is an error; `Skip`: the function then returns without running | `Raise` |
/// | `shared` | flag: shares the lock with other shared holders | the lock is exclusive |
/// | `scope` | `xact`: held until the transaction ends; `session`: held by a session of its own, on a pool | `xact` |
/// | `on` | the expression to lock on, as in `on = self.pool`; a connection there is not the body's to use | the one parameter that is a transaction, a connection or a pool |
/// | `tx` | flag, or `tx = name`: the transaction opened on a pool, for the body | the lock is held around the body |
/// | `scheme` | how text becomes a key: `Sha1`, `Crc32`, `Md5`, `Sha256`, another of `advisory_core::scheme` (`DjangoPglock`, `Pals::app("billing")`, with the feature `interop`), or the path of a `KeyScheme` | `Sha1` |
/// | `isolation` | `ReadCommitted`, `RepeatableRead`, `Serializable`: of the transaction opened on a pool, which sees what the last holder has committed | the server's default |
/// | `polling` | seconds, or a `Duration`: ask again at this interval, instead of queueing | the server's queue |
/// | `cancel_via` | a `&PgPool`: a dropped wait on the caller's transaction is cancelled from beside it | it stays in the queue |
/// | `crate` | the path of `advisory_core`, as text or bare | `::advisory_core` |
///
/// A bare name given to `scheme` may be one of the library's or of the module's; if both have it, the compiler asks: write `self::Name`
/// for your own.
///
/// The default key changes when the function is renamed or moved, and then excludes nobody who still runs the old version: give a
/// `key` to what is deployed in a rolling fashion. `Skip` without a `timeout` waits as the server's `lock_timeout` says, which by
/// default is for ever.
///
/// # The function
///
/// It is `async` and returns `Result<T, E>` with `E: From<advisory_core::Error>`, which `advisory_core::Error` and `sqlx::Error`
/// have. With `side_effect = Skip`, `T` implements `Skipped`: `()`, `Option<_>`, or a type of your own.
///
/// Everything else is as you write it: arguments, generics, lifetimes, attributes, documentation. Its future is `Send` when
/// that of the body is. The key is made before anything is locked, from the arguments as they were passed.
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
///     /// One instance runs it, the others go on.
///     #[advisory(key = "Jobs.nightly", timeout = 0, side_effect = Skip, on = self.pool)]
///     async fn nightly(&self) -> Result<(), Error> {
///         Ok(())
///     }
/// }
/// ```
///
/// Attributes that make another function out of an `async fn` stand below this one. Of those that stand above, it knows
/// `#[tokio::test]`; `#[async_trait]` is not supported, while the language's own `async fn` in traits is.
///
/// # Errors
///
/// Those of the body, and those of the lock: not acquired in time (unless skipped), a deadlock, a lock that was lost, a
/// transaction that cannot be opened or committed.
///
/// # Cancel safety
///
/// On a pool, dropping the future frees the lock: a wait leaves the server's queue, and a body is rolled back. On a connection, too,
/// but a dropped *wait* stays in the queue until the lock is granted or the timeout is over, and then rolls back. On the caller's
/// transaction the wait stays as well, unless `cancel_via` cancels it.
#[proc_macro_attribute]
pub fn advisory(
    args: proc_macro::TokenStream,
    item: proc_macro::TokenStream,
) -> proc_macro::TokenStream {
    locked(args.into(), item.into()).into()
}

fn locked(args: TokenStream, item: TokenStream) -> TokenStream {
    let mut mistakes = Mistakes::default();
    let args = Args::parse(args, &mut mistakes);
    let function = mistakes.check(syn::parse2::<Function>(item.clone()));
    let unlocked = function
        .as_ref()
        .map(|function| expand::unlocked(function, &args));
    let model = validate::validate(&args, function, mistakes);
    model.map_or_else(
        |mistakes| beside(&unlocked.unwrap_or(item), &mistakes),
        |model| expand::expand(&model),
    )
}

/// The item stays, so that an editor still knows what is in it.
fn beside(item: &TokenStream, mistakes: &Error) -> TokenStream {
    let mistakes = mistakes.to_compile_error();
    quote!(#item #mistakes)
}
