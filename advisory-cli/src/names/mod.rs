//! Names for keys: from a names file, from the sessions that hold them, and of known tools.

mod file;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::PathBuf;

use advisory_core::monitor::LockStatus;
use advisory_core::{Key, known};
use clap::Args;
use clap::builder::{OsStringValueParser, TypedValueParser as _};

use self::file::Entry;
use crate::exit::Failure;
use crate::lock_status::lock_id;
use crate::scheme_name::hash_by_all;

/// The option that gives a names file.
#[derive(Args, Clone)]
pub(crate) struct NamesOption {
    /// A file with a name on each line. A key is named if any scheme makes it from one of the
    /// names. `42 = nightly` names a key, `sync({1..500})` stands for 500 names, and `#` begins a
    /// comment.
    // The parser of paths refuses an empty value, also that of the variable.
    #[arg(long, value_name = "FILE", env = "ADVISORY_NAMES", value_parser = OsStringValueParser::new().map(PathBuf::from))]
    names: Option<PathBuf>,
}

/// A name for a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Name {
    pub(crate) text: String,
    /// Where the name comes from: `file`, `session` or `tool`.
    pub(crate) source: &'static str,
    /// The scheme that makes the key from the name of the file.
    pub(crate) scheme: Option<&'static str>,
    /// Which part it is of a lock with several permits, unless it is that lock's own key.
    pub(crate) part: Option<Part>,
}

/// A slot of a lock with several permits, or the queue for one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Part {
    /// The name and the key of the lock.
    pub(crate) of: String,
    pub(crate) key: Key,
    /// 0 is the queue.
    pub(crate) number: u32,
}

impl Part {
    /// Finds parts of a lock by their keys. `None` for the key of the lock itself, which is slot 1,
    /// and for keys of other locks.
    fn finder(of: &str, key: Key) -> impl Fn(Key) -> Option<Self> {
        let slot_number = key.slot_finder();
        move |part| {
            let number = slot_number(part).filter(|number| *number != 1)?;
            let of = of.to_owned();
            Some(Self { of, key, number })
        }
    }

    /// The reverse of [`text`](Self::text): the name of the lock, and the number.
    pub(crate) fn parse(text: &str) -> Option<(&str, u32)> {
        if let Some(of) = text.strip_prefix("queue of ") {
            return Some((of, 0));
        }
        let (number, of) = text.strip_prefix("slot ")?.split_once(" of ")?;
        Some((of, number.parse().ok()?))
    }

    /// `slot 2 of export`, `queue of export`
    fn text(&self) -> String {
        match self {
            Self { of, number: 0, .. } => format!("queue of {of}"),
            Self { of, number, .. } => format!("slot {number} of {of}"),
        }
    }
}

impl Name {
    fn new(text: &str, source: &'static str, scheme: Option<&'static str>) -> Self {
        Self {
            text: text.to_owned(),
            source,
            scheme,
            part: None,
        }
    }

    fn of_part(part: Part, source: &'static str, scheme: Option<&'static str>) -> Self {
        let text = part.text();
        Self {
            text,
            source,
            scheme,
            part: Some(part),
        }
    }

    /// Whether it is this name, or that of a part of the lock of this name.
    pub(crate) fn is_of(&self, name: &str) -> bool {
        self.text == name || self.part.as_ref().is_some_and(|part| part.of == name)
    }
}

/// The names of a file, and a cache of the keys that were looked up.
#[derive(Default)]
pub(crate) struct Names {
    entries: Vec<Entry>,
    cache: HashMap<Key, Option<Name>>,
}

impl Names {
    pub(crate) fn read(option: &NamesOption) -> Result<Self, Failure> {
        let file = option.names.as_deref();
        let file = file.filter(|file| !file.as_os_str().is_empty());
        let entries = file.map(file::read).transpose()?;
        Ok(Self::new(entries.unwrap_or_default()))
    }

    fn new(entries: Vec<Entry>) -> Self {
        let cache = HashMap::new();
        Self { entries, cache }
    }

    /// Knows one more name: that of a lock, or of a part of one.
    pub(crate) fn with(mut self, name: &str) -> Self {
        let of = Part::parse(name).map(|(of, _)| of);
        for name in of.into_iter().chain([name]) {
            self.entries.insert(0, Entry::Name(name.to_owned()));
        }
        self
    }

