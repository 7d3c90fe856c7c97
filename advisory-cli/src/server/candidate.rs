//! The servers that are tried in turn.

use std::hash::{BuildHasher as _, RandomState};
use std::io::ErrorKind::TimedOut;
use std::time::Duration;

use sqlx::Connection as _;
use sqlx::postgres::{PgConnectOptions, PgConnection};
use tokio::time::timeout;

use super::environment::Environment;
use super::host::{Address, Host};
use super::password_file::{self, Found, Login};
use super::session_attributes::SessionAttributes;
use super::settings::Settings;
use super::tls::Tls;
use crate::exit::{Code, Failure, describe};

/// How long a connection may take to open.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// `connect_timeout=0`: as long as it takes.
const UNLIMITED: Duration = Duration::from_hours(24);

/// Each host, and which of them is wanted.
pub(super) struct Candidates {
    all: Vec<Candidate>,
    attributes: SessionAttributes,
    connect_timeout: Duration,
}

struct Candidate {
    host: Host,
    database: String,
    /// Tried in turn, if the server refuses connections with or without TLS.
    options: Vec<PgConnectOptions>,
    /// Why there is no password, if there is a reason that the user has to know.
    password_hint: Option<String>,
}

/// Why a host is not used.
enum Unfit {
    Error(sqlx::Error),
    Mismatch(&'static str),
}

impl Candidates {
    pub(super) fn read(settings: &Settings, environment: &Environment) -> Result<Self, Failure> {
        let tls = Tls::read(settings, environment)?;
        let mut all = Vec::new();
        for host in Host::all(settings)? {
            tls.check(settings, &host)?;
            all.push(Candidate::new(host, settings, environment, &tls)?);
        }
        match settings.get("load_balance_hosts") {
            None | Some("disable") => {}
            Some("random") => {
                let random = RandomState::new();
                all.sort_by_cached_key(|candidate| random.hash_one(candidate.host.to_string()));
            }
            Some(_) => {
                let expected = "expected `disable` or `random`";
                return Err(settings.failure("load_balance_hosts", expected));
            }
        }
        Ok(Self {
            all,
            attributes: SessionAttributes::read(settings)?,
            connect_timeout: connect_timeout(settings)?,
        })
    }

    pub(super) fn connect_timeout(&self) -> Duration {
        self.connect_timeout
    }

    /// The options of the first server that accepts a connection and is wanted. As in libpq, a
    /// server that refuses the login is the end of the search.
    pub(super) async fn find(&self) -> Result<PgConnectOptions, Failure> {
        let mut unfit = Vec::new();
        for wanted in self.attributes.passes() {
            unfit.clear();
            for candidate in &self.all {
                match candidate.try_connect(*wanted, self.connect_timeout).await {
                    Ok(options) => return Ok(options),
                    Err(Unfit::Error(error)) if is_refusal(&error) => {
                        return Err(candidate.unreachable(&error));
                    }
                    Err(reason) => unfit.push((candidate, reason)),
                }
            }
        }
        Err(match &*unfit {
            [(candidate, Unfit::Error(error))] => candidate.unreachable(error),
            unfit => all_unfit(unfit),
        })
    }
}

impl Candidate {
    fn new(
        host: Host,
        settings: &Settings,
        environment: &Environment,
        tls: &Tls,
    ) -> Result<Self, Failure> {
        let user = settings
            .get("user")
            .map(str::to_owned)
            .or_else(|| environment.user());
        let user = user.ok_or_else(|| {
            Failure::usage("the account that runs the command has no name; give `user` or `PGUSER`")
        })?;
        let database = settings.get("dbname").unwrap_or(&user).to_owned();
        let application_name = settings.get("application_name");
        let fallback = settings.get("fallback_application_name");
        let options = PgConnectOptions::new_without_pgpass()
            // PgBouncer refuses what it does not know.
            .extra_float_digits(None)
            .username(&user)
            .database(&database)
            .application_name(application_name.or(fallback).unwrap_or("advisory"))
            .port(host.port);
        let options = match &host.address {
            Address::Socket(folder) => options.socket(folder),
            Address::Tcp { name, number: None } => options.host(name),
            Address::Tcp {
                number: Some(number),
                ..
            } => options.host(&number.to_string()),
        };
        let options = with_server_options(options, settings)?;
        let login = Login {
            host: &host.in_password_file(),
            port: host.port,
            database: &database,
            user: &user,
        };
        let (password, password_hint) = password(settings, environment, &login);
        let options = match password {
            Some(password) => options.password(&password),
            None => options,
        };
        let modes = tls.modes(&host).into_iter();
        let options = modes
            .map(|mode| tls.set(options.clone()).ssl_mode(mode))
            .collect();
        Ok(Self {
            host,
            database,
            options,
            password_hint,
        })
    }

    async fn try_connect(
        &self,
        wanted: SessionAttributes,
        limit: Duration,
    ) -> Result<PgConnectOptions, Unfit> {
        let mut tried = Err(Unfit::Mismatch(""));
        for options in &self.options {
            let attempt = timeout(limit, connect(options, wanted)).await;
            tried = attempt.unwrap_or_else(|_| {
                let error = std::io::Error::from(TimedOut);
                Err(Unfit::Error(error.into()))
            });
            match &tried {
                Err(Unfit::Error(error)) if is_wrong_encryption(error) => {}
                _ => break,
            }
        }
        tried
    }

