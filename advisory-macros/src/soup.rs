//! Whatever stands in the attribute and under it: an expansion or a `compile_error!`, never a panic.

use proc_macro2::{Delimiter, Group, Ident, Literal, Punct, Spacing, Span, TokenStream, TokenTree};
use proptest::prelude::*;
use proptest::sample::{Index, select};
use quote::quote;

use crate::args::OPTIONS;
use crate::function::Function;
use crate::locked;

const WORDS: &str = "key keys timeout side_effect shared scope on tx scheme isolation polling cancel_via crate \
    Raise Skip Return xact session None Sha1 Pals Serializable self Self super pool conn sqlx PgPool PgTransaction \
    PgConnection PoolConnection Pool Postgres Arc Result Ok async await fn unsafe extern const pub default impl \
    trait mod struct where dyn mut ref for if match move return true false test _";

const LITERALS: &[&str] = &[
    "0",
    "2",
    "0x1f",
    "1_000u64",
    "5seconds",
    "2.5",
    "1e400",
    "1e-400",
    "0.0f32",
    "18446744073709551616",
    "0b1i128",
    "'a'",
    "b'a'",
    "\"\"",
    "\"a\"",
    "\"sync({id})\"",
    "\"{\"",
    "\"}}{\"",
    "\"{\u{0}}\"",
    "r#\"{a:?}\"#",
    "b\"a\"",
    "c\"a\"",
    "\"a\"suffix",
    "\"a::b\"",
    "\"::\"",
    "\"é{ü}\"",
];

/// Right arguments, and functions under which each of them stands.
const ARGUMENTS: &[&str] = &[
    "",
    "key = \"sync({id})\", timeout = 2, side_effect = Skip",
    "key = \"a\", shared, polling = 0.1, scheme = Pals::app(\"b\"),",
    "keys = [\"account:{from}\", (1, 7), -42], timeout = None, isolation = Serializable",
    "keys = ids.iter().copied(), scheme = Sha256, timeout = Duration::ZERO",
    "key = \"a\", on = pool, tx = locked, crate = \"other::advisory_core\"",
    "key = format!(\"{}\", id), scope = session, on = self.pool",
    "key = 7, on = *conn.lock().await, cancel_via = &self.pool, scope = xact, crate = crate::locks",
];

const FUNCTIONS: &[&str] = &[
    "async fn f(pool: &PgPool) -> Result<(), Error> { work().await }",
    "#[doc = \"a\"] pub(crate) async fn f<'a, T: A>(_: &Pool<Postgres>, b: &'a T) -> Result<impl B + 'a, E> where T: C { \
     #![allow(dead_code)] b.c().await? }",
    "async fn f(tx: &mut PgTransaction<'_>, id: i64) -> Result<Option<u64>, sqlx::Error> { Ok(None) }",
    "async fn f(mut tx: Transaction<'static, Postgres>) -> Result<(), Error> { tx.commit().await }",
    "async fn r#loop(&self, (a, b): (u8, u8), conn: &mut PoolConnection<Postgres>) -> Result<(), Error> { Ok(()) }",
    "#[test] fn f() -> Result<(), Error> { let body = async { work(pool).await }; run(body) }",
    "impl Jobs { async fn f(&self) -> Result<(), Error> { Ok(()) } }",
];

fn tokens(text: &str) -> TokenStream {
    text.parse().expect("BUG: it is made of tokens")
}

fn token() -> impl Strategy<Value = TokenTree> {
    let words: Vec<_> = WORDS.split_whitespace().collect();
    let word = select(words).prop_map(|word| Ident::new(word, Span::call_site()).into());
    let raw = select(vec!["loop", "key", "tx"])
        .prop_map(|word| Ident::new_raw(word, Span::call_site()).into());
    let sign = (select(b"=,.:;!?&|+-*/<>@#$".to_vec()), any::<bool>()).prop_map(|(sign, joint)| {
        let spacing = if joint {
            Spacing::Joint
        } else {
            Spacing::Alone
        };
        Punct::new(sign.into(), spacing).into()
    });
    let literal = select(LITERALS).prop_map(|text| {
        let literal: Literal = text.parse().expect("BUG: it is a literal");
        literal.into()
    });
    let text = any::<String>().prop_map(|text| Literal::string(&text).into());
    prop_oneof![4 => word, 1 => raw, 4 => sign, 2 => literal, 1 => text]
}

fn delimiter() -> impl Strategy<Value = Delimiter> {
    select(vec![
        Delimiter::Parenthesis,
        Delimiter::Brace,
        Delimiter::Bracket,
        Delimiter::None,
    ])
}

fn tree() -> impl Strategy<Value = TokenTree> {
    token().boxed().prop_recursive(3, 32, 6, |tree| {
        (delimiter(), prop::collection::vec(tree, 0..6))
            .prop_map(|(delimiter, trees)| {
                Group::new(delimiter, trees.into_iter().collect()).into()
            })
            .boxed()
    })
}

