//! A use of `tx` as a transaction in a function that does not bind it.

use proc_macro2::{Delimiter, Ident, TokenStream, TokenTree};
use syn::Attribute;
use syn::ext::IdentExt as _;

use crate::function::Function;
use crate::parameter::{is_parameter, mentions};

/// Returns the first `tx` that is used as a transaction, if nothing in the function may bind it.
///
/// The body is opaque, so an occurrence counts as a use only where no pattern can stand. Any other
/// occurrence may be a binding, and then rustc decides.
pub(crate) fn unbound_tx(function: &Function) -> Option<Ident> {
    let mut search = Search::default();
    search.visit(function.body.stream(), false);
    let is_bound = search.may_be_bound || is_parameter("tx", &function.sig);
    // An attribute below this one may bind it as well.
    let may_be_bound = is_bound || !function.attrs.iter().all(is_known);
    search.transaction.filter(|_| !may_be_bound)
}

#[derive(Default)]
struct Search {
    transaction: Option<Ident>,
    may_be_bound: bool,
}

impl Search {
    fn visit(&mut self, tokens: TokenStream, is_call: bool) {
        let trees: Vec<_> = tokens.into_iter().collect();
        let words: Vec<_> = trees.iter().map(word).collect();
        let words: Vec<_> = words.iter().map(String::as_str).collect();
        for (index, tree) in trees.iter().enumerate() {
            let (before, after) = (&words[..index], &words[index + 1..]);
            let is_macro = matches!(before, [.., "!"] | [.., "macro_rules", "!", _]);
            match tree {
                TokenTree::Group(group) if is_macro => {
                    self.may_be_bound |= mentions(group.stream(), "tx");
                }
                TokenTree::Group(group) => {
                    let is_call = words[index] == "()" && is_argument_list(before, after);
                    self.visit(group.stream(), is_call);
                }
                TokenTree::Ident(tx) if tx.unraw() == "tx" => {
                    self.visit_tx(tx, before, after, is_call);
                }
                _ => {}
            }
        }
    }

    fn visit_tx(&mut self, tx: &Ident, before: &[&str], after: &[&str], is_call: bool) {
        let is_borrowed = match before {
            [.., "*", "*"] | [.., "&", "mut", "*"] | [.., "=", "&", "mut"] => true,
            ["&", "mut"] | [.., ",", "&", "mut"] => is_call,
            _ => false,
        };
        if is_borrowed {
            self.transaction.get_or_insert_with(|| tx.clone());
            return;
        }
        self.may_be_bound |= match (before, after) {
            ([.., ".", "."], _) => true,
            // This is a field, a method, a lifetime or a dereference.
            ([.., "." | "'" | "*"], _) => false,
            (_, [".", next, ..]) => *next == ".",
            ([] | [.., ","], [] | [",", ..]) => !is_call,
            _ => true,
        };
    }
}

/// Returns whether an attribute is known to leave the body as it is.
fn is_known(attr: &Attribute) -> bool {
    const NAMES: &str = "doc allow expect warn deny must_use inline cfg deprecated test instrument";
    let last = attr.path().segments.last();
    last.is_some_and(|last| NAMES.split(' ').any(|name| last.ident == name))
}

fn word(tree: &TokenTree) -> String {
    match tree {
        TokenTree::Group(group) if group.delimiter() == Delimiter::Parenthesis => "()".to_owned(),
        TokenTree::Group(_) => String::new(),
        other => other.to_string(),
    }
}

/// Returns whether parentheses between these tokens hold the arguments of a call, not a pattern.
fn is_argument_list(before: &[&str], after: &[&str]) -> bool {
    let is_function = |name: &&str| {
        name.starts_with(|first: char| first.is_lowercase() || first == '_')
            && syn::parse_str::<Ident>(name).is_ok()
    };
    before.last().is_some_and(is_function) && matches!(after, [] | ["." | "?" | ";" | ",", ..])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_unbound(body: &str) -> bool {
        let item = format!("#[doc = \"a\"] async fn f(pool: &PgPool) {{ {body} }}");
        unbound_tx(&syn::parse_str(&item).unwrap()).is_some()
    }

    #[test]
    fn a_transaction_without_a_binding_is_found() {
        for body in [
            "query.execute(&mut **tx).await?; Ok(())",
            "if a { helper(&mut tx, 1).await? } else { other(1, &mut *tx)?; }",
            "helper(tx, id).await?; tx.len(); let a = &mut tx; other(id, tx)",
            "self.tx.len(); a::<'tx>(); info!(id); query.fetch(&mut **tx)",
        ] {
            assert!(is_unbound(body), "{body}");
        }
    }

    #[test]
    fn a_transaction_that_may_be_bound_is_left_to_the_compiler() {
        for binding in [
            "let tx = pool.begin().await?;",
            "let mut tx = pool.begin().await?;",
            "let r#tx = 1;",
            "let (tx, rx) = channel();",
            "let Wrapper(tx) = a;",
            "let wrapper(tx) = a;",
            "if let Some(&mut tx) = a {}",
            "for &mut tx in a {}",
            "match a { Some(tx) => {} }",
            "match a { tx @ 1.. => {} }",
            "match a { tx if tx.b() => {} }",
            "run(|tx| a);",
            "run(async |a, tx: &mut PgTransaction<'_>| a);",
            "async fn inner(a: u8, tx: &mut PgTransaction<'_>) {}",
            "use crate::tx;",
            "let Wrapper { tx, .. } = a;",
            "select! { tx = a => {} }",
            "with_transaction!(pool, tx, {});",
            "macro_rules! a { ($a:expr) => { let tx = $a; } }",
        ] {
            assert!(
                !is_unbound(&format!("{binding} query.execute(&mut **tx)")),
                "{binding}"
            );
        }
    }

    #[test]
    fn other_uses_of_tx_are_left_to_the_compiler() {
        for body in "tx.send(1); helper(tx); *tx += 1; self.tx.len(&mut *self.tx)".split("; ") {
            assert!(!is_unbound(body), "{body}");
        }
        for item in [
            "async fn f(pool: &PgPool, tx: &mut Sender) { query(&mut **tx) }",
            "#[transactional] async fn f(pool: &PgPool) { query(&mut **tx) }",
        ] {
            assert!(
                unbound_tx(&syn::parse_str(item).unwrap()).is_none(),
                "{item}"
            );
        }
    }
}
