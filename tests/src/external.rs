//! A server that somebody else runs.

use std::str::FromStr as _;
use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{ConnectOptions as _, Connection as _};
use url::Url;

use crate::binary;
use crate::error::StartError;
use crate::server::block_on;
use crate::version::Version;

/// The variable that names the server. Never `DATABASE_URL`: tests create databases and kill backends.
const VARIABLE: &str = "ADVISORY_DATABASE_URL";

/// How long the server may take to answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// The server in `ADVISORY_DATABASE_URL`.
pub(crate) struct External {
    url: Url,
    options: PgConnectOptions,
}

impl External {
    /// The server named by the environment, once it has answered; `None` if none is named.
    pub(crate) fn from_env() -> Option<Result<(Self, Version), StartError>> {
        named().map(|text| Self::connect(&text))
    }

    /// True if the environment names a server.
    pub(crate) fn is_named() -> bool {
        named().is_some()
    }

    fn connect(text: &str) -> Result<(Self, Version), StartError> {
        let failed = |url: String, reason| StartError::External { url, reason };
        let url =
            Url::parse(text).map_err(|error| failed("not a URL".into(), error.to_string()))?;
        let failed = |reason| failed(without_password(&url), reason);
        if !matches!(url.scheme(), "postgres" | "postgresql") {
            return Err(failed(format!(
                "expected `postgresql://…`, found `{}://…`",
                url.scheme()
            )));
        }
        let options =
            PgConnectOptions::from_str(text).map_err(|error| failed(error.to_string()))?;
        let version = block_on(version(&options)).map_err(failed)?;
        if version.major < binary::OLDEST {
            return Err(failed(format!(
                "PostgreSQL {version} is older than {}",
                binary::OLDEST
            )));
        }
        Ok((Self { url, options }, version))
    }

    pub(crate) fn options(&self) -> PgConnectOptions {
        self.options.clone()
    }

    pub(crate) fn url(&self, database: &str) -> String {
        let mut url = self.url.clone();
        url.set_path(&format!("/{database}"));
        remove_from_query(&mut url, "dbname");
        url.into()
    }
}

fn named() -> Option<String> {
    std::env::var(VARIABLE).ok().filter(|text| !text.is_empty())
}

async fn version(options: &PgConnectOptions) -> Result<Version, String> {
    let ask = async {
        let mut connection: PgConnection = options.connect().await?;
        let number: i32 =
            sqlx::query_scalar("SELECT pg_catalog.current_setting('server_version_num')::int4")
                .fetch_one(&mut connection)
                .await?;
        connection.close().await?;
        Ok::<_, sqlx::Error>(Version::from_number(number.unsigned_abs()))
    };
    match tokio::time::timeout(PATIENCE, ask).await {
        Ok(answer) => answer.map_err(|error| error.to_string()),
        Err(_) => Err(format!("no answer within {PATIENCE:?}")),
    }
}

fn without_password(url: &Url) -> String {
    let mut url = url.clone();
    // Refused for a URL that has no host, and so no password.
    let _ = url.set_password(None);
    remove_from_query(&mut url, "password");
    url.into()
}

fn remove_from_query(url: &mut Url, name: &str) {
    let pairs = url.query().unwrap_or_default().split('&');
    let others = pairs.filter(|pair| pair.split('=').next() != Some(name));
    let query = others.collect::<Vec<_>>().join("&");
    url.set_query(Some(query.as_str()).filter(|query| !query.is_empty()));
}
