//! The environment variables with which libpq connects.

use sqlx::postgres::PgConnectOptions;
use url::Url;

use super::Database;

impl Database {
    /// The environment variables with which libpq connects to this database. Clients that are built
    /// on libpq, or compatible with it, read them as well.
    pub fn libpq(&self) -> Vec<(&'static str, String)> {
        self.libpq_with(&self.options())
    }

    /// As [`libpq`](Self::libpq), with the address in `options`.
    pub(crate) fn libpq_with(&self, options: &PgConnectOptions) -> Vec<(&'static str, String)> {
        let host = match options.get_socket() {
            Some(folder) => folder.display().to_string(),
            None => options.get_host().to_owned(),
        };
        let mut variables = vec![
            ("PGHOST", host),
            ("PGPORT", options.get_port().to_string()),
            ("PGUSER", options.get_username().to_owned()),
            ("PGDATABASE", self.name().to_owned()),
        ];
        let url = Url::parse(&self.url()).ok();
        if let Some(password) = url.as_ref().and_then(Url::password) {
            let password = percent_encoding::percent_decode_str(password).decode_utf8_lossy();
            variables.push(("PGPASSWORD", password.into_owned()));
        }
        variables
    }
}
