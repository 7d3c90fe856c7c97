//! The table: one entry makes a scheme, its documentation, and what lists and commands say about
//! it.

#[cfg(feature = "interop")]
macro_rules! space {
    (BigInt) => {
        "one `bigint`"
    };
    (IntPair) => {
        "two `integer`s"
    };
    (Either) => {
        "one `bigint` or two `integer`s: the name decides"
    };
}
#[cfg(feature = "interop")]
pub(super) use space;

/// Each entry becomes a scheme; all of a file become its `SYSTEMS`.
///
/// Without the feature `interop` the name alone is there, so that the compiler can say which
/// feature is missing.
macro_rules! systems {
    ($(
        $(#[doc = $doc:expr])+
        $scheme:ident {
            label: $label:literal,
            ecosystem: $ecosystem:literal,
            space: $space:ident,
            bits: $bits:literal,
            algorithm: $algorithm:literal,
            source: $source:literal,
            caveat: $caveat:literal,
            foo: $variant:ident($($number:expr),+),
            key: $key:expr,
            accepts: $accepts:expr,
        }
    )+) => {
        $(
            #[cfg(feature = "interop")]
            $(#[doc = $doc])+
            ///
            #[doc = concat!("- Key space: ", $crate::scheme::entry::space!($space), ".")]
            #[doc = concat!("- Algorithm: ", $algorithm, "; ", $bits, " bits.")]
            #[doc = concat!("- Source: ", $source, ".")]
            #[doc = systems!(@caveat $caveat)]
            ///
            /// ```
            #[doc = concat!("use advisory_core::{Key, KeyScheme, scheme::", stringify!($scheme), "};")]
            ///
            #[doc = concat!(
                "assert_eq!(", stringify!($scheme), ".key(\"foo\"), Key::",
                stringify!($variant), "(", stringify!($($number),+), "));",
            )]
            /// ```
            #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
            pub struct $scheme;

            #[cfg(not(feature = "interop"))]
            #[doc(hidden)]
            #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
            pub struct $scheme;

            #[cfg(feature = "interop")]
            impl crate::scheme::KeyScheme for $scheme {
                fn key(&self, name: &str) -> crate::key::Key {
                    const DERIVE: fn(&str) -> crate::key::Key = $key;
                    DERIVE(name)
                }
            }
        )+

        #[cfg(feature = "interop")]
        pub(super) static SYSTEMS: &[super::System] = &[$(super::System {
            scheme: stringify!($scheme),
            label: $label,
            ecosystem: $ecosystem,
            space: super::Space::$space,
            bits: $bits,
            algorithm: $algorithm,
            source: $source,
            caveat: $caveat,
            #[cfg(test)]
            foo: crate::key::Key::$variant($($number),+),
            derive: $key,
            accepts: $accepts,
        }),+];
    };
    (@caveat "") => { "" };
    (@caveat $caveat:literal) => { concat!("- Odd: ", $caveat, ".") };
}
pub(super) use systems;
