//! `advisory key`: from names to keys, and back.

use std::process::ExitCode;

use advisory_core::Key;
use advisory_core::scheme::{self, System};
use clap::Args;
use comfy_table::{Attribute, Cell, CellAlignment};
use serde::Serialize;

use crate::decode::{Decoded, decode};
use crate::exit::Failure;
use crate::names::{Names, Source};
use crate::output;

/// The key of a name, under every scheme; or what a key might be.
#[derive(Args)]
#[command(after_help = "\
Examples:
  advisory key 'sync(4)'
  advisory key 'sync(4)' --key-scheme django-pglock --json
  advisory key --decode -2661838577447997941
  advisory key --decode 3675254891,3113420827,1 --names names.txt")]
pub(crate) struct KeyArgs {
    /// The name; with `--decode` the key: `-42`, `0x1f`, `(1, 7)`, or the columns `classid,objid,objsubid` of `pg_locks`.
    #[arg(required = true, value_name = "NAME", allow_negative_numbers = true)]
    texts: Vec<String>,
    /// Only by this scheme.
    #[arg(long, value_name = "SCHEME", value_parser = crate::scheme::parse, conflicts_with = "decode")]
    key_scheme: Option<&'static System>,
    /// Tells what is known of a key.
    #[arg(long, short)]
    decode: bool,
    /// The database it was seen in, from which the keys of some tools follow.
    #[arg(long, requires = "decode")]
    database: Option<String>,
    #[command(flatten)]
    source: Source,
    /// As JSON: an array with an element for each key.
    #[arg(long)]
    json: bool,
}

pub(crate) fn key(args: &KeyArgs) -> Result<ExitCode, Failure> {
    if args.decode {
        tell(args)?;
    } else {
        show(args)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// The key of a name by one scheme.
#[derive(Clone, Serialize)]
struct Encoded<'a> {
    name: &'a str,
    scheme: &'static str,
    system: &'static str,
    /// As text, because JSON's numbers have 53 bits.
    key: String,
    hex: String,
    classid: u32,
    objid: u32,
    objsubid: i16,
}

impl<'a> Encoded<'a> {
    fn new(name: &'a str, system: &'static System, key: Key) -> Self {
        let (classid, objid, objsubid) = key.to_pg_locks();
        Self {
            name,
            scheme: system.scheme,
            system: system.label,
            key: key.to_string(),
            hex: hex(key),
            classid,
            objid,
            objsubid,
        }
    }
}

fn show(args: &KeyArgs) -> Result<(), Failure> {
    let encoded = args.texts.iter().map(|name| keys(name, args.key_scheme));
    let encoded = encoded.collect::<Result<Vec<_>, _>>()?.concat();
    if args.json {
        return output::json(&encoded);
    }
    let mut table = output::table();
    let heads = [
        "NAME", "SCHEME", "SYSTEM", "KEY", "HEX", "CLASSID", "OBJID", "OBJSUBID",
    ];
    table.set_header(heads.map(|head| Cell::new(head).add_attribute(Attribute::Bold)));
    for key in encoded {
        table.add_row([
            Cell::new(key.name),
            Cell::new(key.scheme),
            Cell::new(key.system),
            right(key.key),
            Cell::new(key.hex),
            right(key.classid.to_string()),
            right(key.objid.to_string()),
            right(key.objsubid.to_string()),
        ]);
    }
    output::line(table.trim_fmt())
}

/// By one scheme, or by every one whose system takes the name.
fn keys<'a>(name: &'a str, only: Option<&'static System>) -> Result<Vec<Encoded<'a>>, Failure> {
    if let Some(system) = only {
        return Ok(vec![Encoded::new(
            name,
            system,
            crate::scheme::key(system, name)?,
        )]);
    }
    let keys = scheme::systems().filter_map(|system| Some((system, system.key(name)?)));
    Ok(keys
        .map(|(system, key)| Encoded::new(name, system, key))
        .collect())
}

fn tell(args: &KeyArgs) -> Result<(), Failure> {
    let mut names = Names::read(&args.source)?;
    let decoded = args.texts.iter();
    let decoded = decoded.map(|text| decode(text, args.database.as_deref(), &mut names));
    let decoded = decoded.collect::<Result<Vec<Decoded>, _>>()?;
    if args.json {
        return output::json(&decoded);
    }
    for decoded in decoded {
        output::line(decoded)?;
    }
    Ok(())
}

/// The bits of a key.
pub(crate) fn hex(key: Key) -> String {
    match key {
        Key::BigInt(key) => format!("{key:#018x}"),
        Key::IntPair(first, second) => format!("({first:#010x}, {second:#010x})"),
    }
}

fn right(text: String) -> Cell {
    Cell::new(text).set_alignment(CellAlignment::Right)
}
