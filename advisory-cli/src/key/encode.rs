//! The keys of a name.

use advisory_core::scheme::System;
use comfy_table::{Attribute, Cell, CellAlignment, Table};
use serde::Serialize;

use super::forms::KeyForms;
use crate::exit::Failure;
use crate::names::Names;
use crate::output;
use crate::scheme_name::{hash, hash_by_all};
use crate::target::tool;

/// A key of a name.
#[derive(Clone, Serialize)]
pub(super) struct Encoded<'a> {
    name: &'a str,
    /// The scheme that makes the key from the name. `None` if somebody has given it the name.
    scheme: Option<&'static str>,
    system: &'static str,
    #[serde(flatten)]
    key: KeyForms,
}

/// The keys that the names file and known tools have under this name.
pub(super) fn of_name<'a>(
    name: &'a str,
    names: &Names,
    database: Option<&str>,
) -> Result<Vec<Encoded<'a>>, Failure> {
    let of_tool = match tool(name) {
        Some(tool) => Some((
            tool.label,
            tool.key(database).ok_or_else(|| {
                Failure::usage(format!(
                    "the key of {name} follows from the name of the database; give `--database`"
                ))
            })?,
        )),
        None => None,
    };
    let of_file = names.named_key(name).map(|key| ("names file", key));
    let keys = of_file.into_iter().chain(of_tool);
    let encoded = keys.map(|(system, key)| Encoded {
        name,
        scheme: None,
        system,
        key: key.into(),
    });
    Ok(encoded.collect())
}

/// The keys of a name: by the given scheme, or else by every scheme whose system takes the name.
pub(super) fn hashed<'a>(
    name: &'a str,
    scheme: Option<&'static System>,
) -> Result<Vec<Encoded<'a>>, Failure> {
    let keys = match scheme {
        Some(system) => vec![(system, hash(system, name)?)],
        None => hash_by_all(name).collect(),
    };
    let encoded = keys.into_iter().map(|(system, key)| Encoded {
        name,
        scheme: Some(system.scheme),
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
            Cell::new(row.scheme.unwrap_or_default()),
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
