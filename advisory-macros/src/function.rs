//! The syntax of the annotated function: a signature, and a body that stays opaque.

use proc_macro2::{Delimiter, Group, Span, TokenStream, TokenTree};
use quote::quote;
use syn::ext::IdentExt as _;
use syn::parse::{Parse, ParseStream};
use syn::{Attribute, Error, Ident, LitStr, Result, Signature, Token, Visibility};

use crate::original::{Around, of_async_trait, of_tokio_test};

pub(crate) struct Function {
    pub(crate) attrs: Vec<Attribute>,
    vis: Visibility,
    /// The signature as it stands, of which an attribute above may have taken the `async`.
    pub(crate) outer_sig: Signature,
    /// These belong to the function, not to the block that the body becomes.
    inner_attrs: Vec<Attribute>,
    pub(crate) sig: Signature,
    pub(crate) body: Group,
    around: Around,
}

impl Parse for Function {
    fn parse(input: ParseStream<'_>) -> Result<Self> {
        let attrs = input.call(Attribute::parse_outer)?;
        let vis = input.parse()?;
        expect_function(input)?;
        let outer_sig = input.parse::<Signature>()?;
        expect_body(input)?;
        let content;
        let brace = syn::braced!(content in input);
        let inner_attrs = content.call(Attribute::parse_inner)?;
        let body = delimited(Delimiter::Brace, content.parse()?, brace.span.join());
        let mut sig = outer_sig.clone();
        let original = match sig.asyncness {
            None if is_test(&attrs) => of_tokio_test(&body),
            None => of_async_trait(&mut sig, &body),
            Some(_) => None,
        };
        if let Some((body, _)) = &original {
            sig.asyncness = Some(Token![async](body.span()));
        }
        let (body, around) = original.unwrap_or_else(|| (body, Box::new(|body| body)));
        Ok(Self {
            attrs,
            vis,
            outer_sig,
            inner_attrs,
            sig,
            body,
            around,
        })
    }
}

impl Function {
    /// Returns the tokens of the function with another outer signature and another body.
    pub(crate) fn with(&self, outer_sig: &Signature, body: TokenStream) -> TokenStream {
        let (attrs, vis, inner_attrs) = (&self.attrs, &self.vis, &self.inner_attrs);
        let body = (self.around)(body);
        let body = quote!(#(#inner_attrs)* #body);
        let body = delimited(Delimiter::Brace, body, self.body.span());
        quote!(#(#attrs)* #vis #outer_sig #body)
    }
}

fn is_test(attrs: &[Attribute]) -> bool {
    let name = |attr: &Attribute| attr.path().segments.last().map(|last| last.ident.clone());
    attrs.iter().filter_map(name).any(|name| name == "test")
}

pub(crate) fn delimited(delimiter: Delimiter, tokens: TokenStream, span: Span) -> Group {
    let mut group = Group::new(delimiter, tokens);
    group.set_span(span);
    group
}

fn expect_function(input: ParseStream<'_>) -> Result<()> {
    let ahead = input.fork();
    while is_qualifier(&ahead) {
        ahead.parse::<TokenTree>()?;
    }
    if ahead.is_empty() || ahead.peek(Token![fn]) {
        return Ok(());
    }
    let found = input.parse::<TokenTree>()?;
    let fix = match ahead.parse::<TokenTree>()?.to_string().as_str() {
        item @ ("impl" | "trait" | "mod") => format!("put it on the functions of this `{item}`"),
        _ => "move what needs the lock into one".to_owned(),
    };
    let message = format!("`#[advisory]` goes on an `async fn`; {fix}");
    Err(Error::new(found.span(), message))
}

fn is_qualifier(input: ParseStream<'_>) -> bool {
    const QUALIFIERS: &str = "default const async unsafe safe extern";
    let word = input.fork().call(Ident::parse_any);
    let is_qualifier = |word: Ident| QUALIFIERS.split(' ').any(|qualifier| word == qualifier);
    word.is_ok_and(is_qualifier) || input.peek(LitStr)
}

fn expect_body(input: ParseStream<'_>) -> Result<()> {
    let Some(semicolon) = input.parse::<Option<Token![;]>>()? else {
        return Ok(());
    };
    let fix = "there is no body to lock; put `#[advisory]` on the method's implementations";
    Err(Error::new(semicolon.span, fix))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(item: &str) -> Function {
        syn::parse_str(item).unwrap()
    }

    #[test]
    fn a_body_is_any_list_of_tokens() {
        let function = parse("async fn f() -> u8 { #![allow(unused)] yield ! $ ? }");
        assert_eq!(function.inner_attrs.len(), 1);
        assert_eq!(function.body.to_string(), "{ yield ! $ ? }");
    }

    #[test]
    fn an_async_block_without_a_test_attribute_is_not_a_runner() {
        let function = parse("fn f() { let body = async { work() }; run(body) }");
        assert!(function.sig.asyncness.is_none());
    }
}
