//! libpq's connection strings: a URL, or `host=… dbname=…`.

use std::iter::Peekable;
use std::str::Chars;

use percent_encoding::percent_decode_str;

use super::host::parse_port;

/// The names and values of parameters, in the order of the string.
pub(super) type Pairs = Vec<(String, String)>;

const URL_SCHEMES: [&str; 2] = ["postgres://", "postgresql://"];

/// Parses a connection string. No error repeats a part of it, which may be a password.
pub(super) fn parse(text: &str) -> Result<Pairs, String> {
    let url = URL_SCHEMES
        .iter()
        .find_map(|scheme| text.strip_prefix(scheme));
    match url {
        Some(rest) => parse_url(rest),
        None if text.contains('=') => parse_keywords(text),
        None => Err("it is no connection string".to_owned()),
    }
}

/// What follows the scheme of a URL: `user:password@host:port,host:port/dbname?name=value`.
fn parse_url(text: &str) -> Result<Pairs, String> {
    let mut pairs = Pairs::new();
    let mut set = |name: &str, value: String| {
        if !value.is_empty() {
            pairs.push((name.to_owned(), value));
        }
    };
    let (authority, rest) = text.split_at(text.find(['/', '?']).unwrap_or(text.len()));
    let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
    // A password that is not encoded can continue in the path and in the name of a parameter. One
    // that has an `@`, too, leaves an `@` in front of both.
    let (first_name, _) = query.split_once('=').unwrap_or((query, ""));
    for (part, character, escape) in [(path, '/', "%2F"), (first_name, '?', "%3F")] {
        if part.contains('@') {
            return Err(format!(
                "a `{character}` before the `@` has to be written as `{escape}`, and an `@` after \
                 the host as `%40`"
            ));
        }
    }
    let hosts = match authority.rsplit_once('@') {
        None => authority,
        Some((user, hosts)) => {
            let (user, password) = user.split_once(':').unwrap_or((user, ""));
            set("user", decode(user)?);
            set("password", decode(password)?);
            hosts
        }
    };
    let hosts: Vec<_> = hosts.split(',').map(split_port).collect::<Result<_, _>>()?;
    let join = |parts: Vec<String>| parts.join(",");
    set(
        "host",
        join(hosts.iter().map(|(host, _)| host.clone()).collect()),
    );
    set(
        "port",
        join(hosts.into_iter().map(|(_, port)| port).collect()),
    );
    set("dbname", decode(path.strip_prefix('/').unwrap_or(path))?);
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair
            .split_once('=')
            .ok_or("a parameter after `?` has no `=`")?;
        pairs.push((decode(name)?, decode(value)?));
    }
    Ok(pairs)
}

/// Splits `host:port`; the host can be an IPv6 address in brackets.
fn split_port(text: &str) -> Result<(String, String), String> {
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (host, rest) = rest.split_once(']').ok_or("an IPv6 address has no `]`")?;
            match rest.strip_prefix(':') {
                Some(port) => (host, port),
                None if rest.is_empty() => (host, ""),
                None => return Err("expected `:` or `/` after the `]` of an IPv6 address".into()),
            }
        }
        None => text.split_once(':').unwrap_or((text, "")),
    };
    let port = decode(port)?;
    // In `postgres://user:password/database`, the password is in the place of the port.
    parse_port(port.trim())
        .map_err(|reason| format!("{reason} after a `:`, or `@` and a host after a password"))?;
    Ok((decode(host)?, port))
}

fn decode(text: &str) -> Result<String, String> {
    let is_escape = |tail: &str| {
        let digits = tail.as_bytes().get(..2);
        digits.is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit))
    };
    if !text.split('%').skip(1).all(is_escape) {
        return Err("a `%` is not followed by two hexadecimal digits; write it as `%25`".into());
    }
    let decoded = percent_decode_str(text).decode_utf8();
    match decoded {
        Ok(text) if !text.contains('\0') => Ok(text.into_owned()),
        _ => Err("its percent-encoded bytes are not text in UTF-8".into()),
    }
}

/// `name=value name='a value with \' and \\'`
fn parse_keywords(text: &str) -> Result<Pairs, String> {
    let mut chars = text.chars().peekable();
    let mut pairs = Pairs::new();
    loop {
        skip_spaces(&mut chars);
        if chars.peek().is_none() {
            return Ok(pairs);
        }
        let mut name = String::new();
        while let Some(c) = chars.next_if(|c| *c != '=' && !c.is_whitespace()) {
            name.push(c);
        }
        skip_spaces(&mut chars);
        if chars.next() != Some('=') {
            return Err("expected `=` after the name of a parameter".into());
        }
        skip_spaces(&mut chars);
        pairs.push((name, keyword_value(&mut chars)?));
    }
}

fn keyword_value(chars: &mut Peekable<Chars<'_>>) -> Result<String, String> {
    let is_quoted = chars.next_if_eq(&'\'').is_some();
    let mut value = String::new();
    loop {
        match chars.next() {
            Some('\'') if is_quoted => return Ok(value),
            Some(c) if !is_quoted && c.is_whitespace() => return Ok(value),
            Some('\\') => value.extend(chars.next()),
            Some(c) => value.push(c),
            None if is_quoted => return Err("a quoted value has no end".into()),
            None => return Ok(value),
        }
    }
}

fn skip_spaces(chars: &mut Peekable<Chars<'_>>) {
    while chars.next_if(|c| c.is_whitespace()).is_some() {}
}

#[cfg(test)]
mod tests {
    use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
    use proptest::prelude::*;

    use super::*;

    fn pairs() -> impl Strategy<Value = Pairs> {
        prop::collection::vec(("[a-z_]{1,9}", "[^\0]{0,9}"), 1..6)
    }

    fn encode(text: &str) -> String {
        utf8_percent_encode(text, NON_ALPHANUMERIC).to_string()
    }

    proptest! {
        #[test]
        fn keywords_are_read_as_they_were_written(pairs in pairs()) {
            let write = |(name, value): &(String, String)| {
                let value = value.replace('\\', "\\\\").replace('\'', "\\'");
                format!("{name} = '{value}'")
            };
            let text: Vec<_> = pairs.iter().map(write).collect();
            prop_assert_eq!(parse(&text.join(" ")), Ok(pairs));
        }

        #[test]
        fn a_url_is_read_as_it_was_written(
            pairs in pairs(),
            user in "[^\0]{1,9}",
            password in "[^\0]{1,9}",
            host in "[^\0,]{1,9}",
            database in "[^\0]{1,9}",
        ) {
            let write = |(name, value): &(String, String)| format!("{name}={}", encode(value));
            let query: Vec<_> = pairs.iter().map(write).collect();
            let [user_text, password_text, host_text, database_text] =
                [&user, &password, &host, &database].map(|text| encode(text));
            let url = format!(
                "postgres://{user_text}:{password_text}@{host_text}:5433/{database_text}?{}",
                query.join("&")
            );
            let port = "5433".to_owned();
            let named = ["user", "password", "host", "port", "dbname"].map(str::to_owned);
            let values = [user, password, host, port, database];
            let expected: Pairs = named.into_iter().zip(values).chain(pairs).collect();
            prop_assert_eq!(parse(&url), Ok(expected));
        }

        #[test]
        fn any_text_is_read_or_refused(text in any::<String>(), url in "postgres://[a-f%:/?@&=,\\[\\]]{0,24}") {
            let _ = (parse(&text), parse(&url), parse(&format!("postgres://{text}")));
        }
    }
}
