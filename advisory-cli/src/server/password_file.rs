//! libpq's password file, `~/.pgpass`.

use std::fs::{self, File};
use std::io::Read as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

/// What a password file says about a server.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Found {
    Password(String),
    Nothing,
    /// The file is ignored, for a reason that the user has to know if the server refuses.
    Ignored(String),
}

/// What the fields of a line are compared to.
pub(super) struct Entry<'s> {
    pub(super) host: &'s str,
    pub(super) port: u16,
    pub(super) database: &'s str,
    pub(super) user: &'s str,
}

/// Looks a server, a database and a role up in a password file. A file that does not exist says
/// nothing.
pub(super) fn look_up(file: &Path, entry: &Entry<'_>) -> Found {
    match read(file) {
        Ok(text) => find(&text, entry).map_or(Found::Nothing, Found::Password),
        Err(None) => Found::Nothing,
        Err(Some(reason)) => Found::Ignored(reason),
    }
}

fn read(file: &Path) -> Result<String, Option<String>> {
    let name = file.display();
    let ignored = |reason: String| Some(format!("the password file {name} is ignored: {reason}"));
    let Ok(metadata) = fs::metadata(file) else {
        return Err(None);
    };
    if !metadata.is_file() {
        return Err(ignored("it is not a file".to_owned()));
    }
    let mode = metadata.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        let fix = format!("others have access to it (mode {mode:03o}); `chmod 600 {name}`");
        return Err(ignored(fix));
    }
    let mut bytes = Vec::new();
    let read = File::open(file).and_then(|mut file| file.read_to_end(&mut bytes));
    read.map_err(|error| ignored(error.to_string()))?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// The password of the first line that fits: `host:port:database:user:password`.
fn find(text: &str, entry: &Entry<'_>) -> Option<String> {
    let port = entry.port.to_string();
    let wanted = [entry.host, &port, entry.database, entry.user];
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    let mut passwords = lines.filter_map(|line| {
        let fields = fields(line);
        let (password, fields) = fields.split_last().filter(|(_, rest)| rest.len() == 4)?;
        let fits = |(field, wanted): (&Field, _)| field.is_any || field.text == wanted;
        let is_wanted = fields.iter().zip(wanted).all(fits);
        is_wanted.then(|| password.text.clone())
    });
    passwords.next().filter(|password| !password.is_empty())
}

#[derive(Default)]
struct Field {
    text: String,
    /// Whether it is a `*` that is not escaped.
    is_any: bool,
}

/// The five fields of a line, in which `\` escapes the next character. The password can contain a
/// `:` that is not escaped.
fn fields(line: &str) -> Vec<Field> {
    let mut fields = vec![Field::default()];
    let mut start = 0;
    let mut chars = line.char_indices();
    while let Some((index, c)) = chars.next() {
        let count = fields.len();
        let Some(field) = fields.last_mut() else {
            break;
        };
        match c {
            '\\' => field.text.extend(chars.next().map(|(_, c)| c)),
            ':' if count < 5 => {
                field.is_any = &line[start..index] == "*";
                start = index + 1;
                fields.push(Field::default());
            }
            c => field.text.push(c),
        }
    }
    fields
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn an_escaped_password_is_read_as_it_was_written(
            password in "[^\r\n\0]{1,12}",
            garbage in any::<String>(),
        ) {
            let entry = Entry {
                host: "a:b\\c",
                port: 1,
                database: "*",
                user: "me",
            };
            let escaped = password.replace('\\', "\\\\").replace(':', "\\:");
            let text = format!("# {garbage}\n\na\\:b\\\\c:1:\\*:me:{escaped}\n");
            prop_assume!(find(&garbage, &entry).is_none());
            prop_assert_eq!(find(&text, &entry), Some(password));
        }
    }

    #[test]
    fn the_first_line_that_fits_has_the_password() {
        let entry = Entry {
            host: "db",
            port: 5432,
            database: "a:b",
            user: "me",
        };
        for (text, password) in [
            ("db:5432:a\\:b:me:secret", Some("secret")),
            (
                "#db:5432:*:me:no\ndb:1:*:me:no\n*:*:*:*:yes\n*:*:*:me:late",
                Some("yes"),
            ),
            ("*:*:*:me:with\\:colon\\\\", Some("with:colon\\")),
            ("*:*:*:me:with:colon", Some("with:colon")),
            ("*:*:*:\\*:no", None),
            ("*:*:*:you:no\n", None),
            ("*:*:*:me:", None),
            ("*:*:me", None),
            ("", None),
        ] {
            assert_eq!(find(text, &entry).as_deref(), password, "{text}");
        }
    }
}