    /// The name that the file has for a key.
    pub(crate) fn of_key(&mut self, key: Key) -> Option<&Name> {
        self.look_up([key]);
        self.cache.get(&key)?.as_ref()
    }

    /// The key to which the file gives this name, as `42 = nightly` does.
    pub(crate) fn named_key(&self, name: &str) -> Option<Key> {
        self.entries.iter().rev().find_map(|entry| match entry {
            Entry::Key(key, text) if text == name => Some(*key),
            _ => None,
        })
    }

    /// The name of each lock, in the order of the locks.
    pub(crate) fn of_locks(&mut self, locks: &[LockStatus]) -> Vec<Option<Name>> {
        self.look_up(locks.iter().map(|lock| lock.key));
        let session_names = session_names(locks);
        let part_names = names_of_parts(locks, &session_names);
        let name = |lock: &LockStatus| {
            let of_file = self.cache.get(&lock.key).cloned().flatten();
            of_file
                .or_else(|| session_names.get(&lock_id(lock)).cloned())
                .or_else(|| part_names.get(&lock_id(lock)).cloned())
                .or_else(|| tool_name(lock.key, Some(&lock.database)))
        };
        locks.iter().map(name).collect()
    }

    /// Fills the cache. Each call hashes every name of the file with every scheme, so several keys
    /// are looked up at once. The keys that have no name then may be slots of a lock with several
    /// permits, or its turnstile.
    fn look_up(&mut self, keys: impl IntoIterator<Item = Key>) {
        let new = keys.into_iter().filter(|key| !self.cache.contains_key(key));
        let mut new: HashMap<_, _> = new.map(|key| (key, None)).collect();
        if new.is_empty() {
            return;
        }
        for entry in &self.entries {
            match entry {
                Entry::Key(key, text) => {
                    let name = Some(Name::new(text, "file", None));
                    new.entry(*key).and_modify(|slot| *slot = name);
                }
                Entry::Name(text) => {
                    for (system, key) in hash_by_all(text) {
                        if let Some(slot @ None) = new.get_mut(&key) {
                            *slot = Some(Name::new(text, "file", Some(system.scheme)));
                        }
                    }
                }
            }
        }
        let mut unnamed: Vec<_> = new.iter_mut().filter(|(_, name)| name.is_none()).collect();
        for entry in &self.entries {
            let (text, key, scheme) = match entry {
                Entry::Key(key, text) => (text, *key, None),
                Entry::Name(text) => (text, Key::from(text), Some("Sha1")),
            };
            let part = Part::finder(text, key);
            unnamed.retain_mut(|(key, name)| {
                **name = part(**key).map(|part| Name::of_part(part, "file", scheme));
                name.is_none()
            });
        }
        self.cache.extend(new);
    }
}

/// The known tool that uses a key.
pub(crate) fn tool_name(key: Key, database: Option<&str>) -> Option<Name> {
    Some(Name::new(known::owner(key, database)?.label, "tool", None))
}

/// The names with which sessions are tagged, for the locks that they hold.
fn session_names(locks: &[LockStatus]) -> HashMap<(&str, Key), Name> {
    let mut sessions: BTreeMap<_, Vec<&LockStatus>> = BTreeMap::new();
    for lock in locks.iter().filter(|lock| lock.granted) {
        sessions.entry(lock.pid).or_default().push(lock);
    }
    let mut names = HashMap::new();
    for locks in sessions.values() {
        let Some(tag) = locks[0].tag() else { continue };
        let verified = names_in_tag(&tag);
        let part = Part::finder(&tag, Key::from(&*tag));
        for lock in locks {
            if let Some(part) = part(lock.key) {
                names.insert(lock_id(lock), Name::of_part(part, "session", None));
                continue;
            }
            // A name of a scheme that we do not know is accepted if the tag can mean no other lock.
            let unverified = (locks.len() == 1).then_some(&*tag);
            if let Some(text) = verified.get(&lock.key).copied().or(unverified) {
                names.insert(lock_id(lock), Name::new(text, "session", None));
            }
        }
    }
    names
}

