//! The rules for the periods in which a function runs once.

use std::time::Duration;

use proc_macro2::Span;
use syn::{Error, Expr, LitStr, Result, parse_quote_spanned};

use super::{literal, text, ungroup};
use crate::args::{Arg, Args};
use crate::errors::Errors;
use crate::model::{Every, PeriodTable};

const EXPECTED: &str = "expected a period, as in `\"1d\"`, `\"1h30m\"` or `\"15s\"` (`w`, `d`, `h`, `m`, `s`), or a `Duration`";
const NO_MONTHS: &str = "a month and a year have no fixed length; write weeks or days, as in `\"30d\"`, and let the \
     function look at the date";

const EXPECTED_TABLE: &str = "expected the name of the table with the marks, as in `\"period\"` or `\"jobs.period\"`, or an \
     expression of type `Periods`";

pub(super) fn every(args: &Args) -> Result<Option<Every>> {
    let Some(every) = &args.every else {
        return without_every(args).map(|()| None);
    };
    if let Some(shared) = &args.shared {
        let fix = "shared holders would all do the work of a period; remove `shared` or `every`";
        return Err(Error::new(shared.name, fix));
    }
    let mut errors = Errors::default();
    let length = errors.handle(duration(every, false));
    let offset = args.offset.as_ref().map(|offset| duration(offset, true));
    let offset = errors.handle(offset.transpose());
    let table = errors.handle(args.periods.as_ref().map(table).transpose());
    let every = length.zip(offset).zip(table);
    let every = every.map(|((length, offset), table)| Every {
        length,
        offset,
        table,
    });
    errors.finish(every).map(Some)
}

/// Refuses what has no effect without `every`.
fn without_every(args: &Args) -> Result<()> {
    let offset = "`offset` moves the periods of `every`; add `every = \"1d\"`, or remove `offset`";
    let table = "`periods` is the table of `every`; add `every = \"1d\"`, or remove `periods`";
    let mut errors = Errors::default();
    for (arg, fix) in [(&args.offset, offset), (&args.periods, table)] {
        if let Some(arg) = arg.as_ref().filter(|_| args.is_complete) {
            errors.push(Error::new(arg.name, fix));
        }
    }
    errors.finish(Some(()))
}

/// A table, or a schema and a table: their names are quoted, so that every character counts.
fn table(arg: &Arg<Expr>) -> Result<PeriodTable> {
    let value = ungroup(&arg.value);
    let Some(text) = text(value) else {
        return match literal(value) {
            Some(_) => Err(Error::new_spanned(value, EXPECTED_TABLE)),
            None => Ok(PeriodTable::Expr(value.clone())),
        };
    };
    let name = text.value();
    let (schema, table) = match name.split_once('.') {
        Some((schema, table)) => (Some(schema), table),
        None => (None, &*name),
    };
    let is_name = |name: &str| !name.is_empty() && !name.contains(['.', '"', '\0']);
    if !is_name(table) || !schema.is_none_or(is_name) {
        return Err(error(text, EXPECTED_TABLE));
    }
    Ok(PeriodTable::Named {
        schema: schema.map(str::to_owned),
        table: table.to_owned(),
    })
}

fn duration(arg: &Arg<Expr>, may_be_zero: bool) -> Result<Expr> {
    let value = ungroup(&arg.value);
    let Some(text) = text(value) else {
        return match literal(value) {
            Some(_) => Err(Error::new_spanned(value, EXPECTED)),
            None => Ok(value.clone()),
        };
    };
    let length = length(&text.value()).map_err(|message| error(text, message))?;
    if length.is_zero() && !may_be_zero {
        return Err(error(text, EXPECTED));
    }
    let seconds = length.as_secs();
    Ok(parse_quote_spanned!(Span::mixed_site()=> ::core::time::Duration::new(#seconds, 0)))
}

fn error(text: &LitStr, message: &str) -> Error {
    Error::new(text.span(), message)
}

/// Numbers with units, the largest unit first or not: `1d`, `1h30m`.
fn length(text: &str) -> std::result::Result<Duration, &'static str> {
    let mut rest = text.trim();
    let mut seconds: u64 = 0;
    if rest.is_empty() {
        return Err(EXPECTED);
    }
    while !rest.is_empty() {
        let digits = rest.find(|char: char| !char.is_ascii_digit());
        let (number, tail) = rest.split_at(digits.ok_or(EXPECTED)?);
        let unit_end = tail.find(|char: char| !char.is_alphabetic());
        let (unit, tail) = tail.split_at(unit_end.unwrap_or(tail.len()));
        let unit: u64 = match unit {
            "s" => 1,
            "m" => 60,
            "h" => 60 * 60,
            "d" => 24 * 60 * 60,
            "w" => 7 * 24 * 60 * 60,
            unit if unit.starts_with("mo") || unit.starts_with('y') || unit.starts_with('M') => {
                return Err(NO_MONTHS);
            }
            _ => return Err(EXPECTED),
        };
        let number: u64 = number.parse().map_err(|_| EXPECTED)?;
        let more = number.checked_mul(unit).ok_or(EXPECTED)?;
        seconds = seconds.checked_add(more).ok_or(EXPECTED)?;
        rest = tail.trim_start();
    }
    Ok(Duration::from_secs(seconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_period_is_numbers_with_units() {
        for (text, seconds) in [
            ("15s", 15),
            ("1m", 60),
            ("1h30m", 5400),
            ("1d", 86400),
            (" 1w 1d ", 691_200),
        ] {
            assert_eq!(length(text), Ok(Duration::from_secs(seconds)), "{text}");
        }
        for text in [
            "",
            "1",
            "d",
            "1x",
            "-1d",
            "1.5h",
            "99999999999999999999d",
            "9999999999999999w",
            "1d,",
        ] {
            assert_eq!(length(text), Err(EXPECTED), "{text}");
        }
        for text in ["1mo", "2 months", "1month", "1y", "1year", "1M"] {
            let text = text.replace(' ', "");
            assert_eq!(length(&text), Err(NO_MONTHS), "{text}");
        }
    }
}
