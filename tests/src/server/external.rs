//! A server that the harness did not start: the one in `ADVISORY_DATABASE_URL`.

use std::str::FromStr as _;
use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{ConnectOptions as _, Connection as _};
use url::Url;

use super::block_on;
use crate::binaries::{OLDEST_MAJOR, Version};
use crate::environment::database_url;
use crate::error::StartError;

/// How long the server may take to answer.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(5);

/// The server in `ADVISORY_DATABASE_URL`.
pub(crate) struct External {
    url: Url,
    options: PgConnectOptions,
}

impl External {
    /// Connects to the server that the variable names; `None` if the variable is not set.
    pub(crate) fn from_env() -> Option<Result<(Self, Version), StartError>> {
        database_url().map(|url| Self::connect(&url))
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
        if version.major < OLDEST_MAJOR {
            return Err(failed(format!(
                "PostgreSQL {version} is older than {OLDEST_MAJOR}"
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
    match tokio::time::timeout(RESPONSE_TIMEOUT, ask).await {
        Ok(answer) => answer.map_err(|error| error.to_string()),
        Err(_) => Err(format!("no answer within {RESPONSE_TIMEOUT:?}")),
    }
}

fn without_password(url: &Url) -> String {
    let mut url = url.clone();
    // A URL without a host has no password, and refuses to set one.
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
