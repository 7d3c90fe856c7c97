//! Every misuse is one message at the token to change. The cases that compile are in `lints.rs`.

#[test]
fn misuse_is_explained() {
    trybuild::TestCases::new().compile_fail("tests/ui/fail/*.rs");
}
