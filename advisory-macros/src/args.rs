//! The syntax of the attribute's arguments.

use std::fmt::Display;

use proc_macro2::{Span, TokenStream, TokenTree};
use quote::ToTokens as _;
use syn::ext::IdentExt as _;
use syn::parse::{ParseStream, Parser as _};
use syn::{Error, Expr, Ident, Lit, LitStr, Path, Result, Token};

use crate::errors::Errors;

/// The value of an option, and the position of its name.
pub(crate) struct Arg<V> {
    pub(crate) name: Span,
    pub(crate) value: V,
}

/// Declares every option with its field, its type, its parser and an example.
macro_rules! options {
    ($($name:literal, $field:ident: $ty:ty, $parse:ident, $example:literal;)*) => {
        pub(crate) const OPTIONS: &[&str] = &[$($name),*];

        #[derive(Default)]
        pub(crate) struct Args {
            $(pub(crate) $field: Option<Arg<$ty>>,)*
            /// Whether every option was parsed. A missing option may otherwise be one that was not.
            pub(crate) is_complete: bool,
        }

        impl Args {
            fn parse_option(&mut self, input: ParseStream<'_>) -> Result<()> {
                let name = option_name(input)?;
                match name.to_string().as_str() {
                    $($name => set(&mut self.$field, &name, input, $parse),)*
                    _ => Err(unknown_option(&name, input)),
                }
            }
        }

        fn example(name: &Ident) -> &'static str {
            let examples = [$(($name, concat!($name, " = ", $example))),*];
            let example = examples.iter().find(|(option, _)| name == option);
            example.map_or("…", |(_, example)| example)
        }
    };
}

