//! The rules for the number of permits.

use syn::{Error, Expr, Lit, Result};

use super::{literal, ungroup};
use crate::args::Args;

/// As `advisory_core` counts them.
const MOST: u32 = 1_000;

const EXPECTED: &str = "expected how many may run at once, from 1 to 1000, as in `10`";

pub(super) fn permits(args: &Args) -> Result<Option<Expr>> {
    let Some(permits) = &args.permits else {
        return Ok(None);
    };
    if args.shared.is_some() {
        let fix = "a shared lock has no limit of holders; remove `shared`, or `permits`";
        return Err(Error::new(permits.name, fix));
    }
    if args.keys.is_some() {
        let fix = "several locks at once have one permit each; write `key` for the lock with \
                   permits, or remove `permits`";
        return Err(Error::new(permits.name, fix));
    }
    if args.every.is_some() {
        let fix = "several holders would all do the work of a period; remove `permits`, or `every`";
        return Err(Error::new(permits.name, fix));
    }
    let value = ungroup(&permits.value);
    match literal(value) {
        Some((Lit::Int(number), false))
            if number
                .base10_parse()
                .is_ok_and(|permits: u32| (1..=MOST).contains(&permits)) => {}
        Some(_) => return Err(Error::new_spanned(value, EXPECTED)),
        None => {}
    }
    Ok(Some(value.clone()))
}
