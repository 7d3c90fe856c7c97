//! The rules for the timeout and the polling interval.

use std::time::Duration;

use proc_macro2::Span;
use syn::{Error, Expr, Lit, Result, parse_quote_spanned};

use super::{literal, ungroup};
use crate::args::{Args, SideEffect};
use crate::model::Wait;

pub(super) fn wait(args: &Args) -> Result<Option<Wait>> {
    let Some(timeout) = &args.timeout else {
        return check_skip(None, args).map(|()| None);
    };
    let wait = match ungroup(&timeout.value) {
        Expr::Path(path) if path.path.is_ident("None") => Wait::Forever,
        value => Wait::For(duration(
            value,
            "expected a number of seconds, as in `2` or `0.5`, a `Duration`, or `None` to wait \
             indefinitely",
            "a timeout cannot be negative; write seconds, `0` not to wait, or `None` to wait \
             indefinitely",
        )?),
    };
    check_skip(Some(&wait), args)?;
    Ok(Some(wait))
}

const POLLING: &str = "expected the seconds between two attempts, as in `0.1`, or a `Duration`";

pub(super) fn polling(args: &Args) -> Result<Option<Expr>> {
    let Some(polling) = &args.polling else {
        return Ok(None);
    };
    let value = ungroup(&polling.value);
    match literal(value).map(|(literal, _)| seconds(literal, POLLING)) {
        Some(Ok(Duration::ZERO)) => Err(Error::new_spanned(value, POLLING)),
        _ => duration(value, POLLING, POLLING).map(Some),
    }
}

const AT_LEAST: &str =
    "expected the seconds for which the lock stays held, as in `60`, or a `Duration`";

pub(super) fn at_least(args: &Args) -> Result<Option<Expr>> {
    let time = args.at_least.as_ref().map(|arg| ungroup(&arg.value));
    time.map(|time| duration(time, AT_LEAST, AT_LEAST))
        .transpose()
}

fn duration(value: &Expr, expected: &str, negative: &str) -> Result<Expr> {
    match literal(value) {
        Some((_, true)) => Err(Error::new_spanned(value, negative)),
        Some((literal, false)) => {
            let duration = seconds(literal, expected)?;
            let (seconds, nanos) = (duration.as_secs(), duration.subsec_nanos());
            Ok(
                parse_quote_spanned!(Span::mixed_site()=> ::core::time::Duration::new(#seconds, #nanos)),
            )
        }
        None => Ok(value.clone()),
    }
}

fn check_skip(wait: Option<&Wait>, args: &Args) -> Result<()> {
    let skip = args.side_effect.as_ref();
    let Some(skip) = skip.filter(|arg| arg.value == SideEffect::Skip) else {
        return Ok(());
    };
    let fix = match wait {
        None if args.is_complete => {
            "`Skip` needs a `timeout` beside it, because without one the function may wait \
             indefinitely and never skip; add `timeout = 0` not to wait, or a number of seconds"
        }
        Some(Wait::Forever) => {
            "`Skip` needs a `timeout` that ends, because with `None` the function never skips; \
             write seconds, `0` not to wait, or remove `side_effect = Skip`"
        }
        _ => return Ok(()),
    };
    Err(Error::new(skip.name, fix))
}

fn seconds(literal: &Lit, expected: &str) -> Result<Duration> {
    let seconds = match literal {
        Lit::Int(number) if is_numeric(number.suffix()) => {
            number.base10_parse().ok().map(Duration::from_secs)
        }
        Lit::Float(number) if is_numeric(number.suffix()) => {
            let seconds = number.base10_parse::<f64>().ok();
            seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
        }
        _ => return Err(Error::new(literal.span(), expected)),
    };
    seconds.ok_or_else(|| {
        let fix = format!("a `Duration` cannot hold so many seconds; {expected}");
        Error::new(literal.span(), fix)
    })
}

fn is_numeric(suffix: &str) -> bool {
    const SUFFIXES: &str = "u8 u16 u32 u64 u128 usize i8 i16 i32 i64 i128 isize f32 f64";
    suffix.is_empty() || SUFFIXES.split(' ').any(|known| known == suffix)
}
