//! The keys of a lock that several may hold at once.

use super::Key;
use crate::scheme::{KeyScheme as _, Sha1};

/// The most slots that a lock has: a try that finds none asks for each of them.
pub(crate) const MOST_SLOTS: u32 = 1_000;

impl Key {
    /// The key of a slot of a lock with [`permits`](crate::AdvisoryLock::permits), from 1 on;
    /// number 0 is its turnstile, the lock for which those queue who find no free slot.
    ///
    /// Slot 1 is the key itself. The keys are frozen, so that code in any language can take the
    /// same permits: slot `n` is `key + (n - 1) · step`, modulo 2^64, where `step` is the
    /// [`Sha1`](crate::scheme::Sha1) key of `advisory permits of KEY` with its lowest bit set, and
    /// `KEY` is written as this type writes it. An odd step returns to the key only after 2^64
    /// slots, so no two slots of a lock share a key. Of a pair, the first number is kept, and the
    /// second is computed in the same way modulo 2^32, with the lower 32 bits of the step.
    ///
    /// ```
    /// use advisory_core::Key;
    ///
    /// let export = Key::from("export");
    /// assert_eq!(export.slot(1), export);
    /// assert_eq!(export.slot(2), Key::BigInt(-5922650882546634902));
    /// assert_eq!(export.slot(0), Key::BigInt(-63570742129626312));
    /// assert_eq!(Key::IntPair(7, 42).slot(2), Key::IntPair(7, -559918489));
    /// ```
    #[must_use]
    pub fn slot(self, number: u32) -> Self {
        self.slot_at(self.step(), number)
    }

    /// The first slots.
    pub(crate) fn slots(self, permits: u32) -> Vec<Self> {
        let step = self.step();
        (1..=permits)
            .map(|number| self.slot_at(step, number))
            .collect()
    }

    fn slot_at(self, step: i64, number: u32) -> Self {
        let distance = step.wrapping_mul(i64::from(number) - 1);
        match self {
            Self::BigInt(key) => Self::BigInt(key.wrapping_add(distance)),
            Self::IntPair(first, second) => {
                let slot = i64::from(second).wrapping_add(distance);
                Self::IntPair(first, lower_half(slot))
            }
        }
    }

    /// Which slot of this key another key is: the reverse of [`slot`](Self::slot). `None` if it is
    /// none of the first 1,000, which is as many as a lock has, nor the turnstile.
    ///
    /// ```
    /// use advisory_core::Key;
    ///
    /// let export = Key::from("export");
    /// assert_eq!(export.slot_number(export.slot(3)), Some(3));
    /// assert_eq!(export.slot_number(Key::from("import")), None);
    /// ```
    pub fn slot_number(self, slot: Self) -> Option<u32> {
        self.slot_finder()(slot)
    }

    /// [`slot_number`](Self::slot_number) for many slots: it hashes the key only once.
    #[doc(hidden)]
    pub fn slot_finder(self) -> impl Fn(Self) -> Option<u32> {
        let inverse = inverse(self.step());
        move |slot| {
            let steps = match (self, slot) {
                (Self::BigInt(key), Self::BigInt(slot)) => {
                    slot.wrapping_sub(key).wrapping_mul(inverse)
                }
                (Self::IntPair(first, key), Self::IntPair(same, slot)) if first == same => {
                    let distance = i64::from(slot).wrapping_sub(i64::from(key));
                    i64::from(lower_half(distance.wrapping_mul(inverse)))
                }
                _ => return None,
            };
            let number = u32::try_from(steps.checked_add(1)?).ok()?;
            (number <= MOST_SLOTS).then_some(number)
        }
    }

    /// The distance of two slots: an odd number.
    fn step(self) -> i64 {
        match Sha1.key(&format!("advisory permits of {self}")) {
            Self::BigInt(step) => step | 1,
            Self::IntPair(..) => unreachable!("BUG: the scheme makes numbers of 64 bits"),
        }
    }
}

/// The lower 32 bits.
fn lower_half(number: i64) -> i32 {
    let bytes = number.to_le_bytes();
    i32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]])
}

