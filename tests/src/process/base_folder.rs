//! Where temporary folders are created.

use std::path::{Path, PathBuf};
use std::{env, fs};

use nix::sys::statvfs::statvfs;

/// A folder of Linux whose files are in memory.
const MEMORY: &str = "/dev/shm";

/// How many bytes have to be free there. The longest run takes half of them.
const FREE_IN_MEMORY: u128 = 4 << 30;

/// The folder that `TMPDIR` names; otherwise [`MEMORY`] if enough is free, or `/tmp`.
///
/// The three hundred files of a new database take 10 ms in memory, and 180 ms on an ext4 file system
/// on which as many files were removed in the minutes before.
///
/// `/tmp` as well if the path of a socket in the folder would be longer than 107 bytes, the limit of
/// a unix socket.
pub(super) fn base_folder() -> PathBuf {
    const LONGEST: usize = 107 - "/advisory-XXXXXX/p999/.s.PGSQL.5432".len();
    let base = match env::var_os("TMPDIR") {
        Some(folder) => PathBuf::from(folder),
        None if free_in_memory() >= FREE_IN_MEMORY => PathBuf::from(MEMORY),
        None => env::temp_dir(),
    };
    if base.is_absolute() && base.as_os_str().len() <= LONGEST {
        base
    } else {
        PathBuf::from("/tmp")
    }
}

/// How many bytes more can be written to [`MEMORY`].
fn free_in_memory() -> u128 {
    let Ok(folder) = statvfs(Path::new(MEMORY)) else {
        return 0;
    };
    // The types of these differ between systems.
    let free = u128::from(folder.blocks_available()) * u128::from(folder.fragment_size());
    let memory = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let available = memory.lines().find_map(|line| {
        let kilobytes = line.strip_prefix("MemAvailable:")?.strip_suffix("kB")?;
        kilobytes.trim().parse::<u128>().ok()
    });
    free.min(available.unwrap_or(0) << 10)
}
