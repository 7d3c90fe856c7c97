//! What backends take of the machine, as Linux tells it.

/// Bytes that are a process's own, and nanoseconds of the processor.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Used {
    pub(crate) memory: f64,
    pub(crate) processor: f64,
}

/// Of all of them together; nothing where the system does not tell.
pub(crate) fn of_backends(pids: &[i32]) -> Used {
    pids.iter().fold(Used::default(), |sum, pid| Used {
        memory: sum.memory + memory(*pid),
        processor: sum.processor + processor(*pid),
    })
}

fn memory(pid: i32) -> f64 {
    let told = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
    own_kilobytes(&told) * 1024.0
}

fn own_kilobytes(told: &str) -> f64 {
    let own = |line: &str| {
        let rest = line.strip_prefix("Private_")?;
        rest.split_whitespace().nth(1)?.parse::<f64>().ok()
    };
    told.lines().filter_map(own).sum()
}

/// The scheduler's own count, which is finer than that of ticks.
fn processor(pid: i32) -> f64 {
    let told = std::fs::read_to_string(format!("/proc/{pid}/schedstat")).unwrap_or_default();
    let first = told.split_whitespace().next();
    first.and_then(|time| time.parse().ok()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_private_is_summed_up() {
        let told = "Rss: 9000 kB\nPrivate_Clean:  40 kB\nPrivate_Dirty:   1500 kB\nPrivate_Hugetlb: 0 kB\n";
        assert!((own_kilobytes(told) - 1540.0).abs() < 1e-9);
        assert!(own_kilobytes("").abs() < 1e-9);
    }
}
