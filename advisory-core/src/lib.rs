//! PostgreSQL advisory locks for sqlx.
