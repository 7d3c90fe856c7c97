//! The parameter `options`: settings of the session.

use sqlx::postgres::PgConnectOptions;

use super::settings::Settings;
use crate::exit::Failure;

/// Adds the settings. sqlx has already read those of `PGOPTIONS`.
pub(super) fn add(
    options: PgConnectOptions,
    settings: &Settings,
) -> Result<PgConnectOptions, Failure> {
    if settings.is_of_environment("options") {
        return Ok(options);
    }
    let text = settings.get("options").unwrap_or_default();
    let parsed = parse(text).ok_or_else(|| {
        settings.failure("options", "expected settings, such as `-c lock_timeout=5s`")
    })?;
    Ok(if parsed.is_empty() {
        options
    } else {
        options.options(parsed)
    })
}

/// The settings in `-c name=value -cname=value --name=value`.
fn parse(text: &str) -> Option<Vec<(String, String)>> {
    // sqlx decodes a `+` in a URL as a space, and libpq does not.
    let text = if text.starts_with("-c+") {
        text.replace('+', " ")
    } else {
        text.to_owned()
    };
    let mut settings = Vec::new();
    let mut words = words(&text)?.into_iter();
    while let Some(word) = words.next() {
        let setting = match &*word {
            "-c" => words.next()?,
            _ => word
                .strip_prefix("--")
                .or(word.strip_prefix("-c"))?
                .to_owned(),
        };
        let (name, value) = setting.split_once('=')?;
        settings.push((name.to_owned(), value.to_owned()));
    }
    Some(settings)
}

/// The words between spaces. `\\` escapes a character.
fn words(text: &str) -> Option<Vec<String>> {
    let mut words = vec![String::new()];
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => words.last_mut()?.push(chars.next()?),
            c if c.is_whitespace() => words.push(String::new()),
            c => words.last_mut()?.push(c),
        }
    }
    words.retain(|word| !word.is_empty());
    Some(words)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn settings_are_read_as_they_were_written(
            settings in prop::collection::vec(("[a-z._]{1,9}", any::<String>()), 0..5),
            prefix in prop::sample::select(vec!["-c ", "-c", "--"]),
        ) {
            let escape = |c: char| match c {
                '\\' => "\\\\".to_owned(),
                c if c.is_whitespace() => format!("\\{c}"),
                c => c.to_string(),
            };
            let write = |(name, value): &(String, String)| {
                let value: String = value.chars().map(escape).collect();
                format!("{prefix}{name}={value}")
            };
            let text: Vec<_> = settings.iter().map(write).collect();
            prop_assert_eq!(parse(&text.join(" ")), Some(settings));
        }

        #[test]
        fn any_text_is_read_or_refused(text in any::<String>()) {
            let _ = parse(&text);
        }
    }
}
