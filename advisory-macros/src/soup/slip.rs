//! What goes wrong while somebody types.

use proc_macro2::{Group, TokenStream, TokenTree};
use proptest::prelude::*;
use proptest::sample::Index;

use super::token::tree;

/// A mistake that somebody makes while typing.
#[derive(Clone, Debug)]
pub(super) enum Slip {
    Left,
    Twice,
    Before(TokenTree),
    Instead(TokenTree),
    Unwrapped,
}

pub(super) fn slips() -> impl Strategy<Value = Vec<(Index, Slip)>> {
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

pub(super) fn slipped(tokens: TokenStream, slips: &[(Index, Slip)]) -> TokenStream {
    slips.iter().fold(tokens, |tokens, (index, slip)| {
        let place = index.index(count(tokens.clone()).max(1));
        slip.after(&mut Some(place), tokens)
    })
}
