//! `advisory key`: the keys of a name, and what is known of a key.

mod database;
mod decode;
mod encode;
mod forms;

use std::process::ExitCode;

use advisory_core::scheme::System;
use clap::Args;

use self::database::Databases;
use crate::exit::{Failure, print_message};
use crate::logged_key::LoggedKey;
use crate::names::{Names, NamesOption};
use crate::output;
use crate::scheme_name::parse_scheme;
use crate::server::Server;

/// Print the key of a name under every scheme, or what is known of a key.
#[derive(Args)]
#[command(
    override_usage = "advisory key [OPTIONS] <NAME>...",
    after_help = "\
Examples:
  advisory key 'sync(4)'
  advisory key 'sync(4)' --key-scheme django-pglock --json
  advisory key 'Prisma Migrate'
  advisory key --decode -2661838577447997941
  advisory key --decode 3675254891,3113420827,1 --names names.txt
  advisory key --decode '[16384,0,72707369,1]'"
)]
pub(crate) struct KeyArgs {
    /// The name. With `--decode`, the key: `-42`, `0x1f`, `(1, 7)`, the columns
    /// `classid,objid,objsubid` of `pg_locks`, or `[database,classid,objid,objsubid]` as in the
    /// server's log.
    #[arg(required = true, value_name = "NAME", allow_negative_numbers = true)]
    texts: Vec<String>,
    /// Hash the name by this scheme only.
    #[arg(long, value_name = "SCHEME", value_parser = parse_scheme, conflicts_with = "decode")]
    key_scheme: Option<&'static System>,
    /// Print what is known of a key.
    #[arg(long, short)]
    decode: bool,
    /// The name of the database. Some tools make their keys from it. If not given, the server is
    /// asked for the name of the database in `[database,classid,objid,objsubid]`.
    #[arg(long)]
    database: Option<String>,
    #[command(flatten)]
    names: NamesOption,
    /// Print an array as JSON, with an element for each key.
    #[arg(long)]
    json: bool,
}

impl KeyArgs {
    pub(crate) async fn run(&self, server: &Server) -> Result<ExitCode, Failure> {
        let mut names = Names::read(&self.names)?;
        if self.decode {
            self.print_decoded(server, &mut names).await?;
        } else {
            self.print_encoded(&names)?;
        }
        Ok(ExitCode::SUCCESS)
    }

    fn print_encoded(&self, names: &Names) -> Result<(), Failure> {
        let mut encoded = Vec::new();
        for name in &self.texts {
            if self.key_scheme.is_none() {
                encoded.extend(encode::of_name(name, names, self.database.as_deref())?);
            }
            encoded.extend(encode::hashed(name, self.key_scheme)?);
        }
        if self.json {
            return output::print_json(&encoded);
        }
        output::print_table(&encode::table(encoded))?;
        let is_key = |name: &&String| name.parse::<LoggedKey>().is_ok();
        if let Some(key) = self.texts.iter().find(is_key) {
            let hint = format!("`{key}` is a name here; `--decode` shows what is known of the key");
            print_message(hint);
        }
        Ok(())
    }

    async fn print_decoded(&self, server: &Server, names: &mut Names) -> Result<(), Failure> {
        let keys = self.texts.iter().map(|text| {
            let hint = |error| format!("{error}; `advisory key NAME` shows the keys of a name");
            text.parse::<LoggedKey>()
                .map_err(hint)
                .map_err(Failure::usage)
        });
        let keys = keys.collect::<Result<Vec<_>, _>>()?;
        let mut databases = Databases::new(server, self.database.clone());
        let mut decoded = Vec::new();
        for key in keys {
            let database = databases.of(key.database).await;
            decoded.push(decode::decode(key, database, names));
        }
        if self.json {
            return output::print_json(&decoded);
        }
        decoded.iter().try_for_each(output::print_line)
    }
}
