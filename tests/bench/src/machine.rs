//! The machine of the measurement.

use advisory_tests::Server;

/// The processor, its cores and the server, on which absolute times depend.
pub(crate) fn describe(server: &Server) -> String {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    format!(
        "{}, {cores} cores, {}, PostgreSQL {} on the same machine, over a unix socket",
        processor(),
        std::env::consts::OS,
        server.version()
    )
}

fn processor() -> String {
    let about = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = about.lines().find_map(|line| {
        let (what, model) = line.split_once(':')?;
        (what.trim() == "model name").then(|| model.trim().to_owned())
    });
    model.unwrap_or_else(|| format!("a processor of the kind {}", std::env::consts::ARCH))
}
