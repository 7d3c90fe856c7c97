//! The `async fn` that an attribute above `#[advisory]` has turned into another function.

use proc_macro2::{Delimiter, Group, TokenStream};
use quote::{ToTokens as _, quote};
use syn::parse::{ParseStream, Parser as _};
use syn::{
    Block, Expr, FnArg, GenericArgument, Ident, Local, Pat, Path, PathArguments, ReturnType,
    Signature, Stmt, Token, Type, TypeParamBound,
};

use crate::function::delimited;
use crate::parameter::argument_of;

pub(crate) struct Original {
    pub(crate) sig: Signature,
    pub(crate) body: Group,
    pub(crate) around: Around,
}

/// Puts another body where the original one now is.
pub(crate) type Around = Box<dyn Fn(TokenStream) -> TokenStream>;

impl Original {
    /// Input: `fn f() -> R { let body = async { … }; … }`, as `#[tokio::test]` writes it.
    pub(crate) fn of_tokio_test(sig: &Signature, body: &Group) -> Option<Self> {
        let split = |input: ParseStream<'_>| {
            let (binding, name) = (input.parse::<Token![let]>()?, input.parse::<Ident>()?);
            let (equals, block) = (input.parse::<Token![=]>()?, input.parse::<Token![async]>()?);
            let (body, after) = (input.parse::<Group>()?, input.parse::<TokenStream>()?);
            let span = body.span();
            let around = move |inner| {
                let body = delimited(Delimiter::Brace, inner, span);
                quote!(#binding #name #equals #block #body #after)
            };
            Ok((block, body, around))
        };
        let (block, body, around) = split.parse2(body.stream()).ok()?;
        let mut sig = sig.clone();
        sig.asyncness = Some(block);
        let around = Box::new(around);
        Some(Self { sig, body, around })
    }

    /// Input: `fn f() -> Pin<Box<dyn Future<Output = R>>> { Box::pin(async move { … }) }`, as
    /// `#[async_trait]` writes it.
    pub(crate) fn of_async_trait(sig: &Signature, body: &Group) -> Option<Self> {
        let split_block = |input: ParseStream<'_>| {
            let keywords = (
                input.parse::<Token![async]>()?,
                input.parse::<Token![move]>()?,
            );
            Ok((keywords, input.parse::<Group>()?))
        };
        let split_call =
            |input: ParseStream<'_>| Ok((Path::parse_mod_style(input)?, input.parse::<Group>()?));
        let (path, call) = split_call.parse2(body.stream()).ok()?;
        let ((block, capture), body) = split_block.parse2(call.stream()).ok()?;
        let mut sig = sig.clone();
        sig.output = ReturnType::Type(Token![->](call.span()), future_output(&sig)?.clone().into());
        sig.asyncness = Some(block);
        let (patterns, body) = restore_patterns(body, &mut sig);
        let span = body.span();
        let around = move |inner| {
            let body = delimited(Delimiter::Brace, quote!(#patterns #inner), span);
            let block = quote!(#block #capture #body);
            let call = delimited(Delimiter::Parenthesis, block, call.span());
            quote!(#path #call)
        };
        let around = Box::new(around);
        Some(Self { sig, body, around })
    }
}

/// Returns `R` of `Pin<Box<dyn Future<Output = R> + …>>`.
pub(crate) fn future_output(sig: &Signature) -> Option<&Type> {
    let ReturnType::Type(_, output) = &sig.output else {
        return None;
    };
    let boxed = argument_of(output, "Pin").and_then(|inner| argument_of(inner, "Box"));
    let Some(Type::TraitObject(future)) = boxed else {
        return None;
    };
    let TypeParamBound::Trait(future) = future.bounds.first()? else {
        return None;
    };
    let PathArguments::AngleBracketed(arguments) = &future.path.segments.last()?.arguments else {
        return None;
    };
    match arguments.args.first()? {
        GenericArgument::AssocType(output) => Some(&output.ty),
        _ => None,
    }
}

/// Moves the statements that take parameters apart out of the body, and their patterns into the
/// signature, so that the key may use what the patterns bind.
fn restore_patterns(body: Group, sig: &mut Signature) -> (TokenStream, Group) {
    let statements = Block::parse_within.parse2(body.stream());
    let statements = statements.unwrap_or_default().into_iter();
    let (patterns, rest): (Vec<_>, Vec<_>) =
        statements.partition(|statement| restore_pattern(statement, sig).is_some());
    if patterns.is_empty() {
        return (TokenStream::new(), body);
    }
    let body = delimited(Delimiter::Brace, quote!(#(#rest)*), body.span());
    (quote!(#(#patterns)*), body)
}

/// Input: `let (a, b) = { let __arg1 = __arg1; __arg1 };`, where `__arg1` is a parameter.
fn restore_pattern(statement: &Stmt, sig: &mut Signature) -> Option<()> {
    let Stmt::Local(Local { pat, init, .. }) = statement else {
        return None;
    };
    let Expr::Block(block) = &*init.as_ref()?.expr else {
        return None;
    };
    let name = block.block.stmts.last()?.to_token_stream().to_string();
    let is_generated = |pattern: &Pat| matches!(pattern, Pat::Ident(pattern) if name.starts_with("__arg") && pattern.ident == name);
    let parameter = sig.inputs.iter_mut().find_map(|argument| match argument {
        FnArg::Typed(argument) if is_generated(&argument.pat) => Some(&mut *argument.pat),
        _ => None,
    });
    *parameter? = pat.clone();
    Some(())
}
