//! The servers that are tried in turn.

use std::hash::{BuildHasher as _, RandomState};
use std::io::ErrorKind::TimedOut;
use std::time::Duration;

use sqlx::Connection as _;
use sqlx::postgres::{PgConnectOptions, PgConnection};
use tokio::time::timeout;

use super::environment::Environment;
use super::host::Host;
use super::login::Login;
use super::session_attributes::SessionAttributes;
use super::settings::Settings;
use super::tls::Tls;
use crate::exit::{Code, Failure, describe};
use crate::sql;
use crate::transient::{is_refusal, is_transient};

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
    /// The candidates of the settings, with the attributes that are wanted if they do not say.
    pub(super) fn read(
        settings: &Settings,
        environment: &Environment,
        wanted: SessionAttributes,
    ) -> Result<Self, Failure> {
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
            attributes: SessionAttributes::read(settings, wanted)?,
            connect_timeout: connect_timeout(settings)?,
        })
    }

    pub(super) fn connect_timeout(&self) -> Duration {
        self.connect_timeout
    }

    /// The options of the first server that accepts a connection and is wanted. As in libpq, a
    /// server that refuses the login is the end of the search. Unlike in libpq, one that refuses it
    /// only for now is not: it has no connection left, or is a PgBouncer whose own server is away.
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
        let Login {
            options,
            password_hint,
        } = Login::new(&host, settings, environment)?;
        let modes = tls.modes(&host).into_iter();
        let with_mode = |mode| tls.set(options.clone()).ssl_mode(mode);
        Ok(Self {
            database: options.get_database().unwrap_or_default().to_owned(),
            options: modes.map(with_mode).collect(),
            password_hint,
            host,
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
                Err(Unfit::Error(error)) if sql::is_refused_login(error) => {}
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
        Failure::unreachable(error, message)
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
    // In a failover, one of them is promoted soon.
    let is_transient = |(_, reason): &(&Candidate, Unfit)| match reason {
        Unfit::Error(error) => is_transient(error),
        Unfit::Mismatch(_) => true,
    };
    let failure = Failure::new(Code::Unreachable, message);
    if unfit.iter().any(is_transient) {
        failure.transient()
    } else {
        failure
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