/// The names of the parts of locks that a session has named: those of other sessions, and the
/// queue.
fn names_of_parts<'l>(
    locks: &'l [LockStatus],
    of_sessions: &HashMap<(&'l str, Key), Name>,
) -> HashMap<(&'l str, Key), Name> {
    let keys: HashSet<_> = locks.iter().map(lock_id).collect();
    let has_queue = |database, key: Key| keys.contains(&(database, key.slot(0)));
    let whole = of_sessions
        .iter()
        .filter_map(|((database, key), name)| match &name.part {
            Some(part) => Some((*database, part.key, &*part.of)),
            None => has_queue(*database, *key).then_some((*database, *key, &*name.text)),
        });
    let whole: HashSet<_> = whole.collect();
    let mut names = HashMap::new();
    for (database, key, of) in whole {
        let part = Part::finder(of, key);
        for lock in locks.iter().filter(|lock| lock.database == database) {
            if let Some(part) = part(lock.key) {
                names.insert(lock_id(lock), Name::of_part(part, "session", None));
            } else if lock.key == key {
                names.insert(lock_id(lock), Name::new(of, "session", None));
            }
        }
    }
    names
}

/// The names in a tag, by the key that any scheme makes from them.
fn names_in_tag(tag: &str) -> HashMap<Key, &str> {
    // The tag of a session with several locks lists their names.
    let candidates = std::iter::once(tag).chain(tag.split(", "));
    let mut names = HashMap::new();
    for name in candidates {
        for (_, key) in hash_by_all(name) {
            names.entry(key).or_insert(name);
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use nix::time::ClockId;

    use super::*;

    fn names(lines: &[&str]) -> Names {
        Names::new(file::parse(&lines.join("\n")).unwrap())
    }

    #[test]
    fn a_name_is_found_for_the_key_of_any_scheme() {
        let mut names = names(&["nightly", "sync({1..9})"]);
        for (system, key) in hash_by_all("sync(4)") {
            let name = names.of_key(key).unwrap();
            assert_eq!(name.text, "sync(4)", "{}", system.scheme);
        }
        assert_eq!(names.of_key(Key::from("other")), None);
    }

    #[test]
    fn a_named_key_is_found_by_its_name() {
        let names = names(&["nightly", "42 = nightly", "[5,0,43,1] = logged"]);
        assert_eq!(names.named_key("nightly"), Some(Key::BigInt(42)));
        assert_eq!(names.named_key("logged"), Some(Key::BigInt(43)));
        assert_eq!(names.named_key("other"), None);
    }

    #[test]
    fn the_slots_of_a_name_are_named() {
        let key = Key::from("export");
        for mut names in [
            names(&["import", "export"]),
            names(&[&format!("{key} = export")]),
        ] {
            let mut name = |key| names.of_key(key).map(|name| name.text.clone());
            assert_eq!(name(key).as_deref(), Some("export"));
            assert_eq!(name(key.slot(3)).as_deref(), Some("slot 3 of export"));
            assert_eq!(name(key.slot(0)).as_deref(), Some("queue of export"));
            assert_eq!(name(key.slot(1_001)), None);
        }
    }

    #[test]
    fn many_keys_are_looked_up_in_about_the_time_of_one() {
        let lines: Vec<_> = (0..3_000).map(|number| format!("name {number}")).collect();
        let lines: Vec<_> = lines.iter().map(String::as_str).collect();
        // Of this thread alone, however busy the machine is.
        let time = || Duration::from(ClockId::CLOCK_THREAD_CPUTIME_ID.now().unwrap());
        let time_of = |count: i64| {
            let mut names = names(&lines);
            let started = time();
            names.look_up((0..count).map(Key::BigInt));
            time().saturating_sub(started)
        };
        let (one, many) = (time_of(1), time_of(3_000));
        assert!(many < one * 10, "{many:?} for many keys, {one:?} for one");
    }

    #[test]
    fn the_name_of_a_part_is_read_again() {
        let key = Key::from("jobs of today");
        for number in [0, 2, 1_000] {
            let part = Part::finder("jobs of today", key)(key.slot(number)).unwrap();
            assert_eq!(Part::parse(&part.text()), Some(("jobs of today", number)));
        }
        for other in ["jobs", "slot of jobs", "slot x of jobs", "queue", ""] {
            assert_eq!(Part::parse(other), None, "{other}");
        }
    }

    #[test]
    fn a_named_key_wins_over_a_hashed_name() {
        let key = Key::from("nightly");
        let mut names = names(&["nightly", &format!("{key} = the job of the night")]);
        let name = names.of_key(key).unwrap();
        assert_eq!(name.text, "the job of the night");
        assert_eq!((name.source, name.scheme), ("file", None));
    }
}
