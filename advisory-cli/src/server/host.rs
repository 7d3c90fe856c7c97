//! The hosts to try, in turn.

use std::fmt::{self, Display, Formatter};
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use super::settings::Settings;
use crate::exit::Failure;

const DEFAULT_PORT: u16 = 5432;

/// The folders in which a server listens by default, in the builds of distributions and in
/// PostgreSQL's own.
const SOCKET_FOLDERS: [&str; 3] = ["/var/run/postgresql", "/private/tmp", "/tmp"];

/// A server, by its address and port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Host {
    pub(super) address: Address,
    pub(super) port: u16,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Address {
    /// The folder of a Unix-domain socket.
    Socket(PathBuf),
    Tcp {
        /// The name, which the certificate of the server has. Empty if only the address is known.
        name: String,
        /// The address to connect to, if it is not to be looked up by the name.
        number: Option<IpAddr>,
    },
}

impl Host {
    /// The hosts of `host`, `hostaddr` and `port`, each of which can be a list.
    pub(super) fn all(settings: &Settings) -> Result<Vec<Self>, Failure> {
        let list = |name| {
            settings
                .get(name)
                .map(|list| list.split(',').map(str::trim).collect())
        };
        let names: Option<Vec<&str>> = list("host");
        let numbers: Option<Vec<&str>> = list("hostaddr");
        let ports: Option<Vec<&str>> = list("port");
        let count = [&numbers, &names]
            .into_iter()
            .flatten()
            .map(Vec::len)
            .next()
            .unwrap_or(1);
        let mismatch = |name, found| {
            settings.failure(
                name,
                &format!("expected {count} of them, one for each host, found {found}"),
            )
        };
        if let Some(names) = names.as_ref().filter(|names| names.len() != count) {
            return Err(mismatch("host", names.len()));
        }
        if let Some(ports) = ports
            .as_ref()
            .filter(|ports| ![1, count].contains(&ports.len()))
        {
            return Err(mismatch("port", ports.len()));
        }
        let host = |index: usize| {
            let of = |list: &Option<Vec<&str>>| {
                let list = list.as_ref();
                list.and_then(|list| {
                    list.get(index)
                        .or(list.first())
                        .map(|part| (*part).to_owned())
                })
            };
            let port = parse_port(&of(&ports).unwrap_or_default())
                .map_err(|reason| settings.failure("port", &reason))?;
            let number = of(&numbers).filter(|number| !number.is_empty());
            let number = number.map(|number| number.parse()).transpose();
            let number = number.map_err(|_| {
                settings.failure("hostaddr", "expected an IP address, such as `192.0.2.7`")
            })?;
            let address = address(of(&names).unwrap_or_default(), number, port)
                .map_err(|reason| settings.failure("host", &reason))?;
            Ok(Self { address, port })
        };
        (0..count).map(host).collect()
    }

    pub(super) fn is_socket(&self) -> bool {
        matches!(self.address, Address::Socket(_))
    }

    /// The host as password files have it: a server at the default place of its socket is
    /// `localhost`.
    pub(super) fn in_password_file(&self) -> String {
        match &self.address {
            Address::Socket(folder) if SOCKET_FOLDERS.map(Path::new).contains(&&**folder) => {
                "localhost".to_owned()
            }
            Address::Socket(folder) => folder.display().to_string(),
            Address::Tcp { name, number } => match number {
                Some(number) if name.is_empty() => number.to_string(),
                _ => name.clone(),
            },
        }
    }
}

impl Display for Host {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match &self.address {
            Address::Socket(folder) => write!(f, "{}", folder.display())?,
            Address::Tcp { name, number: None } => write!(f, "{name}")?,
            Address::Tcp {
                name,
                number: Some(number),
            } if name.is_empty() => write!(f, "{number}")?,
            Address::Tcp {
                name,
                number: Some(number),
            } => write!(f, "{name} ({number})")?,
        }
        write!(f, ", port {}", self.port)
    }
}

/// The default port if the text is empty.
pub(super) fn parse_port(text: &str) -> Result<u16, String> {
    match text {
        "" => Ok(DEFAULT_PORT),
        text => text
            .parse()
            .ok()
            .filter(|port| *port > 0)
            .ok_or_else(|| "expected a port from 1 to 65535".to_owned()),
    }
}

fn address(name: String, number: Option<IpAddr>, port: u16) -> Result<Address, String> {
    if number.is_some() {
        return Ok(Address::Tcp { name, number });
    }
    if name.starts_with('@') {
        return Err("abstract sockets are not supported; use a folder or a TCP port".to_owned());
    }
    if name.starts_with('/') {
        return Ok(Address::Socket(name.into()));
    }
    if !name.is_empty() {
        return Ok(Address::Tcp { name, number });
    }
    let socket = |folder: &&&str| Path::new(folder).join(format!(".s.PGSQL.{port}")).exists();
    Ok(match SOCKET_FOLDERS.iter().find(socket) {
        Some(folder) => Address::Socket(folder.into()),
        None => Address::Tcp {
            name: "localhost".to_owned(),
            number,
        },
    })
}
