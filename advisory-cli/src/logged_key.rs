//! Keys as text, also as the server writes them.

use std::str::FromStr;

use advisory_core::Key;

/// A key, and the database in which the server has seen it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LoggedKey {
    pub(crate) key: Key,
    /// The database's oid, if the text has it.
    pub(crate) database: Option<u32>,
}

impl FromStr for LoggedKey {
    type Err = String;

    /// Reads a key as [`Key::parse`] does, or the numbers that PostgreSQL has for it:
    /// `classid,objid,objsubid` as in `pg_locks`, or `[database,classid,objid,objsubid]` as in the
    /// server's log.
    fn from_str(text: &str) -> Result<Self, String> {
        let inner = text.trim();
        let inner = inner
            .strip_prefix('[')
            .and_then(|inner| inner.strip_suffix(']'))
            .unwrap_or(inner);
        let columns: Vec<_> = inner.split(',').map(str::trim).collect();
        let found = |expected: &str| format!("expected {expected}, found `{text}`");
        match columns[..] {
            [database, classid, objid, objsubid] => {
                let database = database.parse().ok();
                let key = from_columns(classid, objid, objsubid);
                key.filter(|_| database.is_some())
                    .map(|key| Self { key, database })
                    .ok_or_else(|| {
                        found("`[database,classid,objid,objsubid]` as in the server's log, the last one 1 or 2")
                    })
            }
            [classid, objid, objsubid] => from_columns(classid, objid, objsubid)
                .map(Self::from)
                .ok_or_else(|| {
                    found("`classid,objid,objsubid` as in `pg_locks`, the last one 1 or 2")
                }),
            _ => Key::parse(text)
                .map(Self::from)
                .map_err(|error| error.to_string()),
        }
    }
}

impl From<Key> for LoggedKey {
    fn from(key: Key) -> Self {
        Self {
            key,
            database: None,
        }
    }
}

fn from_columns(classid: &str, objid: &str, objsubid: &str) -> Option<Key> {
    let (classid, objid) = (classid.parse().ok()?, objid.parse().ok()?);
    Key::from_pg_locks(classid, objid, objsubid.parse().ok()?)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_key_is_read_as_the_server_writes_it() {
        let prisma = Key::BigInt(72_707_369);
        for (text, key, database) in [
            ("[5,0,72707369,1]", prisma, Some(5)),
            (" [ 5, 0, 72707369, 1 ] ", prisma, Some(5)),
            ("5,0,72707369,1", prisma, Some(5)),
            ("0,72707369,1", prisma, None),
            (
                "[4294967295,1,4294967289,2]",
                Key::IntPair(1, -7),
                Some(u32::MAX),
            ),
            ("(1, -7)", Key::IntPair(1, -7), None),
        ] {
            assert_eq!(text.parse(), Ok(LoggedKey { key, database }), "{text}");
        }
    }

    #[test]
    fn an_error_says_what_was_expected() {
        for (text, expected) in [
            ("[5,0,1,10]", "`[database,classid,objid,objsubid]`"),
            ("[x,0,1,1]", "`[database,classid,objid,objsubid]`"),
            ("1,2,3", "`classid,objid,objsubid`"),
            ("[1]", "a key, such as"),
            ("[1,2", "a key, such as"),
        ] {
            let error = text.parse::<LoggedKey>().unwrap_err();
            assert!(
                error.starts_with(&format!("expected {expected}")),
                "{error}"
            );
            assert!(error.ends_with(&format!("found `{text}`")), "{error}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_as_a_key_or_as_columns(
            text in any::<String>(),
            almost_key in "[\\[( ]{0,2}[-+0-9a-fx, )]{0,40}\\]?",
            columns: (u32, u32, u32),
        ) {
            for text in [text, almost_key] {
                let read = text.parse::<LoggedKey>().ok();
                let columns = text.split(',').count();
                let same = read == Key::parse(&text).ok().map(LoggedKey::from);
                prop_assert!(columns == 3 || columns == 4 || same);
            }
            let (database, classid, objid) = columns;
            let read = format!("[{database},{classid},{objid},2]").parse::<LoggedKey>().ok();
            let key = Key::from_pg_locks(classid, objid, 2);
            prop_assert_eq!(read, key.map(|key| LoggedKey { key, database: Some(database) }));
        }
    }
}
