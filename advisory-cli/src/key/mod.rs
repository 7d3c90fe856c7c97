//! `advisory key`: the keys of a name, and what is known of a key.

mod decode;
mod encode;
mod forms;

use std::process::ExitCode;

use advisory_core::scheme::System;
use clap::Args;

use crate::exit::Failure;
use crate::names::{Names, NamesOption};
use crate::output;
use crate::target::parse_scheme;

/// Print the key of a name under every scheme, or what is known of a key.
#[derive(Args)]
#[command(after_help = "\
Examples:
  advisory key 'sync(4)'
  advisory key 'sync(4)' --key-scheme django-pglock --json
  advisory key --decode -2661838577447997941
  advisory key --decode 3675254891,3113420827,1 --names names.txt")]
pub(crate) struct KeyArgs {
    /// The name. With `--decode`, the key: `-42`, `0x1f`, `(1, 7)`, or the columns
    /// `classid,objid,objsubid` of `pg_locks`.
    #[arg(required = true, value_name = "NAME", allow_negative_numbers = true)]
    texts: Vec<String>,
    /// Hash the name by this scheme only.
    #[arg(long, value_name = "SCHEME", value_parser = parse_scheme, conflicts_with = "decode")]
    key_scheme: Option<&'static System>,
    /// Print what is known of a key.
    #[arg(long, short)]
    decode: bool,
    /// The database in which the key was seen. Some tools make their keys from its name.
    #[arg(long, requires = "decode")]
    database: Option<String>,
    #[command(flatten)]
    names: NamesOption,
    /// Print an array as JSON, with an element for each key.
    #[arg(long)]
    json: bool,
}

impl KeyArgs {
    pub(crate) fn run(&self) -> Result<ExitCode, Failure> {
        if self.decode {
            self.print_decoded()?;
        } else {
            self.print_encoded()?;
        }
        Ok(ExitCode::SUCCESS)
    }

    fn print_encoded(&self) -> Result<(), Failure> {
        let names = self.texts.iter();
        let encoded = names.map(|name| encode::encode(name, self.key_scheme));
        let encoded = encoded.collect::<Result<Vec<_>, _>>()?.concat();
        if self.json {
            return output::print_json(&encoded);
        }
        output::print_table(&encode::table(encoded))
    }

    fn print_decoded(&self) -> Result<(), Failure> {
        let mut names = Names::read(&self.names)?;
        let database = self.database.as_deref();
        let keys = self.texts.iter();
        let decoded = keys.map(|key| decode::decode(key, database, &mut names));
        let decoded = decoded.collect::<Result<Vec<_>, _>>()?;
        if self.json {
            return output::print_json(&decoded);
        }
        decoded.iter().try_for_each(output::print_line)
    }
}
