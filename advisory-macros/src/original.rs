//! The `async fn` that an attribute above `#[advisory]` has turned into another function.

use proc_macro2::{Delimiter, Group, TokenStream, TokenTree};
use quote::{ToTokens as _, quote};
use syn::parse::{ParseStream, Parser as _};
use syn::{
    Block, Expr, FnArg, GenericArgument, Local, Pat, Path, PathArguments, ReturnType, Signature,
    Stmt, Token, Type, TypeParamBound,
};

use crate::function::delimited;
use crate::parameter::argument_of;

/// Puts another body where the original one now is.
pub(crate) type Around = Box<dyn Fn(TokenStream) -> TokenStream>;

/// Input: `fn f() -> R { let body = async { … }; … }`, as `#[tokio::test]` writes it.
pub(crate) fn of_tokio_test(body: &Group) -> Option<(Group, Around)> {
    split(body.stream())
}

/// Input: `fn f() -> Pin<Box<dyn Future<Output = R>>> { Box::pin(async move { … }) }`, as
/// `#[async_trait]` writes it.
pub(crate) fn of_async_trait(sig: &mut Signature, body: &Group) -> Option<(Group, Around)> {
    let call = |input: ParseStream<'_>| {
        let path = input.call(Path::parse_mod_style)?;
        Ok((path, input.parse::<Group>()?))
    };
    let (path, call) = call.parse2(body.stream()).ok()?;
    let (block, around) = split(call.stream())?;
    let output = future_output(sig)?.clone();
    sig.output = ReturnType::Type(Token![->](call.span()), Box::new(output));
    let (patterns, body) = restore_patterns(block, sig);
    let around = move |inner| {
        let block = around(quote!(#patterns #inner));
        let call = delimited(Delimiter::Parenthesis, block, call.span());
        quote!(#path #call)
    };
    Some((body, Box::new(around)))
}

/// Splits a block off the tokens around it, which end in `async` or `async move` before the block.
fn split(tokens: TokenStream) -> Option<(Group, Around)> {
    let mut before: Vec<_> = tokens.into_iter().collect();
    let at = before
        .iter()
        .position(|tree| matches!(tree, TokenTree::Group(_)))?;
    let after = before.split_off(at + 1);
    let Some(TokenTree::Group(block)) = before.pop() else {
        return None;
    };
    let mut words = before.iter().rev().map(ToString::to_string);
    let is_async = words.find(|word| word != "move")? == "async";
    let span = block.span();
    let around = move |inner| {
        let block = delimited(Delimiter::Brace, inner, span);
        quote!(#(#before)* #block #(#after)*)
    };
    is_async.then(|| (block, Box::new(around) as Around))
}

/// Returns `R` of `Pin<Box<dyn Future<Output = R> + …>>`.
pub(crate) fn future_output(sig: &Signature) -> Option<&Type> {
    if let ReturnType::Type(_, output) = &sig.output
        && let Type::TraitObject(future) = argument_of(argument_of(output, "Pin")?, "Box")?
        && let TypeParamBound::Trait(future) = future.bounds.first()?
        && let PathArguments::AngleBracketed(arguments) = &future.path.segments.last()?.arguments
        && let GenericArgument::AssocType(output) = arguments.args.first()?
    {
        return Some(&output.ty);
    }
    None
}

/// Moves the statements that take parameters apart out of the body, and their patterns into the
/// signature, so that the key may use what the patterns bind.
fn restore_patterns(body: Group, sig: &mut Signature) -> (TokenStream, Group) {
    let statements = Block::parse_within.parse2(body.stream());
    let (patterns, rest): (Vec<_>, Vec<_>) = statements
        .unwrap_or_default()
        .into_iter()
        .partition(|statement| restore_pattern(statement, sig));
    if patterns.is_empty() {
        return (TokenStream::new(), body);
    }
    let body = delimited(Delimiter::Brace, quote!(#(#rest)*), body.span());
    (quote!(#(#patterns)*), body)
}

/// Input: `let (a, b) = { let __arg1 = __arg1; __arg1 };`, where `__arg1` is a parameter.
fn restore_pattern(statement: &Stmt, sig: &mut Signature) -> bool {
    if let Stmt::Local(Local {
        pat,
        init: Some(init),
        ..
    }) = statement
        && let Expr::Block(block) = &*init.expr
        && let Some(Stmt::Expr(Expr::Path(name), None)) = block.block.stmts.last()
        && let name = name.to_token_stream().to_string()
        && name.starts_with("__arg")
    {
        let mut parameters = sig.inputs.iter_mut().filter_map(|argument| match argument {
            FnArg::Typed(argument) => Some(&mut *argument.pat),
            FnArg::Receiver(_) => None,
        });
        let parameter = parameters.find(|p| matches!(p, Pat::Ident(p) if p.ident == name));
        return parameter
            .map(|parameter| *parameter = pat.clone())
            .is_some();
    }
    false
}
