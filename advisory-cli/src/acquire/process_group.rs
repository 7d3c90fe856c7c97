//! Whether the processes of a group are alive.

use nix::errno::Errno;
use nix::sys::signal::killpg;
use nix::unistd::Pid;

/// Whether a process of the group is alive. A process that has ended and that its parent has not
/// reaped is not alive, but can still be signalled.
pub(super) fn is_alive(group: Pid) -> bool {
    killpg(group, None) != Err(Errno::ESRCH) && !has_only_zombies(group)
}

/// False if no process of the group is seen, as in another PID namespace than that of `/proc`.
#[cfg(target_os = "linux")]
fn has_only_zombies(group: Pid) -> bool {
    let processes = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let stats = processes.filter_map(|process| {
        let name = process.file_name();
        name.to_str()?.parse::<u32>().ok()?;
        std::fs::read_to_string(process.path().join("stat")).ok()
    });
    let mut is_alive = stats
        .filter_map(|stat| is_alive_in(group, &stat))
        .peekable();
    is_alive.peek().is_some() && !is_alive.any(|is_alive| is_alive)
}

/// Other systems do not show the states of processes as files.
#[cfg(not(target_os = "linux"))]
fn has_only_zombies(_group: Pid) -> bool {
    false
}

/// Whether the process of this `/proc/PID/stat` is alive; `None` if it belongs to another group.
#[cfg(target_os = "linux")]
fn is_alive_in(group: Pid, stat: &str) -> Option<bool> {
    // The name in parentheses can contain anything. The state is the first field behind it, and the
    // third of all.
    let (_, fields) = stat.rsplit_once(") ")?;
    let fields: Vec<_> = fields.split(' ').collect();
    let (state, its_group, threads) = (fields.first()?, fields.get(2)?, fields.get(17)?);
    if its_group.parse() != Ok(group.as_raw()) {
        return None;
    }
    // The first thread of a process can end before the others.
    Some(!matches!(*state, "Z" | "X") || threads.parse().is_ok_and(|threads: u32| threads > 1))
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_alive_unless_it_is_a_zombie() {
        let stat = |state: &str, group: u32, threads: u32| {
            let middle = "1 2 3 4 5 6 7 8 9 10 11 12 13 14";
            format!("7 (a) b) {state} 1 {group} {middle} {threads} 0\n")
        };
        let group = Pid::from_raw(42);
        for (state, threads, is_alive) in [
            ("S", 1, true),
            ("T", 1, true),
            ("Z", 1, false),
            ("X", 0, false),
            ("Z", 2, true),
        ] {
            let stat = stat(state, 42, threads);
            assert_eq!(is_alive_in(group, &stat), Some(is_alive), "{stat}");
        }
        assert_eq!(is_alive_in(group, &stat("S", 43, 1)), None);
        assert_eq!(is_alive_in(group, ""), None);
    }

    #[test]
    fn our_own_group_is_alive() {
        assert!(is_alive(nix::unistd::getpgrp()));
    }
}
