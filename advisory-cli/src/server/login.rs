//! The options of a connection to one host, except those of TLS.

use sqlx::postgres::PgConnectOptions;

use super::environment::Environment;
use super::host::{Address, Host};
use super::password_file::{self, Entry, Found};
use super::server_options;
use super::settings::Settings;
use crate::exit::Failure;

pub(super) struct Login {
    pub(super) options: PgConnectOptions,
    /// Why there is no password, if there is a reason that the user has to know.
    pub(super) password_hint: Option<String>,
}

impl Login {
    pub(super) fn new(
        host: &Host,
        settings: &Settings,
        environment: &Environment,
    ) -> Result<Self, Failure> {
        let user = settings.get("user").map(str::to_owned);
        let user = user.or_else(|| environment.user()).ok_or_else(|| {
            Failure::usage("the account that runs the command has no name; give `user` or `PGUSER`")
        })?;
        let database = settings.get("dbname").unwrap_or(&user);
        let application_name = settings.get("application_name");
        let fallback = settings.get("fallback_application_name");
        let options = PgConnectOptions::new_without_pgpass()
            // PgBouncer refuses what it does not know.
            .extra_float_digits(None)
            .username(&user)
            .database(database)
            .application_name(application_name.or(fallback).unwrap_or("advisory"));
        let options = server_options::add(at_host(options, host), settings)?;
        let (password, password_hint) = password(settings, environment, host, &options);
        Ok(Self {
            options: match password {
                Some(password) => options.password(&password),
                None => options,
            },
            password_hint,
        })
    }
}

fn at_host(options: PgConnectOptions, host: &Host) -> PgConnectOptions {
    let options = options.port(host.port);
    match &host.address {
        Address::Socket(folder) => options.socket(folder),
        Address::Tcp { name, number: None } => options.host(name),
        Address::Tcp {
            number: Some(number),
            ..
        } => options.host(&number.to_string()),
    }
}

/// The password, or else why there is none, if the user has to know that.
fn password(
    settings: &Settings,
    environment: &Environment,
    host: &Host,
    options: &PgConnectOptions,
) -> (Option<String>, Option<String>) {
    if let Some(password) = settings.get("password") {
        return (Some(password.to_owned()), None);
    }
    let file = settings.get("passfile").map(Into::into);
    let Some(file) = file.or_else(|| environment.in_home(".pgpass")) else {
        return (None, None);
    };
    let entry = Entry {
        host: &host.in_password_file(),
        port: host.port,
        database: options.get_database().unwrap_or_default(),
        user: options.get_username(),
    };
    match password_file::look_up(&file, &entry) {
        Found::Password(password) => (Some(password), None),
        Found::Nothing => (None, None),
        Found::Ignored(reason) => (None, Some(reason)),
    }
}
