use sqlx::PgPool;

async fn on_a_pool(pool: &PgPool) {
    let _ = advisory_core::lock(pool, 1).await;
}

fn main() {}
