//! All that a key, a scheme and a timeout can be.

use std::time::Duration;

use advisory_core::scheme::{Atlas, HerokuPgLock as PgLock};
use advisory_core::{AdvisoryLock, Error, Key, KeyScheme, advisory, scheme};
use sqlx::{PgPool, PgTransaction};

const NAME: &str = "name";
const WAIT: Duration = Duration::from_millis(200);

struct Mine;

impl KeyScheme for Mine {
    fn key(&self, name: &str) -> Key {
        Key::from(i64::try_from(name.len()).unwrap_or(i64::MAX))
    }
}

struct Prefixed(&'static str);

impl KeyScheme for Prefixed {
    fn key(&self, name: &str) -> Key {
        Key::from(format!("{}{name}", self.0))
    }
}

fn by_length(name: &str) -> i64 {
    Mine.key(name).to_pg_locks().0.into()
}

#[advisory]
async fn r#loop(pool: &PgPool) -> Result<(), Error> {
    Ok(())
}

#[advisory(key = "sync({id})", timeout = 2)]
async fn template(pool: &PgPool, id: i64) -> Result<i64, Error> {
    Ok(id)
}

#[advisory(key = "{name}", timeout = 1.5)]
async fn only_a_placeholder(pool: &PgPool, name: String) -> Result<String, Error> {
    Ok(name)
}

#[advisory(key = r"{{{name:?}}}", timeout = 0)]
async fn braces(pool: &PgPool, name: &str) -> Result<usize, Error> {
    Ok(name.len())
}

#[advisory(key = format!("sync({})", id + 1), timeout = None)]
async fn formatted(pool: &PgPool, id: i64) -> Result<i64, Error> {
    Ok(id)
}

#[advisory(key = NAME, timeout = WAIT)]
async fn constant(pool: &PgPool) -> Result<(), Error> {
    Ok(())
}

#[advisory(key = name.clone(), timeout = Duration::from_millis(wait.into()))]
async fn argument(pool: &PgPool, name: String, wait: u32) -> Result<String, Error> {
    Ok(name)
}

#[advisory(key = 42)]
async fn number(pool: &PgPool) -> Result<(), Error> {
    Ok(())
}

#[advisory(key = -5_000_000_000, shared)]
async fn big_number(pool: &PgPool) -> Result<(), Error> {
    Ok(())
}

#[advisory(key = (1, -7))]
async fn pair(pool: &PgPool) -> Result<(), Error> {
    Ok(())
}

#[advisory(key = Key::IntPair(1, shard))]
async fn whole_key(pool: &PgPool, shard: i32) -> Result<(), Error> {
    Ok(())
}

#[advisory(key = lock.clone(), shared)]
async fn whole_lock(pool: &PgPool, lock: AdvisoryLock) -> Result<AdvisoryLock, Error> {
    Ok(lock)
}

#[advisory(key = find(id).await?)]
async fn looked_up(pool: &PgPool, id: i64) -> Result<(), Error> {
    Ok(())
}

async fn find(id: i64) -> Result<String, Error> {
    tokio::task::yield_now().await;
    Ok(id.to_string())
}

#[advisory(keys = ["account:{from}", "account:{to}"])]
async fn transfer(tx: &mut PgTransaction<'_>, from: i64, to: i64) -> Result<(), Error> {
    Ok(())
}

#[advisory(keys = ["a", 7, (1, 2), name])]
async fn mixed(tx: &mut PgTransaction<'_>, name: &str) -> Result<(), Error> {
    Ok(())
}

#[advisory(keys = ids)]
async fn slice(tx: &mut PgTransaction<'_>, ids: &[i64]) -> Result<(), Error> {
    Ok(())
}

#[advisory(keys = names)]
async fn slice_of_text(tx: &mut PgTransaction<'_>, names: &[&str]) -> Result<(), Error> {
    Ok(())
}

#[advisory(key = id)]
async fn reference(tx: &mut PgTransaction<'_>, id: &i64) -> Result<(), Error> {
    Ok(())
}

#[advisory(keys = ids.iter().copied())]
async fn each(tx: &mut PgTransaction<'_>, ids: &[i64]) -> Result<(), Error> {
    Ok(())
}

#[advisory(keys = names, scheme = scheme::Sha256)]
async fn each_hashed(tx: &mut PgTransaction<'_>, names: &[String]) -> Result<(), Error> {
    Ok(())
}

#[advisory(scheme = Sha1, side_effect = Raise, scope = xact)]
async fn sha1(pool: &PgPool) -> Result<(), Error> {
    Ok(())
}

#[advisory(key = "sync({id})", scheme = Md5)]
async fn md5(pool: &PgPool, id: i64) -> Result<i64, Error> {
    Ok(id)
}

#[advisory(keys = ["a", "b:{id}", NAME], scheme = Sha256,)]
async fn sha256(pool: &PgPool, id: i64) -> Result<i64, Error> {
    Ok(id)
}

#[advisory(key = "a", scheme = DjangoPglock)]
async fn of_another_system(pool: &PgPool) -> Result<(), Error> {
    Ok(())
}

#[advisory(keys = ["a", "b:{id}"], scheme = Pals::app(format!("app{id}")))]
async fn with_an_argument(pool: &PgPool, id: i64) -> Result<i64, Error> {
    Ok(id)
}

#[advisory(keys = names, scheme = GoodJob::table("accounts"))]
async fn each_with_an_argument(pool: &PgPool, names: &[String]) -> Result<(), Error> {
    Ok(())
}

#[advisory(key = "a", scheme = PgLock)]
async fn by_another_name(pool: &PgPool) -> Result<(), Error> {
    Ok(())
}

#[advisory(key = "a", scheme = Atlas)]
async fn both_ours_and_imported(pool: &PgPool) -> Result<(), Error> {
    Ok(())
}

#[advisory(key = "a", scheme = Prefixed("b"))]
async fn own_scheme_with_an_argument(pool: &PgPool) -> Result<(), Error> {
    Ok(())
}

#[advisory(key = "a", scheme = scheme)]
async fn argument_as_scheme(pool: &PgPool, scheme: fn(&str) -> i64) -> Result<(), Error> {
    Ok(())
}

#[advisory(key = "a", scheme = T::default())]
async fn generic_scheme<T: KeyScheme + Default>(pool: &PgPool) -> Result<(), Error> {
    Ok(())
}

fn inside_a_function() {
    #[derive(Clone, Copy)]
    struct Local;

    impl KeyScheme for Local {
        fn key(&self, _: &str) -> Key {
            Key::from(7)
        }
    }

    #[advisory(key = "a", scheme = Local)]
    async fn local_scheme(pool: &PgPool) -> Result<(), Error> {
        Ok(())
    }
}

#[advisory(key = "a", scheme = Mine)]
async fn own_scheme(pool: &PgPool) -> Result<(), Error> {
    Ok(())
}

#[advisory(key = "a", scheme = by_length)]
async fn function_as_scheme(pool: &PgPool) -> Result<(), Error> {
    Ok(())
}
