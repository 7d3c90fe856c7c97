//! The parameters of libpq. Each has the meaning that it has there, or is refused.

use self::Support::{Full, Irrelevant, Only};

/// A parameter of a connection.
pub(super) struct Parameter {
    /// As in a connection string and in a service file.
    pub(super) name: &'static str,
    /// The environment variable with its default.
    pub(super) variable: Option<&'static str>,
    pub(super) support: Support,
}

/// What the command does with the value of a parameter.
pub(super) enum Support {
    /// As libpq does.
    Full,
    /// Any value does what libpq would do, or has an effect that no statement of the command shows.
    Irrelevant,
    /// Only these values are supported. The text says why, and what to do.
    Only(&'static [&'static str], &'static str),
}

const fn parameter(
    name: &'static str,
    variable: Option<&'static str>,
    support: Support,
) -> Parameter {
    Parameter {
        name,
        variable,
        support,
    }
}

const NO_CRL: &str = "certificate revocation lists are not checked; remove it";
const NO_GSS: &str = "GSSAPI is not supported; remove it, and use another kind of authentication";
const NO_SCRAM_KEYS: &str = "expected the password itself, in `password` or a password file";
const NO_OAUTH: &str = "OAuth is not supported; remove it, and use another kind of authentication";

/// The parameters of PostgreSQL 18 and of older versions, and `servicefile` of a newer one.
pub(super) const PARAMETERS: &[Parameter] = &[
    parameter("service", Some("PGSERVICE"), Full),
    parameter("servicefile", Some("PGSERVICEFILE"), Full),
    parameter("host", Some("PGHOST"), Full),
    parameter("hostaddr", Some("PGHOSTADDR"), Full),
    parameter("port", Some("PGPORT"), Full),
    parameter("dbname", Some("PGDATABASE"), Full),
    parameter("user", Some("PGUSER"), Full),
    parameter("password", Some("PGPASSWORD"), Full),
    parameter("passfile", Some("PGPASSFILE"), Full),
    parameter("connect_timeout", Some("PGCONNECT_TIMEOUT"), Full),
    parameter("options", Some("PGOPTIONS"), Full),
    parameter("application_name", Some("PGAPPNAME"), Full),
    parameter("fallback_application_name", None, Full),
    parameter("sslmode", Some("PGSSLMODE"), Full),
    parameter("sslrootcert", Some("PGSSLROOTCERT"), Full),
    parameter("sslcert", Some("PGSSLCERT"), Full),
    parameter("sslkey", Some("PGSSLKEY"), Full),
    parameter("target_session_attrs", Some("PGTARGETSESSIONATTRS"), Full),
    parameter("load_balance_hosts", Some("PGLOADBALANCEHOSTS"), Full),
    // `run` and `hold` probe their session themselves, and other commands are short.
    parameter("keepalives", None, Irrelevant),
    parameter("keepalives_idle", None, Irrelevant),
    parameter("keepalives_interval", None, Irrelevant),
    parameter("keepalives_count", None, Irrelevant),
    parameter("tcp_user_timeout", None, Irrelevant),
    parameter(
        "client_encoding",
        Some("PGCLIENTENCODING"),
        Only(
            &["UTF8", "UTF-8", "UNICODE", "auto"],
            "the command reads and writes UTF-8",
        ),
    ),
    parameter(
        "replication",
        None,
        Only(
            &["false", "off", "no", "0"],
            "a replication connection takes no locks",
        ),
    ),
    parameter(
        "channel_binding",
        Some("PGCHANNELBINDING"),
        Only(
            &["prefer", "disable"],
            "channel binding is not supported; `sslmode=verify-full` protects the connection, too",
        ),
    ),
    parameter(
        "require_auth",
        Some("PGREQUIREAUTH"),
        Only(
            &[],
            "the kind of authentication cannot be restricted; remove it",
        ),
    ),
    parameter(
        "requirepeer",
        Some("PGREQUIREPEER"),
        Only(&[], "the server's account is not checked; remove it"),
    ),
    parameter(
        "sslnegotiation",
        Some("PGSSLNEGOTIATION"),
        Only(&["postgres"], "TLS always begins with a request"),
    ),
    parameter(
        "sslcompression",
        Some("PGSSLCOMPRESSION"),
        Only(&["0"], "TLS is never compressed"),
    ),
    parameter(
        "sslcertmode",
        Some("PGSSLCERTMODE"),
        Only(
            &["allow"],
            "a client certificate is sent if the server asks for one",
        ),
    ),
    parameter(
        "sslpassword",
        None,
        Only(
            &[],
            "encrypted client keys are not supported; decrypt the key",
        ),
    ),
    parameter("sslcrl", Some("PGSSLCRL"), Only(&[], NO_CRL)),
    parameter("sslcrldir", Some("PGSSLCRLDIR"), Only(&[], NO_CRL)),
    parameter(
        "sslsni",
        Some("PGSSLSNI"),
        Only(&["1"], "the server's name is always sent"),
    ),
    parameter(
        "sslkeylogfile",
        None,
        Only(&[], "TLS secrets are not logged; remove it"),
    ),
    parameter(
        "ssl_min_protocol_version",
        Some("PGSSLMINPROTOCOLVERSION"),
        Only(
            &["TLSv1", "TLSv1.1", "TLSv1.2"],
            "TLS 1.2 and 1.3 are spoken",
        ),
    ),
    parameter(
        "ssl_max_protocol_version",
        Some("PGSSLMAXPROTOCOLVERSION"),
        Only(&["TLSv1.3"], "TLS 1.2 and 1.3 are spoken"),
    ),
    parameter(
        "min_protocol_version",
        Some("PGMINPROTOCOLVERSION"),
        Only(&["3.0"], "protocol 3.0 is spoken"),
    ),
    parameter(
        "max_protocol_version",
        Some("PGMAXPROTOCOLVERSION"),
        Only(&["3.0", "3.2", "latest"], "protocol 3.0 is spoken"),
    ),
    parameter(
        "gssencmode",
        Some("PGGSSENCMODE"),
        Only(&["prefer", "disable"], "GSSAPI is not supported; use TLS"),
    ),
    parameter("krbsrvname", Some("PGKRBSRVNAME"), Only(&[], NO_GSS)),
    parameter("gsslib", Some("PGGSSLIB"), Only(&[], NO_GSS)),
    parameter(
        "gssdelegation",
        Some("PGGSSDELEGATION"),
        Only(&["0"], NO_GSS),
    ),
    parameter("scram_client_key", None, Only(&[], NO_SCRAM_KEYS)),
    parameter("scram_server_key", None, Only(&[], NO_SCRAM_KEYS)),
    parameter("oauth_issuer", None, Only(&[], NO_OAUTH)),
    parameter("oauth_client_id", None, Only(&[], NO_OAUTH)),
    parameter("oauth_client_secret", None, Only(&[], NO_OAUTH)),
    parameter("oauth_scope", None, Only(&[], NO_OAUTH)),
];

