//! Changes to correct input, as they occur while somebody types.

use proc_macro2::{Group, TokenStream, TokenTree};
use proptest::prelude::*;
use proptest::sample::Index;
use quote::{ToTokens as _, quote};

use super::token::tree;

/// Inserts tokens at a tree, and keeps, removes, repeats or unwraps the tree.
#[derive(Clone, Debug)]
pub(super) struct Mutation {
    /// The position of the tree in each group around it.
    path: Vec<Index>,
    inserted: TokenStream,
    copies: usize,
    is_unwrapped: bool,
}

pub(super) fn mutations() -> impl Strategy<Value = Vec<Mutation>> {
    let path = prop::collection::vec(any::<Index>(), 1..5);
    let inserted = prop_oneof![Just(TokenStream::new()), tree()];
    let mutation = (path, inserted, 0..3usize, any::<bool>());
    let mutation = mutation.prop_map(|(path, inserted, copies, is_unwrapped)| Mutation {
        path,
        inserted,
        copies,
        is_unwrapped,
    });
    prop::collection::vec(mutation, 0..4)
}

impl Mutation {
    fn apply(&self, path: &[Index], tokens: TokenStream) -> TokenStream {
        let mut trees: Vec<_> = tokens.into_iter().collect();
        let Some((index, path)) = path.split_first().filter(|_| !trees.is_empty()) else {
            return self.inserted.clone();
        };
        let at = index.index(trees.len());
        let (after, tree) = (trees.split_off(at + 1), trees.pop());
        let tree = match tree {
            Some(TokenTree::Group(group)) if !path.is_empty() => {
                let inner = self.apply(path, group.stream());
                Group::new(group.delimiter(), inner).to_token_stream()
            }
            Some(TokenTree::Group(group)) if self.is_unwrapped => self.change(&group.stream()),
            tree => self.change(&tree.to_token_stream()),
        };
        quote!(#(#trees)* #tree #(#after)*)
    }

    fn change(&self, tokens: &TokenStream) -> TokenStream {
        let (inserted, copies) = (&self.inserted, std::iter::repeat_n(tokens, self.copies));
        quote!(#inserted #(#copies)*)
    }
}

pub(super) fn mutate(tokens: &str, mutations: &[Mutation]) -> TokenStream {
    let tokens = tokens.parse().expect("BUG: the text consists of tokens");
    let apply = |tokens, mutation: &Mutation| mutation.apply(&mutation.path, tokens);
    mutations.iter().fold(tokens, apply)
}
