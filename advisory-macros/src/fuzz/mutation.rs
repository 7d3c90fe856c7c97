//! Changes to correct input, as they occur while somebody types.

use proc_macro2::{Group, TokenStream, TokenTree};
use proptest::prelude::*;
use proptest::sample::Index;

use super::token::tree;

/// A change to one token tree.
#[derive(Clone, Debug)]
pub(super) enum Mutation {
    Remove,
    Duplicate,
    InsertBefore(TokenTree),
    Replace(TokenTree),
    /// Removes the delimiters of a group.
    Unwrap,
}

pub(super) fn mutations() -> impl Strategy<Value = Vec<(Index, Mutation)>> {
    let mutation = prop_oneof![
        Just(Mutation::Remove),
        Just(Mutation::Duplicate),
        tree().prop_map(Mutation::InsertBefore),
        tree().prop_map(Mutation::Replace),
        Just(Mutation::Unwrap),
    ];
    prop::collection::vec((any::<Index>(), mutation), 1..4)
}

impl Mutation {
    fn apply(&self, tree: TokenTree) -> TokenStream {
        match self {
            Self::Remove => TokenStream::new(),
            Self::Duplicate => [tree.clone(), tree].into_iter().collect(),
            Self::InsertBefore(other) => [other.clone(), tree].into_iter().collect(),
            Self::Replace(other) => other.clone().into(),
            Self::Unwrap => match tree {
                TokenTree::Group(group) => group.stream(),
                other => other.into(),
            },
        }
    }

    /// Applies the mutation to the tree after `skip` others, those in groups counted.
    ///
    /// `skip` becomes `None` once the mutation is applied.
    fn apply_at(&self, skip: &mut Option<usize>, tokens: TokenStream) -> TokenStream {
        let visit = |tree| match (*skip, tree) {
            (Some(0), tree) => {
                *skip = None;
                self.apply(tree)
            }
            (_, tree) => {
                *skip = skip.map(|skip| skip - 1);
                match tree {
                    TokenTree::Group(group) => {
                        let inner = self.apply_at(skip, group.stream());
                        TokenTree::from(Group::new(group.delimiter(), inner)).into()
                    }
                    other => other.into(),
                }
            }
        };
        tokens.into_iter().flat_map(visit).collect()
    }
}

fn count(tokens: TokenStream) -> usize {
    let inner = |tree| match tree {
        TokenTree::Group(group) => count(group.stream()),
        _ => 0,
    };
    tokens.into_iter().map(|tree| 1 + inner(tree)).sum()
}

pub(super) fn mutate(tokens: TokenStream, mutations: &[(Index, Mutation)]) -> TokenStream {
    mutations.iter().fold(tokens, |tokens, (index, mutation)| {
        let index = index.index(count(tokens.clone()).max(1));
        mutation.apply_at(&mut Some(index), tokens)
    })
}
