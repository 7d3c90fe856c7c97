//! Lock names for the comparison.

/// Edge cases: the empty name, names of 9, 10, 16 and 17 characters, names that look like numbers,
/// and names that need quoting.
pub(crate) fn chosen() -> Vec<String> {
    [
        "",
        "foo",
        "payment:order-123",
        "nine char",
        "ten chars.",
        "seventeen chars17",
        "0123456789abcdef",
        "FFFFFFFFffffffff",
        "00000001,0000000a",
        "12345,67890",
        "42",
        "ключ",
        "漢字テスト",
        "𝄞 clef",
        "it's \"quoted\" \\ %s {} $1; --",
        " spaces \t and\nlines ",
    ]
    .into_iter()
    .map(str::to_owned)
    .chain([String::from("x").repeat(1000)])
    .collect()
}

/// An endless sequence of random names, the same in each run. Many of them could be numbers.
pub(crate) fn random() -> impl Iterator<Item = String> {
    const ALPHABETS: [&str; 5] = [
        "abcdefghijklmnopqrstuvwxyz0123456789:_-./ ",
        "0123456789abcdefABCDEF",
        "0123456789abcdef,+-_ ",
        "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~\t\n\u{7f}",
        "aäßéñłŽжШאبไ中文字かなカ한글𝄞𐍈\u{301}\u{200d}",
    ];
    let mut random = fastrand::Rng::with_seed(42);
    let alphabets = ALPHABETS.map(|alphabet| alphabet.chars().collect::<Vec<_>>());
    std::iter::repeat_with(move || {
        let alphabet = &alphabets[random.usize(..alphabets.len())];
        let length = match random.u8(..4) {
            0 => 16,
            1 => 17,
            _ => random.usize(..40),
        };
        let letter = || alphabet[random.usize(..alphabet.len())];
        let mut name: Vec<_> = std::iter::repeat_with(letter).take(length).collect();
        if length == 17 && random.bool() {
            name[8] = ',';
        }
        name.into_iter().collect()
    })
}