/// The number whose product with this odd one is 1, modulo 2^64, and so modulo 2^32.
fn inverse(odd: i64) -> i64 {
    // Newton's method: an odd number is its own inverse modulo 8, and each round doubles the bits.
    (0..5).fold(odd, |inverse, _| {
        inverse.wrapping_mul(2_i64.wrapping_sub(odd.wrapping_mul(inverse)))
    })
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::*;

    fn any_key() -> impl Strategy<Value = Key> {
        prop_oneof![
            any::<i64>().prop_map(Key::BigInt),
            any::<(i32, i32)>().prop_map(|(a, b)| Key::IntPair(a, b)),
        ]
    }

    /// Computed by the Python code in `docs/INTEROP.md`.
    #[test]
    fn slots_are_frozen() {
        let vectors = [
            (Key::BigInt(42), 0, Key::BigInt(-5_481_530_589_303_508_917)),
            (Key::BigInt(42), 2, Key::BigInt(5_481_530_589_303_509_001)),
            (Key::BigInt(42), 3, Key::BigInt(-7_483_682_895_102_533_656)),
            (
                Key::BigInt(42),
                1000,
                Key::BigInt(-2_633_931_177_531_379_869),
            ),
            (Key::BigInt(-1), 0, Key::BigInt(1_988_649_323_566_092_874)),
            (Key::BigInt(-1), 2, Key::BigInt(-1_988_649_323_566_092_876)),
            (Key::BigInt(-1), 3, Key::BigInt(-3_977_298_647_132_185_751)),
            (
                Key::BigInt(-1),
                1000,
                Key::BigInt(5_587_685_718_104_792_402),
            ),
            (Key::BigInt(0), 0, Key::BigInt(-5_949_448_756_412_630_081)),
            (Key::BigInt(0), 2, Key::BigInt(5_949_448_756_412_630_081)),
            (Key::BigInt(0), 3, Key::BigInt(-6_547_846_560_884_291_454)),
            (Key::BigInt(0), 1000, Key::BigInt(3_647_715_921_741_830_567)),
            (
                Key::BigInt(i64::MAX),
                0,
                Key::BigInt(-6_049_587_438_537_164_968),
            ),
            (
                Key::BigInt(i64::MAX),
                2,
                Key::BigInt(6_049_587_438_537_164_966),
            ),
            (
                Key::BigInt(i64::MAX),
                3,
                Key::BigInt(2_875_802_840_219_554_125),
            ),
            (
                Key::BigInt(i64::MAX),
                1000,
                Key::BigInt(-6_994_205_078_105_128_016),
            ),
            (Key::IntPair(7, 42), 0, Key::IntPair(7, 559_918_573)),
            (Key::IntPair(7, 42), 2, Key::IntPair(7, -559_918_489)),
            (Key::IntPair(7, 42), 3, Key::IntPair(7, -1_119_837_020)),
            (Key::IntPair(7, 42), 1000, Key::IntPair(7, -1_012_863_947)),
            (
                Key::IntPair(-7, i32::MIN),
                0,
                Key::IntPair(-7, -935_210_279),
            ),
            (Key::IntPair(-7, i32::MIN), 2, Key::IntPair(-7, 935_210_279)),
            (
                Key::IntPair(-7, i32::MIN),
                3,
                Key::IntPair(-7, -277_063_090),
            ),
            (
                Key::IntPair(-7, i32::MIN),
                1000,
                Key::IntPair(-7, -2_027_801_807),
            ),
        ];
        for (key, number, slot) in vectors {
            assert_eq!(key.slot(number), slot, "slot {number} of {key}");
        }
    }

    proptest! {
        #[test]
        fn slots_differ_and_are_recognised(key in any_key()) {
            prop_assert_eq!(key.slot(1), key);
            let slots: HashSet<_> = (0..=MOST_SLOTS).map(|number| key.slot(number)).collect();
            prop_assert_eq!(slots.len(), MOST_SLOTS as usize + 1);
            for number in [0, 1, 2, 3, 10, 999, MOST_SLOTS] {
                prop_assert_eq!(key.slot_number(key.slot(number)), Some(number));
            }
            prop_assert_eq!(key.slot_number(key.slot(MOST_SLOTS + 1)), None);
        }

        #[test]
        fn other_keys_are_no_slots(key in any_key(), other in any_key()) {
            prop_assert!(key == other || key.slot_number(other).is_none());
        }

        #[test]
        fn a_pair_keeps_its_first_number(first: i32, second: i32, number in 0..=MOST_SLOTS) {
            let slot = Key::IntPair(first, second).slot(number);
            prop_assert!(matches!(slot, Key::IntPair(kept, _) if kept == first));
        }
    }
}
