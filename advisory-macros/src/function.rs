//! The syntax of the annotated function: a signature, and a body that stays opaque.

use proc_macro2::{Delimiter, Group, Span, TokenStream, TokenTree};
use quote::quote;
use syn::ext::IdentExt as _;
use syn::parse::{Parse, ParseStream, Parser as _};
use syn::{Attribute, Error, Ident, LitStr, Result, Signature, Token, Visibility};

pub(crate) struct Function {
    pub(crate) attrs: Vec<Attribute>,
    vis: Visibility,
    pub(crate) sig: Signature,
    /// These belong to the function, not to the block that the body becomes.
    inner_attrs: Vec<Attribute>,
    pub(crate) body: Group,
    runner: Option<Runner>,
}

/// The code that `#[tokio::test]` puts around the body when it stands above `#[advisory]`.
struct Runner {
    before: TokenStream,
    after: TokenStream,
}

impl Parse for Function {
    fn parse(input: ParseStream<'_>) -> Result<Self> {
        let attrs = input.call(Attribute::parse_outer)?;
        let vis = input.parse()?;
        expect_function(input)?;
        let sig = input.parse::<Signature>()?;
        expect_body(input)?;
        let content;
        let brace = syn::braced!(content in input);
        let inner_attrs = content.call(Attribute::parse_inner)?;
        let body = braced(content.parse()?, brace.span.join());
        let (runner, body) = match Runner::split(&body) {
            Some((runner, body)) if is_test(&attrs) => (Some(runner), body),
            _ => (None, body),
        };
        Ok(Self {
            attrs,
            vis,
            sig,
            inner_attrs,
            body,
            runner,
        })
    }
}

impl Function {
    pub(crate) fn is_async(&self) -> bool {
        self.sig.asyncness.is_some() || self.runner.is_some()
    }

    /// Returns the tokens of the function with another signature and body.
    pub(crate) fn with(&self, sig: &Signature, body: TokenStream) -> TokenStream {
        let (attrs, vis, inner_attrs) = (&self.attrs, &self.vis, &self.inner_attrs);
        let body = match &self.runner {
            Some(Runner { before, after }) => {
                let body = braced(body, self.body.span());
                quote!(#before #body #after)
            }
            None => body,
        };
        let body = braced(quote!(#(#inner_attrs)* #body), self.body.span());
        quote!(#(#attrs)* #vis #sig #body)
    }
}

impl Runner {
    /// Input: `let body = async { … }; …`. Output: the block, and the tokens before and after it.
    fn split(body: &Group) -> Option<(Self, Group)> {
        let split = |input: ParseStream<'_>| {
            let (binding, name) = (input.parse::<Token![let]>()?, input.parse::<Ident>()?);
            let (equals, block) = (input.parse::<Token![=]>()?, input.parse::<Token![async]>()?);
            let before = quote!(#binding #name #equals #block);
            let body = input.parse::<Group>()?;
            let after = input.parse()?;
            Ok((Self { before, after }, body))
        };
        split.parse2(body.stream()).ok()
    }
}

fn is_test(attrs: &[Attribute]) -> bool {
    let name = |attr: &Attribute| attr.path().segments.last().map(|last| last.ident.clone());
    attrs.iter().filter_map(name).any(|name| name == "test")
}

fn braced(tokens: TokenStream, span: Span) -> Group {
    let mut group = Group::new(Delimiter::Brace, tokens);
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
    let word = input.fork().call(Ident::parse_any);
    let is_word = word.is_ok_and(|word| {
        let qualifiers = ["default", "const", "async", "unsafe", "safe", "extern"];
        qualifiers.iter().any(|qualifier| word == qualifier)
    });
    is_word || input.peek(LitStr)
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
    fn the_expansion_of_tokio_test_is_async() {
        let function = parse("#[test] fn f() { let body = async { work() }; run(body) }");
        assert!(function.is_async());
        assert_eq!(function.body.to_string(), "{ work () }");
        let whole = function.with(&function.sig, quote!(locked()));
        let expected = "# [test] fn f () { let body = async { locked () } ; run (body) }";
        assert_eq!(whole.to_string(), expected);
    }

    #[test]
    fn an_async_block_without_a_test_attribute_is_not_a_runner() {
        assert!(!parse("fn f() { let body = async { work() }; run(body) }").is_async());
    }
}
