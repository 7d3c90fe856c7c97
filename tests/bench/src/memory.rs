//! The memory and the processor time of processes, as Linux reports them.

use nix::sys::resource::{Usage, UsageWho, getrusage};
use nix::sys::time::TimeValLike as _;

/// Private memory in bytes, and processor time in nanoseconds.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Used {
    pub(crate) memory: f64,
    pub(crate) processor: f64,
}

/// The sum over all processes; zero if the system does not report it.
pub(crate) fn of_processes(pids: &[i32]) -> Used {
    pids.iter().fold(Used::default(), |sum, pid| Used {
        memory: sum.memory + memory(*pid),
        processor: sum.processor + processor(*pid),
    })
}

fn memory(pid: i32) -> f64 {
    let text = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
    own_kilobytes(&text) * 1024.0
}

fn own_kilobytes(text: &str) -> f64 {
    let own = |line: &str| {
        let rest = line.strip_prefix("Private_")?;
        rest.split_whitespace().nth(1)?.parse::<f64>().ok()
    };
    text.lines().filter_map(own).sum()
}

/// The count of the scheduler, which is more precise than the count of ticks.
fn processor(pid: i32) -> f64 {
    let text = std::fs::read_to_string(format!("/proc/{pid}/schedstat")).unwrap_or_default();
    let first = text.split_whitespace().next();
    first.and_then(|time| time.parse().ok()).unwrap_or_default()
}

/// The processor time so far of this process or of its children that have ended, in microseconds.
pub(crate) fn processor_of(who: UsageWho) -> f64 {
    let usage: Usage = getrusage(who).expect("BUG: the system counts it");
    let total = usage.user_time() + usage.system_time();
    #[expect(clippy::cast_precision_loss, reason = "hours at most")]
    let total = total.num_microseconds() as f64;
    total
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn private_memory_is_summed_up() {
        let text = "Rss: 9000 kB\nPrivate_Clean:  40 kB\nPrivate_Dirty:   1500 kB\nPrivate_Hugetlb: 0 kB\n";
        assert!((own_kilobytes(text) - 1540.0).abs() < 1e-9);
        assert!(own_kilobytes("").abs() < 1e-9);
    }
}