    fn unreachable(&self, error: &sqlx::Error) -> Failure {
        let Self { host, database, .. } = self;
        let hint = match &self.password_hint {
            Some(hint) if is_refusal(error) => hint,
            _ => "give another server with `--database-url` or `DATABASE_URL`",
        };
        let reason = describe(error);
        let message = format!("cannot connect to {host}, database `{database}`: {reason}; {hint}");
        Failure::new(Code::Unreachable, message)
    }
}

async fn connect(
    options: &PgConnectOptions,
    wanted: SessionAttributes,
) -> Result<PgConnectOptions, Unfit> {
    let mut conn = PgConnection::connect_with(options)
        .await
        .map_err(Unfit::Error)?;
    let mismatch = wanted.mismatch(&mut conn).await.map_err(Unfit::Error)?;
    // If closing fails, the pool's own connections report the fault.
    let _ = conn.close().await;
    mismatch.map_or_else(
        || Ok(options.clone()),
        |reason| Err(Unfit::Mismatch(reason)),
    )
}

fn all_unfit(unfit: &[(&Candidate, Unfit)]) -> Failure {
    let describe = |(candidate, reason): &(&Candidate, Unfit)| {
        let reason = match reason {
            Unfit::Error(error) => describe(error),
            Unfit::Mismatch(reason) => (*reason).to_owned(),
        };
        format!("{}: {reason}", candidate.host)
    };
    let reasons: Vec<_> = unfit.iter().map(describe).collect();
    let hosts = match unfit.len() {
        1 => String::new(),
        count => format!("any of {count} servers: "),
    };
    let message = format!(
        "cannot connect to {hosts}{}; give another server with `--database-url` or `DATABASE_URL`",
        reasons.join("; ")
    );
    Failure::new(Code::Unreachable, message)
}

/// Adds `options`, which sqlx has already read if they are those of `PGOPTIONS`.
fn with_server_options(
    options: PgConnectOptions,
    settings: &Settings,
) -> Result<PgConnectOptions, Failure> {
    if settings.is_of_environment("options") {
        return Ok(options);
    }
    let text = settings.get("options").unwrap_or_default();
    let parsed = server_options(text).ok_or_else(|| {
        settings.failure("options", "expected settings, such as `-c lock_timeout=5s`")
    })?;
    Ok(if parsed.is_empty() {
        options
    } else {
        options.options(parsed)
    })
}

/// The settings in `-c name=value -cname=value --name=value`, where `\` escapes a space.
fn server_options(text: &str) -> Option<Vec<(String, String)>> {
    // sqlx decodes a `+` in a URL as a space, and libpq does not.
    let text = if text.starts_with("-c+") {
        text.replace('+', " ")
    } else {
        text.to_owned()
    };
    let mut words = vec![String::new()];
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        let c = match c {
            c if c.is_whitespace() => {
                words.push(String::new());
                continue;
            }
            '\\' => chars.next()?,
            c => c,
        };
        words.last_mut()?.push(c);
    }
    let mut settings = Vec::new();
    let mut words = words.into_iter().filter(|word| !word.is_empty());
    while let Some(word) = words.next() {
        let setting = match &*word {
            "-c" => words.next()?,
            _ => word
                .strip_prefix("--")
                .or(word.strip_prefix("-c"))?
                .to_owned(),
        };
        let (name, value) = setting.split_once('=')?;
        settings.push((name.to_owned(), value.to_owned()));
    }
    Some(settings)
}

/// The password, or else why there is none, if the user has to know that.
fn password(
    settings: &Settings,
    environment: &Environment,
    login: &Login<'_>,
) -> (Option<String>, Option<String>) {
    if let Some(password) = settings.get("password") {
        return (Some(password.to_owned()), None);
    }
    let file = settings.get("passfile").map(Into::into);
    let Some(file) = file.or_else(|| environment.in_home(".pgpass")) else {
        return (None, None);
    };
    match password_file::look_up(&file, login) {
        Found::Password(password) => (Some(password), None),
        Found::Nothing => (None, None),
        Found::Ignored(reason) => (None, Some(reason)),
    }
}

fn connect_timeout(settings: &Settings) -> Result<Duration, Failure> {
    let Some(text) = settings.get("connect_timeout") else {
        return Ok(CONNECT_TIMEOUT);
    };
    let seconds: i32 = text.trim().parse().map_err(|_| {
        settings.failure(
            "connect_timeout",
            "expected a whole number of seconds; 0 is no limit",
        )
    })?;
    let seconds = u64::try_from(seconds).unwrap_or_default();
    Ok(if seconds == 0 {
        UNLIMITED
    } else {
        Duration::from_secs(seconds)
    })
}

/// SQLSTATEs of class 28: the server accepts no such login.
const INVALID_AUTHORIZATION: &str = "28";
/// The server accepts no connection now: it starts, stops or recovers.
const CANNOT_CONNECT_NOW: &str = "57P03";

fn has_code(error: &sqlx::Error, is_wanted: impl Fn(&str) -> bool) -> bool {
    let code = error
        .as_database_error()
        .and_then(sqlx::error::DatabaseError::code);
    code.is_some_and(|code| is_wanted(&code))
}

/// Whether a server has answered and refuses, so that no other server is tried.
fn is_refusal(error: &sqlx::Error) -> bool {
    has_code(error, |code| code != CANNOT_CONNECT_NOW)
}

/// Whether the server may accept the same login with or without TLS.
fn is_wrong_encryption(error: &sqlx::Error) -> bool {
    has_code(error, |code| code.starts_with(INVALID_AUTHORIZATION))
}
