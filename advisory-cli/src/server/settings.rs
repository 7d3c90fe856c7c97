//! The parameters of the connection, from the connection string, a service file and the
//! environment, in this order.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::connection_string::{self, Pairs};
use super::environment::Environment;
use super::parameter::{self, OF_OTHERS, PARAMETERS, Parameter};
use super::service_file;
use crate::exit::Failure;

/// Where the value of a parameter comes from.
#[derive(Clone)]
enum Source {
    String,
    Service(String),
    Variable(&'static str),
}

struct Setting {
    value: String,
    source: Source,
}

/// The values of parameters, by name. A parameter that is set to the empty text is as if it were
/// not set, as in libpq, but hides what a later source says.
#[derive(Default)]
pub(super) struct Settings(BTreeMap<&'static str, Setting>);

impl Settings {
    /// Reads all sources, and refuses what is not supported.
    pub(super) fn read(
        connection_string: Option<&str>,
        environment: &Environment,
    ) -> Result<Self, Failure> {
        let mut settings = Self::default();
        if let Some(text) = connection_string.filter(|text| !text.trim().is_empty()) {
            settings.add_string(text)?;
        }
        settings.add_variables(environment, &["PGSERVICE", "PGSERVICEFILE"])?;
        settings.add_service(environment)?;
        let all: Vec<_> = PARAMETERS
            .iter()
            .filter_map(|known| known.variable)
            .collect();
        settings.add_variables(environment, &all)?;
        if environment
            .get("PGREQUIRESSL")?
            .is_some_and(|value| value.starts_with('1'))
        {
            settings.add_new("sslmode", "require", &Source::Variable("PGREQUIRESSL"));
        }
        settings.check()?;
        Ok(settings)
    }

    /// The value, if it is not empty.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        let setting = self.0.get(name).map(|setting| &*setting.value);
        setting.filter(|value| !value.is_empty())
    }

    /// Whether the value comes from the environment, or is not set.
    pub(super) fn is_of_environment(&self, name: &str) -> bool {
        let setting = self.0.get(name);
        setting.is_none_or(|setting| matches!(setting.source, Source::Variable(_)))
    }

    /// A failure that begins with the parameter, its value and its source.
    pub(super) fn failure(&self, name: &str, reason: &str) -> Failure {
        let known = parameter::find(name);
        let is_secret = known.is_some_and(Parameter::is_secret);
        let Some(Setting { value, source }) = self.0.get(name) else {
            return Failure::usage(format!("`{name}` is not set: {reason}"));
        };
        let value = if is_secret { "…" } else { value };
        Failure::usage(match source {
            Source::Variable(variable) => format!("`{variable}={value}`: {reason}"),
            Source::String => format!("`{name}={value}` in the database URL: {reason}"),
            Source::Service(file) => format!("`{name}={value}` in {file}: {reason}"),
        })
    }

    fn add_string(&mut self, text: &str) -> Result<(), Failure> {
        let pairs = connection_string::parse(text).map_err(|reason| {
            Failure::usage(format!(
                "the database URL cannot be read: {reason}; expected \
                 `postgres://user@host/database` or `host=… dbname=…`"
            ))
        })?;
        // The last value of a name counts: `?host=` replaces the host of the URL.
        for (name, value) in translate(pairs).into_iter().rev() {
            if !OF_OTHERS.contains(&&*name) {
                self.add_named(&name, &value, &Source::String)?;
            }
        }
        Ok(())
    }

    fn add_service(&mut self, environment: &Environment) -> Result<(), Failure> {
        let Some(name) = self.get("service").map(str::to_owned) else {
            return Ok(());
        };
        let file = self.get("servicefile").map(PathBuf::from);
        let service = service_file::find(&name, file, environment)?;
        let source = Source::Service(format!("service `{name}` of {}", service.file.display()));
        for (name, value) in service.parameters {
            self.add_named(&name, &value, &source)?;
        }
        Ok(())
    }

    fn add_variables(&mut self, environment: &Environment, names: &[&str]) -> Result<(), Failure> {
        let variables = PARAMETERS
            .iter()
            .filter_map(|known| Some((known, known.variable?)));
        for (known, variable) in variables.filter(|(_, variable)| names.contains(variable)) {
            if let Some(value) = environment.get(variable)? {
                self.add_new(known.name, &value, &Source::Variable(variable));
            }
        }
        Ok(())
    }

    fn add_named(&mut self, name: &str, value: &str, source: &Source) -> Result<(), Failure> {
        let known = parameter::find(name).ok_or_else(|| {
            let of = match source {
                Source::Service(file) => file,
                Source::String | Source::Variable(_) => "the database URL",
            };
            // What is no name can be a part of a password, and so can what is before an `@`.
            let is_name = name
                .chars()
                .all(|c| c.is_alphanumeric() || "_-".contains(c))
                && !value.contains('@');
            let name = if is_name { name } else { "…" };
            Failure::usage(format!(
                "`{name}` in {of} is not a parameter of libpq; correct or remove it"
            ))
        })?;
        self.add_new(known.name, value, source);
        Ok(())
    }

    fn add_new(&mut self, name: &'static str, value: &str, source: &Source) {
        self.0.entry(name).or_insert_with(|| Setting {
            value: value.to_owned(),
            source: source.clone(),
        });
    }

    fn check(&self) -> Result<(), Failure> {
        for known in PARAMETERS {
            if let Some(setting) = self.0.get(known.name) {
                let checked = known.check(&setting.value);
                checked.map_err(|reason| self.failure(known.name, &reason))?;
            }
        }
        Ok(())
    }
}

/// Translates what is not libpq's: `ssl=true` of JDBC, as libpq itself does, and sqlx's
/// `options[lock_timeout]=5s`.
fn translate(pairs: Pairs) -> Pairs {
    let mut translated = Pairs::new();
    let mut options = String::new();
    for (name, value) in pairs {
        let option = name
            .strip_prefix("options[")
            .and_then(|name| name.strip_suffix(']'));
        if let Some(option) = option {
            let value = value.replace('\\', "\\\\").replace(' ', "\\ ");
            options = format!("{options} -c {option}={value}");
        } else if name == "options" {
            options = format!("{options} {value}");
        } else if (&*name, &*value) == ("ssl", "true") {
            translated.push(("sslmode".to_owned(), "require".to_owned()));
        } else {
            translated.push((name, value));
        }
    }
    if !options.is_empty() {
        translated.push(("options".to_owned(), options.trim().to_owned()));
    }
    translated
}
