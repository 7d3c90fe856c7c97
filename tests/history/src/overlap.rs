//! How long two sections ran at once.

use std::collections::BTreeMap;

use crate::call::History;
use crate::event::Mode;

/// The longest time in nanoseconds for which two exclusive sections of one of these keys ran at
/// once: the moment between a loss and its notice. Sections whose process was killed do not count,
/// because nobody knows when they ended.
pub fn longest_overlap(history: &History, is_chosen: impl Fn(i64) -> bool) -> u64 {
    let mut sections = BTreeMap::<i64, Vec<(u64, u64)>>::new();
    for call in &history.calls {
        let is_exclusive = call.mode == Mode::Exclusive && call.permits == 1;
        if let (Some(granted), Some(released), true) = (call.granted, call.released, is_exclusive) {
            for key in call.keys.iter().filter(|key| is_chosen(**key)) {
                sections.entry(*key).or_default().push((granted, released));
            }
        }
    }
    let longest = sections.into_values().map(|mut sections| {
        sections.sort_unstable();
        let (mut latest_end, mut longest) = (0, 0);
        for (granted, released) in sections {
            longest = longest.max(released.min(latest_end).saturating_sub(granted));
            latest_end = released.max(latest_end);
        }
        longest
    });
    longest.max().unwrap_or_default()
}
