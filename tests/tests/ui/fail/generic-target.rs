use advisory_core::{Error, advisory};
use sqlx::{Executor, PgExecutor};

#[advisory]
async fn executor<'e, E: PgExecutor<'e>>(db: E) -> Result<(), Error> {
    db.execute("SELECT 1").await?;
    Ok(())
}

#[advisory(on = db)]
async fn named_executor<'e, E: PgExecutor<'e>>(db: E) -> Result<(), Error> {
    db.execute("SELECT 1").await?;
    Ok(())
}

#[advisory(on = db)]
async fn by_mut<E>(db: &mut E) -> Result<(), Error>
where
    for<'e> &'e mut E: PgExecutor<'e>,
{
    db.execute("SELECT 1").await?;
    Ok(())
}

struct Jobs<E> {
    db: E,
}

impl<E> Jobs<E> {
    #[advisory(key = "jobs", on = self.db)]
    async fn field(&self) -> Result<(), Error> {
        Ok(())
    }

    #[advisory(key = "jobs", on = self.db, scope = session)]
    async fn session(&mut self) -> Result<(), Error> {
        Ok(())
    }

    #[advisory(key = "jobs", on = self.db())]
    async fn call(&self) -> Result<(), Error> {
        Ok(())
    }

    fn db(&self) -> &E {
        &self.db
    }

    #[advisory(key = "jobs", on = self)]
    async fn of_the_user(&self) -> Result<(), Error> {
        Ok(())
    }
}

fn main() {}
