//! What a column of type `jsonb` can store.

use serde_json::Value;

use crate::problem::Problem;

/// Refuses JSON with a NUL character, which is valid and which PostgreSQL cannot store. A provider
/// would repeat such a delivery without end if the statement failed instead.
pub(crate) fn check(value: &Value) -> Result<(), Problem> {
    if is_storable(value) {
        Ok(())
    } else {
        Err(Problem::NulCharacter)
    }
}

fn is_storable(value: &Value) -> bool {
    match value {
        Value::String(text) => !text.contains('\0'),
        Value::Array(items) => items.iter().all(is_storable),
        Value::Object(members) => members
            .iter()
            .all(|(name, value)| !name.contains('\0') && is_storable(value)),
        Value::Null | Value::Bool(_) | Value::Number(_) => true,
    }
}
