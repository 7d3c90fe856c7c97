//! Which lock a command is about.

use advisory_core::scheme::System;
use advisory_core::{AdvisoryLock, Key};
use clap::Args;

use crate::exit::{Code, Failure};
use crate::scheme;

/// A lock by name, or by key.
#[derive(Args, Clone)]
pub(crate) struct Target {
    /// The name of the lock, hashed by the scheme.
    #[arg(allow_negative_numbers = true)]
    name: String,
    /// How the name becomes a key: that of the system whose lock it is, `django-pglock` or `DjangoPglock`; `advisory key NAME` lists all.
    #[arg(long, value_name = "SCHEME", value_parser = scheme::parse, default_value = "Sha1", conflicts_with = "key")]
    key_scheme: &'static System,
    /// NAME is the key itself: `42`, `-42`, `0x1f` or `1,7`.
    #[arg(long, short)]
    key: bool,
}

impl Target {
    /// What `--name` says, where it is an option.
    pub(crate) fn new(name: String, key_scheme: &'static System, key: bool) -> Self {
        Self {
            name,
            key_scheme,
            key,
        }
    }

    pub(crate) fn lock(&self) -> Result<AdvisoryLock, Failure> {
        if self.key {
            return self.parsed().map(AdvisoryLock::new);
        }
        scheme::key(self.key_scheme, &self.name)?;
        Ok(AdvisoryLock::with_scheme(&*self.name, self.key_scheme))
    }

    fn parsed(&self) -> Result<Key, Failure> {
        self.name
            .parse()
            .map_err(|error| Failure::new(Code::Usage, error))
    }
}