fn soup() -> impl Strategy<Value = TokenStream> {
    prop::collection::vec(tree(), 0..16).prop_map(|trees| trees.into_iter().collect())
}

/// A mistake that somebody makes while typing.
#[derive(Clone, Debug)]
enum Slip {
    Left,
    Twice,
    Before(TokenTree),
    Instead(TokenTree),
    Unwrapped,
}

fn slips() -> impl Strategy<Value = Vec<(Index, Slip)>> {
    let slip = prop_oneof![
        Just(Slip::Left),
        Just(Slip::Twice),
        tree().prop_map(Slip::Before),
        tree().prop_map(Slip::Instead),
        Just(Slip::Unwrapped),
    ];
    prop::collection::vec((any::<Index>(), slip), 1..4)
}

impl Slip {
    fn on(&self, tree: TokenTree) -> TokenStream {
        match self {
            Self::Left => TokenStream::new(),
            Self::Twice => [tree.clone(), tree].into_iter().collect(),
            Self::Before(other) => [other.clone(), tree].into_iter().collect(),
            Self::Instead(other) => other.clone().into(),
            Self::Unwrapped => match tree {
                TokenTree::Group(group) => group.stream(),
                other => other.into(),
            },
        }
    }

    /// Makes it on the token that comes so many later, those in groups counted.
    fn after(&self, left: &mut Option<usize>, tokens: TokenStream) -> TokenStream {
        let each = |tree| match (*left, tree) {
            (Some(0), tree) => {
                *left = None;
                self.on(tree)
            }
            (_, tree) => {
                *left = left.map(|left| left - 1);
                match tree {
                    TokenTree::Group(group) => {
                        let inner = self.after(left, group.stream());
                        TokenTree::from(Group::new(group.delimiter(), inner)).into()
                    }
                    other => other.into(),
                }
            }
        };
        tokens.into_iter().flat_map(each).collect()
    }
}

fn count(tokens: TokenStream) -> usize {
    let inner = |tree| match tree {
        TokenTree::Group(group) => count(group.stream()),
        _ => 0,
    };
    tokens.into_iter().map(|tree| 1 + inner(tree)).sum()
}

fn slipped(tokens: TokenStream, slips: &[(Index, Slip)]) -> TokenStream {
    slips.iter().fold(tokens, |tokens, (index, slip)| {
        let place = index.index(count(tokens.clone()).max(1));
        slip.after(&mut Some(place), tokens)
    })
}

fn is_refused(expanded: &TokenStream) -> bool {
    expanded.to_string().contains("compile_error")
}

/// Either it is refused, or it is a function that takes a lock; and the same again.
fn judge(args: &TokenStream, item: &TokenStream) -> Result<(), TestCaseError> {
    let expanded = locked(args.clone(), item.clone());
    let text = expanded.to_string();
    let again = locked(args.clone(), item.clone()).to_string();
    prop_assert_eq!(&text, &again);
    if !is_refused(&expanded) {
        prop_assert!(text.contains("__private"), "{}", text);
        let function = syn::parse2::<Function>(expanded);
        prop_assert!(function.is_ok(), "{}", text);
    }
    Ok(())
}

proptest! {
    #[test]
    fn soup_everywhere(args in soup(), item in soup()) {
        judge(&args, &item)?;
    }

    #[test]
    fn soup_in_the_attribute(args in soup(), item in select(FUNCTIONS)) {
        judge(&args, &tokens(item))?;
    }

    #[test]
    fn soup_for_a_value(
        option in select(OPTIONS),
        value in soup(),
        item in select(FUNCTIONS),
    ) {
        let option = Ident::new(option, Span::call_site());
        judge(&quote!(#option = #value), &tokens(item))?;
    }

    #[test]
    fn slips_in_the_attribute(args in select(ARGUMENTS), slips in slips(), item in select(FUNCTIONS)) {
        judge(&slipped(tokens(args), &slips), &tokens(item))?;
    }

    #[test]
    fn slips_in_the_function(args in select(ARGUMENTS), item in select(FUNCTIONS), slips in slips()) {
        judge(&tokens(args), &slipped(tokens(item), &slips))?;
    }
}

#[test]
fn what_the_slips_are_made_on_is_right() {
    for args in ARGUMENTS {
        let fits = |item: &&&str| !is_refused(&locked(tokens(args), tokens(item)));
        assert!(FUNCTIONS.iter().filter(fits).count() > 0, "{args}");
    }
    for item in FUNCTIONS.iter().filter(|item| !item.starts_with("impl")) {
        let fits = |args: &&&str| !is_refused(&locked(tokens(args), tokens(item)));
        assert!(ARGUMENTS.iter().filter(fits).count() > 0, "{item}");
    }
}
