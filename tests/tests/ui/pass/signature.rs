//! Whatever an `async fn` may look like.

use std::fmt::{Debug, Display};

use advisory_core::{Error, advisory};
use sqlx::{PgPool, PgTransaction};

#[derive(Debug)]
enum BankError {
    Poor { missing: i64 },
    Lock(Error),
    Database(sqlx::Error),
}

impl From<Error> for BankError {
    fn from(error: Error) -> Self {
        Self::Lock(error)
    }
}

impl From<sqlx::Error> for BankError {
    fn from(error: sqlx::Error) -> Self {
        Self::Database(error)
    }
}

#[advisory]
async fn early_return(pool: &PgPool, cents: i64) -> Result<i64, BankError> {
    if cents < 0 {
        return Err(BankError::Poor { missing: -cents });
    }
    let row = sqlx::query_scalar::<_, i64>("SELECT 1").fetch_one(pool);
    let balance = row.await?;
    for step in 0..cents {
        if step > balance {
            return Ok(step);
        }
    }
    Ok(balance)
}

#[advisory(key = "{name}:{shown}")]
async fn generics<'a, T, U: Display, const N: usize>(
    pool: &PgPool,
    name: &'a str,
    shown: &U,
    items: [T; N],
    writer: impl Fn(&T) -> String,
) -> Result<(Vec<String>, &'a str), Error>
where
    T: Debug + 'a,
{
    Ok((items.iter().map(writer).collect(), name))
}

struct Point {
    x: i64,
    y: i64,
}

#[advisory(key = "{x}:{first}:{count}")]
async fn patterns(
    tx: &mut PgTransaction<'_>,
    Point { x, y: _ }: Point,
    (first, mut second): (i64, i64),
    mut count: u32,
    _: &str,
    _ignored: u8,
) -> Result<i64, Error> {
    count += 1;
    second += x;
    Ok(first + second + i64::from(count))
}

#[advisory(key = "{x}:{first}:{count}")]
async fn patterns_on_a_pool(
    pool: &PgPool,
    Point { x, y: _ }: Point,
    (first, mut second): (i64, i64),
    mut count: u32,
    _: &str,
    _ignored: u8,
) -> Result<i64, Error> {
    count += 1;
    second += x;
    Ok(first + second + i64::from(count))
}

/// A tail expression that borrows from a local.
#[advisory]
async fn borrowing_tail(pool: &PgPool) -> Result<usize, Error> {
    let text = String::from("text");
    let lock = std::sync::Mutex::new(text);
    Ok(lock.lock().map_or(0, |text| text.len()))
}

#[advisory]
async fn items_and_inner_attributes(pool: &PgPool) -> Result<u8, Error> {
    #![allow(clippy::items_after_statements)]
    const ONE: u8 = 1;
    let one = ONE;
    fn double(n: u8) -> u8 {
        n * 2
    }
    Ok(double(one))
}

mod visible {
    /// Kept.
    #[must_use = "kept"]
    #[advisory_core::advisory]
    #[inline]
    pub(super) async fn run(pool: &sqlx::PgPool) -> Result<(), advisory_core::Error> {
        Ok(())
    }
}

struct Jobs<T> {
    pool: PgPool,
    state: T,
}

impl<T: Send + Clone> Jobs<T> {
    #[advisory(key = "jobs", on = self.pool)]
    async fn state(&self) -> Result<T, Error> {
        Ok(self.state.clone())
    }

    #[advisory(key = "jobs.{id}")]
    async fn set(
        &mut self,
        tx: &mut PgTransaction<'_>,
        id: i64,
        state: T,
    ) -> Result<&mut Self, Error> {
        self.state = state;
        Ok(self)
    }

    #[advisory]
    async fn associated(pool: &PgPool) -> Result<(), Error> {
        Ok(())
    }
}

trait Work {
    async fn work(&self, n: u32) -> Result<u32, Error>;

    #[advisory(key = "provided:{n}")]
    async fn provided(&self, pool: &PgPool, n: u32) -> Result<u32, Error> {
        self.work(n).await
    }
}

impl<T: Send + Sync> Work for Jobs<T> {
    #[advisory(key = "work:{n}", on = self.pool, side_effect = Raise)]
    async fn work(&self, n: u32) -> Result<u32, Error> {
        Ok(n)
    }
}

#[advisory]
async fn recursive(pool: &PgPool, depth: u32) -> Result<u32, Error> {
    if depth == 0 {
        return Ok(0);
    }
    Box::pin(recursive(pool, depth - 1)).await
}

#[advisory]
async fn never_ending(pool: &PgPool) -> Result<std::convert::Infallible, Error> {
    loop {
        tokio::task::yield_now().await;
    }
}

#[advisory]
async fn panicking(pool: &PgPool) -> Result<u8, Error> {
    unimplemented!()
}

#[rustfmt::skip]
mod on_one_line {
    use super::{Error, PgPool, PgTransaction, advisory};

    #[advisory(key = "a")] async fn joined(tx: &mut PgTransaction<'_>) -> Result<(), Error> { Ok(()) }
    #[advisory(key = "a")] async fn opened(pool: &PgPool) -> Result<(), Error> { Ok(()) }
}
