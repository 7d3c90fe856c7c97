//! A return type in the form that the body may repeat, where `impl Trait` is not allowed.

use syn::{GenericArgument, PathArguments, Type, TypeInfer};

/// Input: `Result<impl Stream, Error>`. Output: `Result<_, Error>`.
pub(crate) fn infer_impl_trait(ty: &Type) -> Type {
    let mut ty = ty.clone();
    replace(&mut ty);
    ty
}

fn replace(ty: &mut Type) {
    match ty {
        Type::ImplTrait(_) => {
            let underscore_token = <syn::Token![_]>::default();
            *ty = Type::Infer(TypeInfer { underscore_token });
        }
        Type::Array(array) => replace(&mut array.elem),
        Type::Group(group) => replace(&mut group.elem),
        Type::Paren(paren) => replace(&mut paren.elem),
        Type::Ptr(pointer) => replace(&mut pointer.elem),
        Type::Reference(reference) => replace(&mut reference.elem),
        Type::Slice(slice) => replace(&mut slice.elem),
        Type::Tuple(tuple) => tuple.elems.iter_mut().for_each(replace),
        Type::Path(path) => {
            let segments = path.path.segments.iter_mut();
            segments.for_each(|segment| replace_in(&mut segment.arguments));
        }
        _ => {}
    }
}

fn replace_in(arguments: &mut PathArguments) {
    let PathArguments::AngleBracketed(arguments) = arguments else {
        return;
    };
    for argument in &mut arguments.args {
        if let GenericArgument::Type(ty) = argument {
            replace(ty);
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
            let [ty, expected] = [written, inferred].map(|ty| syn::parse_str(ty).unwrap());
            let ty = infer_impl_trait(&ty).to_token_stream().to_string();
            assert_eq!(ty, expected.to_token_stream().to_string());
        }
    }
}
