//! The code of the recipes, and what it needs of its readers.

/// A block of Rust of docs/RECIPES.md.
macro_rules! recipe {
    ($file:literal) => {
        include!(concat!(env!("OUT_DIR"), "/", $file));
    };
}

pub(crate) mod webhook {
    recipe!("a-webhook-1.rs");

    pub(crate) async fn call(pool: &PgPool, delivery: &str) -> Result<bool, Error> {
        receive(pool, delivery, "push").await
    }
}

#[expect(unused_imports, reason = "the table is created elsewhere")]
pub(crate) mod job {
    recipe!("a-job-that-runs-once-1.rs");

    async fn build_report(pool: &PgPool) -> Result<(), Error> {
        crate::outage::progress::work("nightly report").await;
        // A second run on one day is an error.
        let build = "INSERT INTO night VALUES ((now() AT TIME ZONE 'UTC')::date)";
        sqlx::query(build).execute(pool).await?;
        Ok(())
    }

    pub(crate) async fn call(pool: PgPool) -> Result<(), Error> {
        nightly_report(&pool).await
    }

    pub(crate) async fn call_expire(pool: PgPool) -> Result<(), Error> {
        expire(&pool).await.map(drop)
    }
}

pub(crate) mod transfer {
    recipe!("transfers-1.rs");

    pub(crate) async fn call(pool: PgPool) -> Result<(), Error> {
        rent(&pool).await
    }
}

pub(crate) mod leader {
    recipe!("a-leader-1.rs");

    async fn sweep(pool: &PgPool, fence: i64) -> Result<(), Error> {
        let sweep = "UPDATE sweep SET fence = $1, sweeps = sweeps + 1 WHERE fence <= $1";
        sqlx::query(sweep).bind(fence).execute(pool).await?;
        crate::outage::progress::done("sweep of the leader");
        Ok(())
    }

    pub(crate) async fn run(pool: &PgPool) -> Result<(), Error> {
        lead_sweeps(pool).await
    }
}

pub(crate) mod migration {
    recipe!("migration-at-start-up-1.rs");

    pub(crate) async fn call(pool: PgPool) -> Result<(), advisory_core::Error> {
        match example(&pool).await {
            Ok(()) => Ok(()),
            Err(error) => Err(*error.downcast().expect("an error of the lock")),
        }
    }
}

pub(crate) mod rolling_deploy {
    recipe!("rolling-deploys-and-changes-of-keys-1.rs");

    pub(crate) async fn call(pool: PgPool) -> Result<(), Error> {
        write_invoices(&pool, 4).await
    }
}

pub(crate) mod django {
    recipe!("sharing-with-django-1.rs");

    pub(crate) async fn call(pool: PgPool) -> Result<(), Error> {
        write_invoices(&pool, 4).await
    }
}

pub(crate) mod import {
    recipe!("a-lock-for-each-tenant-1.rs");

    pub(crate) async fn call(pool: PgPool) -> Result<(), Error> {
        import(&pool, 4).await?;
        billing("acme").transaction(&pool, async |_| Ok(())).await
    }
}

pub(crate) mod tenant {
    recipe!("a-lock-for-each-tenant-2.rs");

    pub(crate) struct Service(Tenants);

    impl Service {
        pub(crate) fn new(pool: &sqlx::PgPool) -> Self {
            let locks = LockSession::new(pool);
            Self(Tenants { locks })
        }

        pub(crate) async fn call(&self) -> Result<(), Error> {
            self.0.sync(4).await?;
            self.0.stay_in_charge_of(4).await
        }
    }
}

pub(crate) mod catalogue {
    recipe!("readers-and-a-writer-1.rs");

    pub(crate) async fn call_reader(pool: PgPool) -> Result<(), Error> {
        export(&pool).await.map(drop)
    }

    pub(crate) async fn call_writer(pool: PgPool) -> Result<(), Error> {
        rebuild(&pool).await
    }
}

pub(crate) mod permit {
    recipe!("at-most-n-at-once-1.rs");

    async fn build_export(_: i64) {
        crate::outage::progress::work("export under a permit").await;
    }

    async fn call_partner() {
        crate::outage::progress::work("call of the partner").await;
    }

    pub(crate) async fn call(pool: PgPool) -> Result<(), Error> {
        export(&pool, 4).await
    }

    pub(crate) async fn call_partner_with(locks: &LockSession) -> Result<(), Error> {
        ask_partner(locks).await
    }
}

pub(crate) mod ship {
    use axum::extract::{Path, State};

    recipe!("axum-1.rs");

    struct Failure(Error);

    impl From<Error> for Failure {
        fn from(error: Error) -> Self {
            Self(error)
        }
    }

    impl From<sqlx::Error> for Failure {
        fn from(error: sqlx::Error) -> Self {
            Self(error.into())
        }
    }

    pub(crate) async fn call(pool: PgPool) -> Result<(), Error> {
        let shipped = ship(State(pool), Path(1)).await;
        shipped.map_err(|failure| failure.0)
    }
}

pub(crate) mod watch {
    recipe!("what-to-watch-1.rs");

    pub(crate) async fn call(pool: PgPool) -> Result<(), Error> {
        report(&pool).await
    }
}
