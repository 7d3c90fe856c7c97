//! No name of the user's collides with the expansion's.
#![no_implicit_prelude]

mod core {}
mod std {}
struct Result;
struct Option;
struct Ok;
struct Err;
struct Some;
struct None;
struct AdvisoryLock;
struct Target;

#[::advisory_core::advisory(
    key = "{lock}{scope}{error}{result}{target}{output}",
    scheme = Sha256,
    tx = transaction
)]
async fn locals(
    pool: &::sqlx::PgPool,
    lock: u8,
    scope: u8,
    error: u8,
    result: u8,
    target: u8,
    output: u8,
) -> ::std::result::Result<u8, ::advisory_core::Error> {
    let sum = lock + scope + error + result + target + output;
    transaction.len();
    ::std::result::Result::Ok(sum)
}

trait Len {
    fn len(&self) -> usize {
        0
    }
}

impl Len for ::sqlx::PgTransaction<'_> {}

#[::advisory_core::advisory(
    keys = [::std::convert::Into::<i32>::into(lock)],
    timeout = 0,
    side_effect = Skip
)]
async fn on_a_transaction(
    scope: &mut ::sqlx::PgTransaction<'_>,
    lock: u8,
) -> ::std::result::Result<(), ::advisory_core::Error> {
    ::std::result::Result::Ok(())
}

#[::advisory_core::advisory]
async fn on_a_connection(
    scope: &mut ::sqlx::PgConnection,
) -> ::std::result::Result<(), ::advisory_core::Error> {
    let same_type: &mut ::sqlx::PgConnection = scope;
    ::std::mem::drop(::sqlx::Connection::ping(same_type));
    ::std::result::Result::Ok(())
}

#[::advisory_core::advisory]
async fn twice(
    _: &::sqlx::PgPool,
    parameter: u8,
) -> ::std::result::Result<u8, ::advisory_core::Error> {
    ::std::result::Result::Ok(parameter)
}
