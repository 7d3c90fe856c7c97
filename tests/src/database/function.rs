//! Lock functions that lock nothing.

use super::Database;

impl Database {
    /// Replaces PostgreSQL's lock functions in this database by functions that do nothing. They
    /// have new ids, because the server calls its built-in functions by id and ignores the
    /// catalogue.
    ///
    /// # Panics
    ///
    /// If the server refuses.
    pub async fn replace_lock_functions(&self) {
        for (start, result, body) in [
            ("pg", "void", "SELECT"),
            ("pg_try", "boolean", "SELECT true"),
        ] {
            for end in ["lock", "lock_shared", "xact_lock", "xact_lock_shared"] {
                for arguments in ["bigint", "int, int"] {
                    let name = format!("{start}_advisory_{end}");
                    let replace = format!(
                        "ALTER FUNCTION pg_catalog.{name}({arguments}) RENAME TO own_{name}; \
                         CREATE FUNCTION pg_catalog.{name}({arguments}) RETURNS {result} \
                         LANGUAGE sql AS '{body}'"
                    );
                    self.execute(replace).await;
                }
            }
        }
    }
}
