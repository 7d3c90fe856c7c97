//! Imports of tenants. Two imports of one tenant never overlap in the whole fleet; those of two
//! tenants may.

use advisory_core::{Error, LockSession, advisory};
use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use serde_json::{Value, json};
use sqlx::postgres::PgPool;

use crate::jsonb;
use crate::problem::Problem;
use crate::router::App;

/// Responds with 200 when the items are imported, and with 409 if another request, on this or
/// another instance, is importing for this tenant.
pub(crate) async fn import(
    State(app): State<App>,
    Path(tenant): Path<i64>,
    Json(items): Json<Vec<Value>>,
) -> Result<(StatusCode, Json<Value>), Problem> {
    items.iter().try_for_each(jsonb::check)?;
    Ok(
        match replace(&app.locks, &app.pool, tenant, &items).await? {
            Some(imported) => (StatusCode::OK, Json(json!({ "imported": imported }))),
            None => (StatusCode::CONFLICT, Json(json!({ "importing": tenant }))),
        },
    )
}

/// Replaces the items of a tenant. An import can be long, and commits each item, so the lock is
/// held in a session and not in a transaction. All tenants share that session, so that many imports
/// take no connection but those of their statements.
#[advisory(key = "tenant:{tenant}", scope = session, timeout = 0, side_effect = Skip, on = locks)]
async fn replace(
    locks: &LockSession,
    pool: &PgPool,
    tenant: i64,
    items: &[Value],
) -> Result<Option<usize>, Error> {
    let delete = sqlx::query("DELETE FROM item WHERE tenant = $1").bind(tenant);
    delete.execute(pool).await?;
    for item in items {
        let insert = sqlx::query("INSERT INTO item (tenant, value) VALUES ($1, $2::jsonb)");
        let insert = insert.bind(tenant).bind(item.to_string());
        insert.execute(pool).await?;
    }
    Ok(Some(items.len()))
}
