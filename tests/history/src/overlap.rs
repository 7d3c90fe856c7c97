//! How long a section goes on after it has lost its lock.

use std::collections::BTreeMap;

use crate::call::{Call, History};
use crate::event::Mode;

/// The longest time in nanoseconds for which one of these exclusive sections of a key went on after
/// another one was granted the lock: the moment between a loss and its notice. Sections whose
/// process was killed do not count, because nobody knows when they ended.
pub fn longest_overlap(history: &History, is_chosen: impl Fn(&Call, i64) -> bool) -> u64 {
    let mut sections = BTreeMap::<i64, Vec<(u64, u64)>>::new();
    for call in &history.calls {
        let is_exclusive = call.plan.mode == Mode::Exclusive && call.plan.permits == 1;
        if let (Some(granted), Some(released), true) = (call.granted, call.released, is_exclusive) {
            for key in call.plan.keys.iter().filter(|key| is_chosen(call, **key)) {
                sections.entry(*key).or_default().push((granted, released));
            }
        }
    }
    let longest = sections.into_values().map(|mut sections| {
        sections.sort_unstable();
        let (mut latest_end, mut longest) = (0_u64, 0);
        for (granted, released) in sections {
            longest = longest.max(latest_end.saturating_sub(granted));
            latest_end = released.max(latest_end);
        }
        longest
    });
    longest.max().unwrap_or_default()
}