options! {
    "key", key: Expr, expr, "\"sync({id})\"";
    "keys", keys: Expr, expr, "[\"account:{from}\", \"account:{to}\"]";
    "timeout", timeout: Expr, expr, "2";
    "side_effect", side_effect: SideEffect, side_effect, "Skip";
    "shared", shared: (), flag, "";
    "permits", permits: Expr, expr, "10";
    "scope", scope: Scope, scope, "session";
    "on", on: Expr, expr, "self.pool";
    "tx", tx: Ident, flag_or_name, "locked";
    "scheme", scheme: Expr, expr, "Sha256";
    "isolation", isolation: Expr, expr, "RepeatableRead";
    "polling", polling: Expr, expr, "0.1";
    "at_least", at_least: Expr, expr, "60";
    "every", every: Expr, expr, "\"1d\"";
    "offset", offset: Expr, expr, "\"3h30m\"";
    "periods", periods: Expr, expr, "\"jobs.period\"";
    "cancel_via", cancel_via: Expr, expr, "&self.pool";
    "map_err", map_err: Expr, expr, "lock_error";
    "crate", krate: Path, path, "\"advisory_core\"";
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum SideEffect {
    Raise,
    Skip,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Scope {
    Xact,
    Session,
}

impl Args {
    /// Parses every option. An option that cannot be parsed adds an error and is left out.
    pub(crate) fn parse(tokens: TokenStream, errors: &mut Errors) -> Self {
        let mut args = Self::default();
        let options = |input: ParseStream<'_>| args.parse_options(input, errors);
        let parsed = options.parse2(tokens);
        errors.handle(parsed);
        args.is_complete = errors.is_empty();
        args
    }

    fn parse_options(&mut self, input: ParseStream<'_>, errors: &mut Errors) -> Result<()> {
        while !input.is_empty() {
            let parsed = errors.handle(self.parse_option(input));
            let end = parsed.and_then(|()| errors.handle(expect_comma(input)));
            if parsed.is_none() || (end.is_none() && !peek_option(input)) {
                skip_to_comma(input)?;
            }
            input.parse::<Option<Token![,]>>()?;
        }
        Ok(())
    }
}

fn peek_option(input: ParseStream<'_>) -> bool {
    let next = input.fork().call(Ident::parse_any);
    next.is_ok_and(|name| OPTIONS.iter().any(|option| name == option))
}

fn option_name(input: ParseStream<'_>) -> Result<Ident> {
    if let Ok(text) = input.fork().parse::<Lit>() {
        let key = text.to_token_stream();
        let fix = format!("options have names; write `key = {key}`");
        return Err(Error::new(text.span(), fix));
    }
    let name = input.call(Ident::parse_any);
    name.map_err(|error| Error::new(error.span(), expected_options()))
}

fn expected_options() -> String {
    format!("expected one of: `{}`", OPTIONS.join("`, `"))
}

/// Consumes the value as well, because a comma inside it does not end the option.
fn unknown_option(name: &Ident, input: ParseStream<'_>) -> Error {
    if matches!(input.parse::<Option<Token![=]>>(), Ok(Some(_))) {
        let _ = input.parse::<Expr>();
    }
    let message = format!("{}, found `{name}`", expected_options());
    Error::new(name.span(), message)
}

fn set<V>(
    slot: &mut Option<Arg<V>>,
    name: &Ident,
    input: ParseStream<'_>,
    value: fn(&Ident, ParseStream<'_>) -> Result<V>,
) -> Result<()> {
    let value = value(name, input)?;
    if slot.is_some() {
        let fix = format!("`{name}` is given twice; remove one of them");
        return Err(Error::new(name.span(), fix));
    }
    *slot = Some(Arg {
        name: name.span(),
        value,
    });
    Ok(())
}

fn expect_comma(input: ParseStream<'_>) -> Result<()> {
    if input.is_empty() || input.peek(Token![,]) {
        return Ok(());
    }
    let found = input.fork().parse::<TokenTree>()?;
    let fix = format!("expected `,` before `{found}`; options are separated by commas");
    Err(Error::new(found.span(), fix))
}

fn skip_to_comma(input: ParseStream<'_>) -> Result<()> {
    while !input.is_empty() && !input.peek(Token![,]) {
        input.parse::<TokenTree>()?;
    }
    Ok(())
}

fn expect_value(name: &Ident, input: ParseStream<'_>) -> Result<()> {
    let equals = input.parse::<Option<Token![=]>>()?;
    if equals.is_some() && !input.is_empty() && !input.peek(Token![,]) {
        return Ok(());
    }
    let fix = format!("`{name}` needs a value; write `{}`", example(name));
    Err(Error::new(name.span(), fix))
}

fn expr(name: &Ident, input: ParseStream<'_>) -> Result<Expr> {
    expect_value(name, input)?;
    input.parse()
}

fn side_effect(name: &Ident, input: ParseStream<'_>) -> Result<SideEffect> {
    let ahead = input.fork();
    if ahead.parse::<Token![=]>().is_ok()
        && let Ok(word) = ahead.parse::<Ident>()
        && word == "Return"
    {
        let fix = "`side_effect = Return` has no place in an attribute, because the function could \
                   not see the answer; use `Skip`, or `AdvisoryLock::try_acquire_xact` in the body";
        return Err(Error::new(word.span(), fix));
    }
    let values = [("Raise", SideEffect::Raise), ("Skip", SideEffect::Skip)];
    one_of(name, input, &values)
}

fn scope(name: &Ident, input: ParseStream<'_>) -> Result<Scope> {
    let values = [("xact", Scope::Xact), ("session", Scope::Session)];
    one_of(name, input, &values)
}

fn one_of<V: Copy>(name: &Ident, input: ParseStream<'_>, values: &[(&str, V)]) -> Result<V> {
    expect_value(name, input)?;
    let words: Vec<_> = values.iter().map(|(word, _)| *word).collect();
    if let Some(text) = input.parse::<Option<LitStr>>()? {
        return Err(quoted(name, &text, &words));
    }
    let expected = format!("expected `{}`", words.join("` or `"));
    let word = input.parse::<Ident>();
    let word = word.map_err(|error| Error::new(error.span(), &expected))?;
    let value = values.iter().find(|(known, _)| word == known);
    let unknown = || Error::new(word.span(), format!("{expected}, found `{word}`"));
    value.map(|(_, value)| *value).ok_or_else(unknown)
}

/// Returns the error for text where a word belongs, with the word that the text spells.
pub(crate) fn quoted(option: impl Display, text: &LitStr, words: &[&str]) -> Error {
    let spelling = |text: &str| text.replace([' ', '-', '_'], "").to_lowercase();
    let value = text.value();
    let spells = |word: &&&str| spelling(word) == spelling(&value);
    let fix = match words.iter().find(spells) {
        Some(word) => format!("write `{option} = {word}`"),
        None => format!("write `{}`", words.join("` or `")),
    };
    let message = format!("the value of `{option}` has no quotes; {fix}");
    Error::new(text.span(), message)
}

fn flag(name: &Ident, input: ParseStream<'_>) -> Result<()> {
    if !input.peek(Token![=]) {
        return Ok(());
    }
    let fix = format!("`{name}` takes no value; write `{name}` alone, or leave it out");
    Err(Error::new(name.span(), fix))
}

fn flag_or_name(name: &Ident, input: ParseStream<'_>) -> Result<Ident> {
    if !input.peek(Token![=]) {
        return Ok(name.clone());
    }
    expect_value(name, input)?;
    if let Ok(text) = input.fork().parse::<LitStr>()
        && text.parse::<Ident>().is_ok()
    {
        return Err(quoted(name, &text, &[&text.value()]));
    }
    let expected = "expected a name for the transaction, as in `tx = locked`";
    let tx = input.parse::<Ident>();
    tx.map_err(|error| Error::new(error.span(), expected))
}

fn path(name: &Ident, input: ParseStream<'_>) -> Result<Path> {
    expect_value(name, input)?;
    let path = match input.parse::<Option<LitStr>>()? {
        Some(text) => text.parse_with(Path::parse_mod_style),
        None => input.call(Path::parse_mod_style),
    };
    let expected = "expected the path of `advisory_core`, as in `crate = \"other::advisory_core\"`";
    path.map_err(|error| Error::new(error.span(), expected))
}
