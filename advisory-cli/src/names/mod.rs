//! What a key is called.

mod file;

use std::collections::HashMap;
use std::path::PathBuf;

use advisory_core::monitor::LockStatus;
use advisory_core::{Key, known, scheme};
use clap::Args;

use crate::exit::Failure;
use crate::names::file::{Entry, entries};

/// Where names come from, besides the sessions themselves and the tools that are known.
#[derive(Args, Clone, Default)]
pub(crate) struct Source {
    /// A file with a name on each line, for the keys of which every scheme is tried; `42 = nightly` names a key, `sync({1..500})`
    /// stands for 500 names, `#` begins a comment.
    #[arg(long, value_name = "FILE", env = "ADVISORY_NAMES")]
    names: Option<PathBuf>,
}

/// A name for a key, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Name {
    pub(crate) text: String,
    pub(crate) origin: Origin,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    /// The file, by this scheme.
    Scheme(&'static str),
    /// The file, which says so.
    File,
    /// The session that holds it.
    Session,
    /// A tool that takes it everywhere.
    Tool,
}

impl Origin {
    pub(crate) fn source(self) -> &'static str {
        match self {
            Self::Scheme(_) | Self::File => "file",
            Self::Session => "session",
            Self::Tool => "tool",
        }
    }

    pub(crate) fn scheme(self) -> Option<&'static str> {
        match self {
            Self::Scheme(scheme) => Some(scheme),
            Self::File | Self::Session | Self::Tool => None,
        }
    }
}

/// The names of a file.
#[derive(Default)]
pub(crate) struct Names {
    entries: Vec<Entry>,
    /// What was found, or not, for the keys that were asked for.
    found: HashMap<Key, Option<Name>>,
}

impl Names {
    pub(crate) fn read(source: &Source) -> Result<Self, Failure> {
        let entries = source.names.as_deref().map(entries).transpose()?;
        Ok(Self::new(entries.unwrap_or_default()))
    }

    fn new(entries: Vec<Entry>) -> Self {
        let found = HashMap::new();
        Self { entries, found }
    }

    /// The name that the file has for a key. Every name is hashed by every scheme, so [`look_for`](Self::look_for) several at once.
    pub(crate) fn of_key(&mut self, key: Key) -> Option<&Name> {
        self.look_for([key]);
        self.found.get(&key)?.as_ref()
    }

    fn look_for(&mut self, keys: impl IntoIterator<Item = Key>) {
        let new = keys.into_iter().filter(|key| !self.found.contains_key(key));
        let mut new: HashMap<_, _> = new.map(|key| (key, None)).collect();
        if new.is_empty() {
            return;
        }
        for entry in &self.entries {
            match entry {
                Entry::Key(key, text) => {
                    let (text, origin) = (text.clone(), Origin::File);
                    new.entry(*key)
                        .and_modify(|name| *name = Some(Name { text, origin }));
                }
                Entry::Name(text) => {
                    for (key, scheme) in every_key(text) {
                        let (text, origin) = (text.clone(), Origin::Scheme(scheme));
                        new.entry(key)
                            .and_modify(|name| *name = name.take().or(Some(Name { text, origin })));
                    }
                }
            }
        }
        self.found.extend(new);
    }

    /// The name of each lock, in their order.
    pub(crate) fn of_locks(&mut self, locks: &[LockStatus]) -> Vec<Option<Name>> {
        self.look_for(locks.iter().map(|lock| lock.key));
        let tagged = tagged(locks);
        let name = |lock: &LockStatus| {
            let filed = self.found.get(&lock.key).cloned().flatten();
            let said = || tagged.get(&(lock.key, lock.database.as_str())).cloned();
            filed
                .or_else(said)
                .or_else(|| of_tool(lock.key, Some(&lock.database)))
        };
        locks.iter().map(name).collect()
    }
}

/// The name of a tool whose key this is.
pub(crate) fn of_tool(key: Key, database: Option<&str>) -> Option<Name> {
    let text = known::owner(key, database)?.label.to_owned();
    let origin = Origin::Tool;
    Some(Name { text, origin })
}

/// What the sessions say of the keys that they hold.
fn tagged(locks: &[LockStatus]) -> HashMap<(Key, &str), Name> {
    let held = || locks.iter().filter(|lock| lock.granted);
    let mut names = HashMap::new();
    for lock in held() {
        let Some(tag) = lock.tag() else { continue };
        let is_only = held().filter(|other| other.pid == lock.pid).count() == 1;
        // A tag of several locks names them all.
        let candidates = std::iter::once(&*tag).chain(tag.split(", "));
        let verified = candidates
            .filter(|name| every_key(name).any(|(key, _)| key == lock.key))
            .map(str::to_owned)
            .next();
        // Nothing speaks against a tag that no scheme explains, but another lock of the session.
        if let Some(text) = verified.or_else(|| is_only.then(|| tag.clone())) {
            let origin = Origin::Session;
            names.insert((lock.key, &*lock.database), Name { text, origin });
        }
    }
    names
}

/// The key of a name by every scheme that takes it.
pub(crate) fn every_key(name: &str) -> impl Iterator<Item = (Key, &'static str)> {
    scheme::systems().filter_map(move |system| Some((system.key(name)?, system.scheme)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(lines: &[&str]) -> Names {
        Names::new(file::parse(&lines.join("\n")).unwrap())
    }

    #[test]
    fn a_name_is_found_by_whichever_scheme_has_made_the_key() {
        let mut names = names(&["nightly", "sync({1..9})"]);
        for (key, scheme) in every_key("sync(4)") {
            let name = names.of_key(key).unwrap();
            assert_eq!(name.text, "sync(4)", "{scheme}");
        }
        assert_eq!(names.of_key(Key::from("other")), None);
    }

    #[test]
    fn a_key_that_the_file_names_is_not_guessed() {
        let key = Key::from("nightly");
        let mut names = names(&["nightly", &format!("{key} = the job of the night")]);
        let name = names.of_key(key).unwrap();
        assert_eq!(name.text, "the job of the night");
        assert_eq!(name.origin, Origin::File);
    }
}
