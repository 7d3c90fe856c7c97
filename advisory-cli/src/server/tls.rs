//! The parameters of TLS: the mode, and certificates.

use std::path::{Path, PathBuf};

use sqlx::postgres::{PgConnectOptions, PgSslMode};

use super::environment::Environment;
use super::host::{Address, Host};
use super::settings::Settings;
use crate::exit::Failure;

/// Where libpq looks for certificates, in the home of the user.
const ROOT_CERTIFICATE: &str = ".postgresql/root.crt";
const REVOCATION_LIST: &str = ".postgresql/root.crl";
const CLIENT_CERTIFICATE: &str = ".postgresql/postgresql.crt";
const CLIENT_KEY: &str = ".postgresql/postgresql.key";

pub(super) struct Tls {
    mode: PgSslMode,
    /// Besides the certificates of the system.
    root_certificate: Option<PathBuf>,
    client: Option<(PathBuf, PathBuf)>,
}

impl Tls {
    pub(super) fn read(settings: &Settings, environment: &Environment) -> Result<Self, Failure> {
        let mode = settings.get("sslmode").map(parse_mode).transpose();
        let mode = mode.map_err(|reason| settings.failure("sslmode", reason))?;
        let (mode, root_certificate) = match settings.get("sslrootcert") {
            Some("system") => (of_system(settings, mode)?, None),
            Some(file) => (mode.unwrap_or_default(), Some(PathBuf::from(file))),
            None => {
                let file = environment.existing_in_home(ROOT_CERTIFICATE);
                (mode.unwrap_or_default(), file)
            }
        };
        let has_root = root_certificate.as_deref().is_some_and(Path::exists);
        let mode = match mode {
            // As in libpq, a root certificate that exists is used.
            PgSslMode::Require if has_root => PgSslMode::VerifyCa,
            mode => mode,
        };
        let revocation_list = environment.existing_in_home(REVOCATION_LIST);
        if let Some(file) = revocation_list.filter(|_| verifies(mode)) {
            return Err(Failure::usage(format!(
                "certificate revocation lists are not checked: move {} away to connect without it",
                file.display()
            )));
        }
        let client = client(settings, environment);
        Ok(Self {
            mode,
            root_certificate,
            client,
        })
    }

    /// The modes to try, one after the other, if the server refuses a connection of this kind.
    pub(super) fn modes(&self, host: &Host) -> Vec<PgSslMode> {
        match self.mode {
            _ if host.is_socket() => vec![PgSslMode::Disable],
            PgSslMode::Allow => vec![PgSslMode::Disable, PgSslMode::Require],
            PgSslMode::Prefer => vec![PgSslMode::Prefer, PgSslMode::Disable],
            mode => vec![mode],
        }
    }

    /// The name that the certificate of the server must have is the one that sqlx connects to.
    pub(super) fn check(&self, settings: &Settings, host: &Host) -> Result<(), Failure> {
        let is_by_number = matches!(
            host.address,
            Address::Tcp {
                number: Some(_),
                ..
            }
        );
        if is_by_number && matches!(self.mode, PgSslMode::VerifyFull) {
            let reason = "a certificate can be verified for the address only that is connected to; \
                          give the server by its `host` alone, or `sslmode=verify-ca`";
            return Err(settings.failure("hostaddr", reason));
        }
        Ok(())
    }

    pub(super) fn set(&self, options: PgConnectOptions) -> PgConnectOptions {
        let options = match &self.root_certificate {
            Some(file) => options.ssl_root_cert(file),
            // sqlx has read `PGSSLROOTCERT`, and would take `system` for a file.
            None => options.ssl_root_cert_from_pem(Vec::new()),
        };
        match &self.client {
            Some((certificate, key)) => options.ssl_client_cert(certificate).ssl_client_key(key),
            None => options,
        }
    }
}

fn parse_mode(text: &str) -> Result<PgSslMode, &'static str> {
    text.parse().map_err(
        |_| "expected one of `disable`, `allow`, `prefer`, `require`, `verify-ca`, `verify-full`",
    )
}

fn verifies(mode: PgSslMode) -> bool {
    matches!(mode, PgSslMode::VerifyCa | PgSslMode::VerifyFull)
}

/// The certificates of the system do not say whose the server is, so its name must be verified.
fn of_system(settings: &Settings, mode: Option<PgSslMode>) -> Result<PgSslMode, Failure> {
    match mode {
        None | Some(PgSslMode::VerifyFull) => Ok(PgSslMode::VerifyFull),
        Some(_) => {
            let reason = "with `sslrootcert=system`, expected `verify-full`";
            Err(settings.failure("sslmode", reason))
        }
    }
}

fn client(settings: &Settings, environment: &Environment) -> Option<(PathBuf, PathBuf)> {
    let file = |name, in_home| {
        let given = settings.get(name).map(PathBuf::from);
        given.or_else(|| environment.existing_in_home(in_home))
    };
    Some((
        file("sslcert", CLIENT_CERTIFICATE)?,
        file("sslkey", CLIENT_KEY)?,
    ))
}
