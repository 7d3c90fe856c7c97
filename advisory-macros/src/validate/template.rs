//! The rules for text with inline arguments.

use proc_macro2::Span;
use syn::{Error, Expr, LitStr, Result};

/// Refuses an inline argument that is not a name; `format!` reports every other error.
pub(super) fn check_template(text: &LitStr) -> Result<()> {
    let value = text.value();
    let (mut format, mut arguments, mut rest) = (String::new(), Vec::new(), value.as_str());
    while let Some(at) = rest.find(['{', '}']) {
        let (before, tail) = rest.split_at(at);
        format.push_str(before);
        if tail.starts_with("{{") || tail.starts_with("}}") {
            format.push_str(&tail[..2]);
            rest = &tail[2..];
            continue;
        }
        let Some((inside, after)) = tail.strip_prefix('{').and_then(|t| t.split_once('}')) else {
            return Ok(());
        };
        rest = after;
        let (argument, spec) = split_spec(inside);
        if argument.trim().is_empty() || argument.trim().parse::<usize>().is_ok() {
            return Err(positional(text, inside));
        }
        if is_name(argument) {
            format.extend(["{", inside, "}"]);
        } else {
            format.extend(["{", spec, "}"]);
            arguments.push(argument.trim());
        }
    }
    format.push_str(rest);
    let Some(first) = arguments.first() else {
        return Ok(());
    };
    let is_exact = arguments.iter().all(|a| syn::parse_str::<Expr>(a).is_ok());
    let call = if is_exact {
        let format = LitStr::new(&format, Span::call_site()).token();
        format!("`format!({format}, {})`", arguments.join(", "))
    } else {
        "`format!(\"sync({})\", request.id)`, or `{{` for a brace".to_owned()
    };
    let fix = format!("an inline argument is a plain name, and `{first}` is not; write {call}");
    Err(Error::new(text.span(), fix))
}

fn positional(text: &LitStr, inside: &str) -> Error {
    let fix = format!(
        "`{{{inside}}}` has no argument; put a name between the braces, as in `{{id}}`, or write \
         `format!({}, …)`",
        text.token(),
    );
    Error::new(text.span(), fix)
}

/// Splits `id:>4` into `id` and `:>4`. In a path, `::` separates segments.
fn split_spec(inside: &str) -> (&str, &str) {
    let is_double = |at: usize| inside[..at].ends_with(':') || inside[at + 1..].starts_with(':');
    // A format specification may begin with `::`, whose second colon is then the fill.
    let is_fill = |at: usize| {
        inside[at + 1..].starts_with([':']) && inside[at + 2..].starts_with(['<', '^', '>'])
    };
    let mut colons = inside.match_indices(':').map(|(at, _)| at);
    let spec = colons.find(|at| !is_double(*at) || is_fill(*at));
    inside.split_at(spec.unwrap_or(inside.len()))
}

fn is_name(argument: &str) -> bool {
    argument
        .trim()
        .chars()
        .all(|c| c.is_alphanumeric() || c == '_')
}
