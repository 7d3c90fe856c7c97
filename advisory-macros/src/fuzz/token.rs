//! Strategies for tokens of every kind, most of them tokens that the attribute knows.

use proc_macro2::{Delimiter, Group, Ident, Literal, Punct, Spacing, Span, TokenStream, TokenTree};
use proptest::prelude::*;
use proptest::sample::select;
use quote::quote;

use crate::args::OPTIONS;

const WORDS: &str = "key keys timeout side_effect shared scope on tx scheme isolation polling \
    cancel_via map_err crate Raise Skip Return xact session None Sha1 Pals Serializable self Self super \
    pool conn sqlx PgPool PgTransaction PgConnection PoolConnection Pool Postgres Arc Result Ok \
    async await fn unsafe extern const pub default impl trait mod struct where dyn mut ref for if \
    let match move return true false test _";

const LITERALS: &str = r##"0 2 0x1f 1_000u64 5seconds 2.5 1e20 1e308 1e400 1e-400 0.0f32
    18446744073709551616 0b1i128 'a' b'a' "" "a" "sync({id})" "{" "}}{" "{\u{0}}" r#"{a:?}"# b"a"
    c"a" "a"suffix "a::b" "::" "é{ü}" "a:{b.c}{d::e:>4}{}" "{a[\"b\"]}""##;

const DELIMITERS: [Delimiter; 4] = {
    use Delimiter::{Brace, Bracket, None, Parenthesis};
    [Parenthesis, Brace, Bracket, None]
};

fn literal() -> impl Strategy<Value = TokenTree> {
    let literals: Vec<_> = LITERALS.split_whitespace().collect();
    select(literals).prop_map(|text| {
        let literal: Literal = text.parse().expect("BUG: the text is a literal");
        literal.into()
    })
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
    let text = any::<String>().prop_map(|text| Literal::string(&text).into());
    prop_oneof![4 => word, 1 => raw, 4 => sign, 2 => literal(), 1 => text]
}

pub(super) fn tree() -> impl Strategy<Value = TokenTree> {
    token().boxed().prop_recursive(3, 32, 6, |tree| {
        (select(&DELIMITERS[..]), prop::collection::vec(tree, 0..6))
            .prop_map(|(delimiter, trees)| {
                Group::new(delimiter, trees.into_iter().collect()).into()
            })
            .boxed()
    })
}

pub(super) fn tokens() -> impl Strategy<Value = TokenStream> {
    prop::collection::vec(tree(), 0..16).prop_map(|trees| trees.into_iter().collect())
}

/// Options with values, most of them a single literal, because the attribute parses literals.
pub(super) fn options() -> impl Strategy<Value = TokenStream> {
    let value = prop_oneof![
        4 => literal().prop_map(TokenStream::from),
        1 => tree().prop_map(TokenStream::from),
        1 => prop::collection::vec(tree(), 0..4).prop_map(TokenStream::from_iter),
    ];
    let option = (select(OPTIONS), any::<bool>(), value).prop_map(|(option, negative, value)| {
        let option = Ident::new(option, Span::call_site());
        let sign = negative.then(|| quote!(-));
        quote!(#option = #sign #value)
    });
    prop::collection::vec(option, 1..6).prop_map(|options| quote!(#(#options),*))
}
