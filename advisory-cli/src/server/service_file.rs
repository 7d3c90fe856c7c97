//! libpq's service files.

use std::fs;
use std::path::{Path, PathBuf};

use super::connection_string::Pairs;
use super::environment::Environment;
use crate::exit::Failure;

/// The folders of the system's service file in the builds of Debian, of Red Hat, of Homebrew and of
/// PostgreSQL itself.
const SYSTEM_FOLDERS: [&str; 5] = [
    "/etc/postgresql-common",
    "/etc/sysconfig/pgsql",
    "/opt/homebrew/etc/postgresql",
    "/usr/local/etc/postgresql",
    "/usr/local/pgsql/etc",
];

/// A service, and the file that defines it.
pub(super) struct Service {
    pub(super) parameters: Pairs,
    pub(super) file: PathBuf,
}

/// Finds a service in `file`, or in the user's file if that is `None`, or in the system's.
pub(super) fn find(
    name: &str,
    file: Option<PathBuf>,
    environment: &Environment,
) -> Result<Service, Failure> {
    let user = file.or_else(|| environment.in_home(".pg_service.conf"));
    let files: Vec<_> = user.into_iter().chain(system_files(environment)?).collect();
    for file in files.iter().filter(|file| file.exists()) {
        let failure =
            |reason: String| Failure::usage(format!("the service file {}{reason}", file.display()));
        let text = read(file).map_err(|error| failure(format!(" cannot be read: {error}")))?;
        let found = parse(&text, name)
            .map_err(|(line, error)| failure(format!(", line {line}: {error}")))?;
        if let Some(parameters) = found {
            let file = file.clone();
            return Ok(Service { parameters, file });
        }
    }
    let files: Vec<_> = files
        .iter()
        .map(|file| file.display().to_string())
        .collect();
    Err(Failure::usage(format!(
        "the service `{name}` is not defined; looked in {}",
        files.join(", ")
    )))
}

fn read(file: &Path) -> Result<String, String> {
    let bytes = fs::read(file).map_err(|error| error.to_string())?;
    String::from_utf8(bytes).map_err(|_| "expected UTF-8".to_owned())
}

fn system_files(environment: &Environment) -> Result<Vec<PathBuf>, Failure> {
    let folders = match environment.get("PGSYSCONFDIR")? {
        Some(folder) => vec![folder],
        None => SYSTEM_FOLDERS.map(str::to_owned).into(),
    };
    let files = folders
        .iter()
        .map(|folder| Path::new(folder).join("pg_service.conf"));
    Ok(files.collect())
}

/// The parameters of a service, or `None` if this file does not define it. An error comes with the
/// number of its line.
fn parse(text: &str, name: &str) -> Result<Option<Pairs>, (usize, String)> {
    let mut found: Option<Pairs> = None;
    for (index, line) in text.trim_start_matches('\u{feff}').lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        if let Some(head) = line.strip_prefix('[') {
            if found.is_some() {
                break;
            }
            if head.strip_suffix(']') == Some(name) {
                found = Some(Pairs::new());
            }
        } else if let Some(parameters) = &mut found {
            let pair = parse_line(line).map_err(|error| (index + 1, error.to_owned()))?;
            parameters.push(pair);
        }
    }
    Ok(found)
}

fn parse_line(line: &str) -> Result<(String, String), &'static str> {
    if line.starts_with("ldap") {
        return Err("LDAP is not supported; write the parameters into the file");
    }
    let (name, value) = line.split_once('=').ok_or("expected `name=value`")?;
    match name.trim() {
        "service" | "servicefile" => Err("a service cannot refer to another one"),
        name => Ok((name.to_owned(), value.trim().to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(pairs: &[(&str, &str)]) -> Pairs {
        let pairs = pairs.iter();
        pairs
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect()
    }

    #[test]
    fn a_service_is_the_lines_up_to_the_next_one() {
        let text =
            "\u{feff}# ours\n[a]\nhost=x\n\n[b]\r\n host = /run/pg \r\n# no\nport=1\n[b]\nport=2";
        let b = pairs(&[("host", "/run/pg"), ("port", "1")]);
        assert_eq!(parse(text, "b"), Ok(Some(b)));
        assert_eq!(parse(text, "a"), Ok(Some(pairs(&[("host", "x")]))));
        assert_eq!(parse(text, "c"), Ok(None));
    }

    #[test]
    fn an_error_has_the_number_of_its_line() {
        for text in ["[a]\nldap://dir/cn=x", "[a]\nhost", "[a]\nservice=b"] {
            assert_eq!(parse(text, "a").unwrap_err().0, 2, "{text}");
            assert_eq!(parse(text, "b"), Ok(None), "{text}");
        }
    }
}