/// Parameters of other libraries in a URL that say nothing about the server: of Prisma, Rails, pgx
/// and sqlx.
pub(super) const OF_OTHERS: &[&str] = &[
    "connection_limit",
    "pgbouncer",
    "pool",
    "pool_max_conns",
    "pool_timeout",
    "prepared_statements",
    "schema",
    "single_use_connections",
    "socket_timeout",
    "statement-cache-capacity",
    "statement_cache_size",
];

/// sqlx's own names for parameters of libpq.
const SQLX_NAMES: &[(&str, &str)] = &[
    ("ssl-mode", "sslmode"),
    ("ssl-root-cert", "sslrootcert"),
    ("ssl-ca", "sslrootcert"),
    ("ssl-cert", "sslcert"),
    ("ssl-key", "sslkey"),
];

/// The parameter of this name.
pub(super) fn find(name: &str) -> Option<&'static Parameter> {
    let alias = SQLX_NAMES.iter().find(|(alias, _)| *alias == name);
    let name = alias.map_or(name, |(_, name)| *name);
    PARAMETERS.iter().find(|parameter| parameter.name == name)
}

impl Parameter {
    /// Checks a value. The error says why it is refused.
    pub(super) fn check(&self, value: &str) -> Result<(), String> {
        let Only(values, reason) = &self.support else {
            return Ok(());
        };
        if value.is_empty() || values.iter().any(|known| known.eq_ignore_ascii_case(value)) {
            return Ok(());
        }
        let known: Vec<_> = values.iter().map(|value| format!("`{value}`")).collect();
        Err(match known.len() {
            0 => (*reason).to_owned(),
            1 => format!("{reason}; expected {}, or remove it", known[0]),
            _ => format!("{reason}; expected one of {}", known.join(", ")),
        })
    }

    /// Whether its value must not be shown.
    pub(super) fn is_secret(&self) -> bool {
        ["password", "secret", "_key"]
            .iter()
            .any(|word| self.name.contains(word))
    }
}
