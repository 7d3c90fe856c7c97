//! The keys of a name.

use advisory_core::scheme::System;
use comfy_table::{Attribute, Cell, CellAlignment, Table};
use serde::Serialize;

use super::forms::KeyForms;
use crate::exit::Failure;
use crate::output;
use crate::target::{hash, hash_by_all};

/// The key of a name by one scheme.
#[derive(Clone, Serialize)]
pub(super) struct Encoded<'a> {
    name: &'a str,
    scheme: &'static str,
    system: &'static str,
    #[serde(flatten)]
    key: KeyForms,
}

/// The keys of a name: by the given scheme, or else by every scheme whose system takes the name.
pub(super) fn encode<'a>(
    name: &'a str,
    scheme: Option<&'static System>,
) -> Result<Vec<Encoded<'a>>, Failure> {
    let keys = match scheme {
        Some(system) => vec![(system, hash(system, name)?)],
        None => hash_by_all(name).collect(),
    };
    let encoded = keys.into_iter().map(|(system, key)| Encoded {
        name,
        scheme: system.scheme,
        system: system.label,
        key: key.into(),
    });
    Ok(encoded.collect())
}

pub(super) fn table(rows: Vec<Encoded<'_>>) -> Table {
    let mut table = output::new_table();
    let heads = "NAME SCHEME SYSTEM KEY HEX CLASSID OBJID OBJSUBID".split(' ');
    table.set_header(heads.map(|head| Cell::new(head).add_attribute(Attribute::Bold)));
    let right = |text: String| Cell::new(text).set_alignment(CellAlignment::Right);
    for row in rows {
        table.add_row([
            Cell::new(row.name),
            Cell::new(row.scheme),
            Cell::new(row.system),
            right(row.key.key),
            Cell::new(row.key.hex),
            right(row.key.classid.to_string()),
            right(row.key.objid.to_string()),
            right(row.key.objsubid.to_string()),
        ]);
    }
    table
}
