//! A return type in the form that the body may repeat, where `impl Trait` is not allowed.

use syn::visit_mut::{VisitMut, visit_type_mut};
use syn::{Type, parse_quote};

/// Input: `Result<impl Stream, Error>`. Output: `Result<_, Error>`.
pub(crate) fn infer_impl_trait(ty: &Type) -> Type {
    let mut ty = ty.clone();
    InferImplTrait.visit_type_mut(&mut ty);
    ty
}

struct InferImplTrait;

impl VisitMut for InferImplTrait {
    fn visit_type_mut(&mut self, ty: &mut Type) {
        match ty {
            Type::ImplTrait(_) => *ty = parse_quote!(_),
            _ => visit_type_mut(self, ty),
        }
    }
}

#[cfg(test)]
mod tests {
    use quote::ToTokens as _;

    use super::*;

    #[test]
    fn impl_trait_is_inferred() {
        for (written, inferred) in [
            ("Result<(), E>", "Result<(), E>"),
            ("Result<impl Fn(u8) -> u8 + 'a, E>", "Result<_, E>"),
            (
                "A<(Vec<impl B>, &'a [impl C; 2])>",
                "A<(Vec<_>, &'a [_; 2])>",
            ),
        ] {
            let [ty, expected]: [Type; 2] =
                [written, inferred].map(|ty| syn::parse_str(ty).unwrap());
            let ty = infer_impl_trait(&ty).to_token_stream().to_string();
            assert_eq!(ty, expected.to_token_stream().to_string());
        }
    }
}
