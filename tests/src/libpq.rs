//! How others find a database.

use sqlx::postgres::PgConnectOptions;
use url::Url;

use crate::database::Database;
use crate::proxy::Proxy;

impl Database {
    /// The variables in which libpq finds this database, and every client that is built on it or does as it does.
    pub fn libpq(&self) -> Vec<(&'static str, String)> {
        self.libpq_by(&self.options())
    }

    /// The same, by way of a proxy.
    pub fn libpq_through(&self, proxy: &Proxy) -> Vec<(&'static str, String)> {
        self.libpq_by(&proxy.options())
    }

    fn libpq_by(&self, options: &PgConnectOptions) -> Vec<(&'static str, String)> {
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
