//! A middleware of axum's that answers a repeated request as the first one.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use advisory_core::AdvisoryLock;
use advisory_recipes::idempotency::idempotent;
use advisory_tests::{Database, another_pool};
use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{HeaderValue, Request, StatusCode};
use axum::middleware::from_fn_with_state;
use axum::routing::post;
use futures_util::future::join_all;
use sqlx::{Executor as _, PgPool};
use tower::ServiceExt as _;

const RECIPES: &str = include_str!("../../../../docs/RECIPES.md");

/// The table of the recipe.
fn table() -> &'static str {
    let mut blocks = RECIPES.split("```sql\n").skip(1);
    let block = blocks.find(|block| block.starts_with("CREATE TABLE answer"));
    block.and_then(|block| block.split("```").next()).unwrap()
}

/// Counts its calls, and answers with their number.
fn router(pool: PgPool, calls: &Arc<AtomicUsize>, status: StatusCode) -> Router {
    let calls = Arc::clone(calls);
    let pay = async move || {
        let call = calls.fetch_add(1, Ordering::SeqCst) + 1;
        tokio::task::yield_now().await;
        (status, format!("payment {call}"))
    };
    Router::new()
        .route("/pay", post(pay))
        .layer(from_fn_with_state(pool, idempotent))
}

async fn send(router: Router, key: Option<&str>) -> (StatusCode, String) {
    let mut request = Request::post("/pay");
    if let Some(key) = key {
        let key = HeaderValue::from_bytes(key.as_bytes()).unwrap();
        request = request.header("Idempotency-Key", key);
    }
    let request = request.body(Body::empty()).unwrap();
    let response = router.oneshot(request).await.unwrap();
    let status = response.status();
    let body = to_bytes(response.into_body(), 1000).await.unwrap();
    (status, String::from_utf8(body.to_vec()).unwrap())
}

async fn set_up() -> (Database, PgPool) {
    let (database, pool) = Database::with_pool(5).await;
    pool.execute(table()).await.unwrap();
    (database, pool)
}

#[tokio::test]
async fn requests_of_one_key_run_once_and_get_one_answer() {
    let (database, pool) = set_up().await;
    let calls = Arc::default();
    let routers = [(); 2].map(|()| router(another_pool(&pool), &calls, StatusCode::CREATED));
    let answers = (0..20).map(|n| send(routers[n % 2].clone(), Some("a")));
    for answer in join_all(answers).await {
        assert_eq!(answer, (StatusCode::CREATED, "payment 1".to_owned()));
    }
    let answer = send(routers[0].clone(), Some("b")).await;
    assert_eq!(answer.1, "payment 2");
    let answer = send(routers[0].clone(), None).await;
    assert_eq!(answer.1, "payment 3");
    database.wait_until_held(0).await;
}

#[tokio::test]
async fn failed_request_runs_again() {
    let (_database, pool) = set_up().await;
    let calls = Arc::default();
    let failing = router(pool.clone(), &calls, StatusCode::BAD_GATEWAY);
    assert_eq!(send(failing, Some("a")).await.0, StatusCode::BAD_GATEWAY);
    let working = router(pool, &calls, StatusCode::CREATED);
    let answer = send(working, Some("a")).await;
    assert_eq!(answer, (StatusCode::CREATED, "payment 2".to_owned()));
}

#[tokio::test]
async fn request_is_refused_while_the_first_one_runs_for_long() {
    let (_database, pool) = set_up().await;
    let calls = Arc::default();
    let router = router(pool.clone(), &calls, StatusCode::CREATED);
    let running = AdvisoryLock::new("idempotency:a").begin(&pool).await;
    let answer = send(router.clone(), Some("a")).await;
    assert_eq!(answer.0, StatusCode::CONFLICT);
    running.unwrap().rollback().await.unwrap();
    let answer = send(router, Some("not ASCII: é")).await;
    assert_eq!(answer.0, StatusCode::BAD_REQUEST);
    assert_eq!(calls.load(Ordering::SeqCst), 0);
}
