//! A return type as it may stand in the body, where `impl Trait` may not.

use syn::{AngleBracketedGenericArguments, GenericArgument, PathArguments, Type, TypeInfer};

/// Input: `Result<impl Stream, Error>`. Output: `Result<_, Error>`.
pub(crate) fn erase_impl_trait(ty: &Type) -> Type {
    let mut ty = ty.clone();
    erase(&mut ty);
    ty
}

fn erase(ty: &mut Type) {
    match ty {
        Type::ImplTrait(_) => {
            let underscore_token = <syn::Token![_]>::default();
            *ty = Type::Infer(TypeInfer { underscore_token });
        }
        Type::Array(array) => erase(&mut array.elem),
        Type::Group(group) => erase(&mut group.elem),
        Type::Paren(paren) => erase(&mut paren.elem),
        Type::Ptr(pointer) => erase(&mut pointer.elem),
        Type::Reference(reference) => erase(&mut reference.elem),
        Type::Slice(slice) => erase(&mut slice.elem),
        Type::Tuple(tuple) => tuple.elems.iter_mut().for_each(erase),
        Type::Path(path) => path
            .path
            .segments
            .iter_mut()
            .for_each(|segment| erase_arguments(&mut segment.arguments)),
        _ => {}
    }
}

fn erase_arguments(arguments: &mut PathArguments) {
    let PathArguments::AngleBracketed(AngleBracketedGenericArguments { args, .. }) = arguments
    else {
        return;
    };
    for argument in args {
        if let GenericArgument::Type(ty) = argument {
            erase(ty);
        }
    }
}

#[cfg(test)]
mod tests {
    use quote::ToTokens as _;

    use super::*;

    #[test]
    fn impl_trait_is_left_to_inference() {
        for (written, erased) in [
            ("Result<(), E>", "Result<(), E>"),
            ("Result<impl Fn(u8) -> u8 + 'a, E>", "Result<_, E>"),
            (
                "io::Result<(Vec<impl A>, &'a [impl B; 2])>",
                "io::Result<(Vec<_>, &'a [_; 2])>",
            ),
        ] {
            let ty = erase_impl_trait(&syn::parse_str(written).unwrap());
            let expected = syn::parse_str::<Type>(erased).unwrap();
            assert_eq!(
                ty.to_token_stream().to_string(),
                expected.to_token_stream().to_string()
            );
        }
    }
}
