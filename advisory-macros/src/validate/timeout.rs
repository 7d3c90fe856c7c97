//! How long to wait.

use std::time::Duration;

use syn::{Error, Expr, ExprLit, ExprUnary, Lit, Result, UnOp};

use super::bare;
use crate::args::{Args, SideEffect};
use crate::model::{Interval, Wait};

pub(super) fn wait(args: &Args) -> Result<Option<Wait>> {
    let Some(timeout) = &args.timeout else {
        return Ok(None);
    };
    let wait = match bare(&timeout.value) {
        Expr::Path(path) if path.path.is_ident("None") => Wait::Forever,
        value => Wait::For(interval(
            value,
            "a timeout is a number of seconds, as in `2` or `0.5`, a `Duration`, or `None` to wait for ever",
            "a timeout is not negative; write seconds, `0` not to wait, or `None` to wait for ever",
        )?),
    };
    can_run_out(&wait, args)?;
    Ok(Some(wait))
}

const POLLING: &str =
    "polling takes the seconds between two attempts, as in `0.1`, or a `Duration`";

pub(super) fn polling(args: &Args) -> Result<Option<Interval>> {
    let Some(polling) = &args.polling else {
        return Ok(None);
    };
    match interval(bare(&polling.value), POLLING, POLLING)? {
        Interval::Seconds(Duration::ZERO) => Err(Error::new_spanned(&polling.value, POLLING)),
        interval => Ok(Some(interval)),
    }
}

fn interval(value: &Expr, other: &str, negative: &str) -> Result<Interval> {
    match value {
        Expr::Lit(ExprLit { lit, .. }) => Ok(Interval::Seconds(seconds(lit, other)?)),
        Expr::Unary(ExprUnary {
            op: UnOp::Neg(_),
            expr,
            ..
        }) if is_literal(expr) => Err(Error::new_spanned(value, negative)),
        value => Ok(Interval::Value(value.clone())),
    }
}

fn is_literal(expr: &Expr) -> bool {
    matches!(bare(expr), Expr::Lit(_))
}

fn can_run_out(wait: &Wait, args: &Args) -> Result<()> {
    let skip = args
        .side_effect
        .as_ref()
        .filter(|given| given.value == SideEffect::Skip);
    match (wait, skip) {
        (Wait::Forever, Some(skip)) => {
            let fix = "a wait without end is never skipped; give `timeout` in seconds, `0` not to wait, \
                       or remove `side_effect = Skip`";
            Err(Error::new(skip.name, fix))
        }
        _ => Ok(()),
    }
}

fn seconds(literal: &Lit, other: &str) -> Result<Duration> {
    let seconds = match literal {
        Lit::Int(number) if is_number(number.suffix()) => {
            number.base10_parse().ok().map(Duration::from_secs)
        }
        Lit::Float(number) if is_number(number.suffix()) => {
            let seconds = number.base10_parse::<f64>().ok();
            seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
        }
        _ => return Err(Error::new(literal.span(), other)),
    };
    let fix = "no `Duration` holds so many seconds; write `None` to wait for ever";
    seconds.ok_or_else(|| Error::new(literal.span(), fix))
}

fn is_number(suffix: &str) -> bool {
    matches!(
        suffix,
        "" | "u8"
            | "u16"
            | "u32"
            | "u64"
            | "u128"
            | "usize"
            | "i8"
            | "i16"
            | "i32"
            | "i64"
            | "i128"
            | "isize"
            | "f32"
            | "f64"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mistake::Mistakes;

    fn read(timeout: &str) -> Result<Option<Wait>> {
        let mut mistakes = Mistakes::default();
        let args = Args::parse(timeout.parse().unwrap(), &mut mistakes);
        wait(&mistakes.none_in(Some(args)).unwrap())
    }

    fn duration(timeout: &str) -> Duration {
        match read(&format!("timeout = {timeout}")).unwrap() {
            Some(Wait::For(Interval::Seconds(duration))) => duration,
            _ => panic!("{timeout} is not a number"),
        }
    }

    fn message(timeout: &str) -> String {
        let message = read(timeout).err().expect("the timeout is wrong");
        message.to_string()
    }

    #[test]
    fn numbers_are_seconds() {
        assert_eq!(duration("0"), Duration::ZERO);
        assert_eq!(duration("1_000u64"), Duration::from_secs(1000));
        assert_eq!(duration("2f64"), Duration::from_secs(2));
        assert_eq!(duration("1.5"), Duration::from_millis(1500));
        assert_eq!(duration("25e-2_f32"), Duration::from_millis(250));
        assert_eq!(duration("18446744073709551615").as_secs(), u64::MAX);
    }

    #[test]
    fn other_values_are_left_to_the_compiler() {
        assert!(matches!(read("timeout = None"), Ok(Some(Wait::Forever))));
        assert!(matches!(
            read("timeout = self.wait"),
            Ok(Some(Wait::For(Interval::Value(_))))
        ));
        assert!(matches!(
            read("timeout = -limit()"),
            Ok(Some(Wait::For(Interval::Value(_))))
        ));
        assert!(matches!(read("shared"), Ok(None)));
    }

    #[test]
    fn other_literals_are_refused() {
        for timeout in ["\"2s\"", "true", "2s", "500ms"] {
            let message = message(&format!("timeout = {timeout}"));
            assert!(message.contains("a number of seconds"), "{message}");
        }
    }

    #[test]
    fn numbers_out_of_range_are_refused() {
        assert!(message("timeout = -1").contains("not negative"));
        assert!(message("timeout = -0.5").contains("not negative"));
        assert!(message("timeout = 18446744073709551616").contains("so many seconds"));
        assert!(message("timeout = 1e20").contains("so many seconds"));
    }

    #[test]
    fn a_wait_for_ever_is_not_skipped() {
        assert!(message("timeout = None, side_effect = Skip").contains("never skipped"));
        assert!(read("timeout = None, side_effect = Raise").is_ok());
    }
}
