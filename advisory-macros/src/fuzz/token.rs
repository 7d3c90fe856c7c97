//! Strategies for tokens of every kind, most of them tokens that the attribute knows.

use proc_macro2::{Delimiter, Group, Ident, Span, TokenStream};
use proptest::prelude::*;
use proptest::sample::select;
use quote::{ToTokens as _, quote};

use crate::args::OPTIONS;

const WORDS: &str = "key keys timeout side_effect shared permits scope on tx scheme isolation polling \
    cancel_via map_err crate Raise Skip Return xact session None Sha1 Pals Serializable self Self super \
    pool conn sqlx PgPool PgTransaction PgConnection PoolConnection Pool Postgres Arc Result Ok \
    async await fn unsafe extern const pub default impl trait mod struct where dyn mut ref for if \
    let match move return true false test _ r#loop r#key r#tx 'a = , . : ; ! ? & | + - * / < > @ # $ \
    => :: -> .. == && ..=";

const LITERALS: &str = r##"0 2 0x1f 1_000u64 5seconds 2.5 1e20 1e308 1e400 1e-400 0.0f32
    18446744073709551616 0b1i128 'a' b'a' "" "a" "sync({id})" "{" "}}{" "{\u{0}}" r#"{a:?}"# b"a"
    c"a" "a"suffix "a::b" "::" "é{ü}" "a:{b.c}{d::e:>4}{}" "{a[\"b\"]}""##;

/// One of the words in a text.
fn word(text: &'static str) -> impl Strategy<Value = TokenStream> {
    let words: Vec<_> = text.split_whitespace().collect();
    select(words).prop_map(|word| word.parse().expect("BUG: the word consists of tokens"))
}

pub(super) fn tree() -> impl Strategy<Value = TokenStream> {
    use Delimiter::{Brace, Bracket, None, Parenthesis};
    let text = any::<String>().prop_map(|text| text.to_token_stream());
    let token = prop_oneof![8 => word(WORDS), 2 => word(LITERALS), 1 => text];
    token.prop_recursive(3, 32, 6, |tree| {
        let delimiter = select(&[Parenthesis, Brace, Bracket, None]);
        (delimiter, trees(tree, 6)).prop_map(|(d, inner)| Group::new(d, inner).to_token_stream())
    })
}

fn trees(
    tree: impl Strategy<Value = TokenStream>,
    max: usize,
) -> impl Strategy<Value = TokenStream> {
    prop::collection::vec(tree, 0..max).prop_map(TokenStream::from_iter)
}

pub(super) fn tokens() -> impl Strategy<Value = TokenStream> {
    trees(tree(), 16)
}

/// Options with values, most of them a single literal, because the attribute parses literals.
pub(super) fn options() -> impl Strategy<Value = TokenStream> {
    let value = prop_oneof![4 => word(LITERALS), 1 => trees(tree(), 4)];
    let option = (select(OPTIONS), any::<bool>(), value).prop_map(|(option, negative, value)| {
        let option = Ident::new(option, Span::call_site());
        let sign = negative.then(|| quote!(-));
        quote!(#option = #sign #value,)
    });
    trees(option, 6)
}
