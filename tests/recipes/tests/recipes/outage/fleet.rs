//! An instance of a service that uses the recipes all the time.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use advisory_core::{Error, LockSession};
use advisory_recipes::{cron, idempotency};
use axum::Router;
use axum::body::Body;
use axum::http::{Request, StatusCode};
use axum::middleware::from_fn_with_state;
use axum::routing::post;
use sqlx::PgPool;
use sqlx::migrate::MigrateError;
use tokio::task::JoinSet;
use tokio::time::sleep;
use tokio_cron_scheduler::JobScheduler;
use tower::ServiceExt as _;

use super::progress::{done, expect};
use super::recipe::{
    catalogue, django, import, job, leader, migration, permit, rolling_deploy, ship, tenant,
    transfer, watch, webhook,
};

/// Between two calls of a recipe.
const PAUSE: Duration = Duration::from_millis(20);

/// Starts the instance. Its tasks never end.
pub(crate) async fn start(tasks: &mut JoinSet<()>, pool: &PgPool) -> JobScheduler {
    start_calls(tasks, pool);
    start_sessions(tasks, pool);
    let (on, what) = (pool.clone(), "sweep of the leader");
    expect(what);
    tasks.spawn(async move { panic!("{what}: {:?}", leader::run(&on).await) });
    let (on, what) = (pool.clone(), "scheduled report");
    repeat(tasks, what, move || {
        let on = on.clone();
        async move {
            let made = sqlx::query("DELETE FROM report").execute(&on).await?;
            Ok(made.rows_affected() > 0)
        }
    });
    cron::schedule(pool.clone(), "* * * * * *").await.unwrap()
}

/// The recipes that are calls on a pool.
fn start_calls(tasks: &mut JoinSet<()>, pool: &PgPool) {
    let mut on_pool = OnPool { tasks, pool };
    on_pool.repeat("nightly report", job::call);
    on_pool.repeat("expire", job::call_expire);
    on_pool.repeat("transfer", transfer::call);
    on_pool.repeat("migration", migration::call);
    on_pool.repeat("rolling deploy", rolling_deploy::call);
    on_pool.repeat("shared with Django", django::call);
    on_pool.repeat("reader", catalogue::call_reader);
    on_pool.repeat("writer", catalogue::call_writer);
    on_pool.repeat("export under a permit", permit::call);
    on_pool.repeat("import", import::call);
    on_pool.repeat("ship", ship::call);
    on_pool.repeat("report of the locks", watch::call);
    let delivery = numbers();
    on_pool.repeat("webhook", move |pool| {
        let delivery = delivery();
        async move { webhook::call(&pool, &delivery).await.map(drop) }
    });
    let payments = Router::new().route("/pay", post(|| async { StatusCode::CREATED }));
    let payments = payments.layer(from_fn_with_state(pool.clone(), idempotency::idempotent));
    let key = numbers();
    repeat(tasks, "payment", move || {
        let request = Request::post("/pay").header("Idempotency-Key", key());
        let answer = payments
            .clone()
            .oneshot(request.body(Body::empty()).unwrap());
        async move { Ok(answer.await.unwrap().status() == StatusCode::CREATED) }
    });
}

/// The recipes that share a session, for which the instance has one.
fn start_sessions(tasks: &mut JoinSet<()>, pool: &PgPool) {
    let tenants = std::sync::Arc::new(tenant::Service::new(pool));
    repeat(tasks, "tenant", move || {
        let tenants = tenants.clone();
        async move { tenants.call().await.map(|()| true) }
    });
    let locks = LockSession::new(pool);
    repeat(tasks, "call of the partner", move || {
        let locks = locks.clone();
        async move { permit::call_partner_with(&locks).await.map(|()| true) }
    });
}

/// Numbers from zero. Another instance has the same ones, as if it got each request as well.
fn numbers() -> impl Fn() -> String {
    let next = AtomicU64::new(0);
    move || next.fetch_add(1, Ordering::Relaxed).to_string()
}

struct OnPool<'a> {
    tasks: &'a mut JoinSet<()>,
    pool: &'a PgPool,
}

impl OnPool<'_> {
    fn repeat<F>(&mut self, what: &'static str, call: impl Fn(PgPool) -> F + Send + 'static)
    where
        F: Future<Output = Result<(), Error>> + Send + 'static,
    {
        let pool = self.pool.clone();
        repeat(self.tasks, what, move || {
            let call = call(pool.clone());
            async move { call.await.map(|()| true) }
        });
    }
}

/// Calls again and again, and notes the calls that have done something.
fn repeat<F>(tasks: &mut JoinSet<()>, what: &'static str, call: impl Fn() -> F + Send + 'static)
where
    F: Future<Output = Result<bool, Error>> + Send + 'static,
{
    expect(what);
    tasks.spawn(async move {
        loop {
            match call().await {
                Ok(true) => done(what),
                Ok(false) => {}
                Err(error) => assert!(is_of_outage(&error), "{what}: {error:?}"),
            }
            sleep(PAUSE).await;
        }
    });
}

/// Whether an outage explains the error: a caller tries again after it.
fn is_of_outage(error: &Error) -> bool {
    match error {
        Error::Lost { .. } | Error::NotAcquired { .. } => true,
        Error::Database(error) => is_of_connection(error),
        _ => false,
    }
}

fn is_of_connection(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Io(_) | sqlx::Error::PoolTimedOut => true,
        sqlx::Error::Migrate(error) => match &**error {
            MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _) => {
                is_of_connection(error)
            }
            _ => false,
        },
        sqlx::Error::Database(error) => {
            // Of the connection, or of a server that shuts down or starts.
            let code = error.code().unwrap_or_default();
            code.starts_with("08") || code.starts_with("57P")
        }
        _ => false,
    }
}
