//! Running client and server on one core of the processor, which makes the figures independent of
//! the scheduler. This works on Linux only.

use advisory_tests::Database;
use nix::unistd::Pid;

use crate::Bench;
use crate::comparison::{Workload, measure};
use crate::endpoint::Endpoint;
use crate::report::{Part, Report, Table, Target};
use crate::round_trips::{count, counting_proxy};
use crate::sample::Sample;

/// Restores the cores of this process when it is dropped.
pub(crate) struct OnOneCore(affinity::Cores);

impl OnOneCore {
    /// Moves this process and the backends of the database to one core.
    pub(crate) async fn with(database: &Database) -> Result<Self, String> {
        let before = affinity::of_this_process()?;
        let backends = database.backends().await;
        let backends = backends.iter().map(|backend| Pid::from_raw(backend.pid));
        let moved = threads().into_iter().chain(backends);
        affinity::to_one_of(&before, moved)?;
        Ok(Self(before))
    }
}

impl Drop for OnOneCore {
    fn drop(&mut self) {
        affinity::back_to(&self.0, threads());
    }
}

/// Compares all workloads on all cores of the machine, and then on one core. `targets` are the
/// targets of either. Also returns the round trips of each workload.
pub(crate) async fn on_all_cores_and_one(
    bench: &Bench,
    database: &Database,
    name: &'static str,
    workloads: impl AsyncFn(&Endpoint) -> Vec<Workload>,
    targets: fn(&[Workload], &[Sample], &str) -> Vec<Target>,
) -> (Report, Vec<Option<f64>>) {
    let (proxy, counted) = counting_proxy(database).await;
    let round_trips = count(&proxy, &mut workloads(&counted).await).await;
    let workloads = &mut workloads(&Endpoint(database.options())).await;
    let all = measure(bench, name, workloads).await;
    let mut reached = targets(workloads, &all, "local");
    let (one, not_measured) = match OnOneCore::with(database).await {
        Ok(_on_one_core) => (measure(bench, name, workloads).await, None),
        Err(reason) => (Vec::new(), Some(reason)),
    };
    if !one.is_empty() {
        reached.extend(targets(workloads, &one, "local, one core"));
    }
    let table = Table::on_all_cores_and_one(workloads, [&all, &one], &round_trips);
    let mut part = Part::new(name, table);
    if let Some(reason) = not_measured {
        part = part.note(format!("Not measured on one core: {reason}."));
    }
    (part.with_targets(reached), round_trips)
}

fn threads() -> Vec<Pid> {
    let tasks = std::fs::read_dir("/proc/self/task");
    let ids = tasks.into_iter().flatten().flatten();
    ids.filter_map(|task| Some(Pid::from_raw(task.file_name().to_str()?.parse().ok()?)))
        .collect()
}

#[cfg(target_os = "linux")]
mod affinity {
    use nix::errno::Errno;
    use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
    use nix::unistd::Pid;

    pub(super) type Cores = CpuSet;

    pub(super) fn of_this_process() -> Result<Cores, String> {
        sched_getaffinity(Pid::from_raw(0)).map_err(|error| error.to_string())
    }

    pub(super) fn to_one_of(cores: &Cores, pids: impl Iterator<Item = Pid>) -> Result<(), String> {
        let last = (0..CpuSet::count()).rfind(|core| cores.is_set(*core).unwrap_or(false));
        let mut one = CpuSet::new();
        let mut moved = one.set(last.unwrap_or(0));
        for pid in pids {
            moved = moved.and_then(|()| match sched_setaffinity(pid, &one) {
                // The thread or process has ended meanwhile.
                Err(Errno::ESRCH) => Ok(()),
                moved => moved,
            });
        }
        moved.map_err(|error| error.to_string())
    }

    pub(super) fn back_to(cores: &Cores, pids: Vec<Pid>) {
        for pid in pids {
            // An error means that the thread has ended meanwhile.
            let _ = sched_setaffinity(pid, cores);
        }
    }
}

#[cfg(not(target_os = "linux"))]
mod affinity {
    use nix::unistd::Pid;

    pub(super) type Cores = ();

    pub(super) fn of_this_process() -> Result<Cores, String> {
        Err("the affinity of a process is available on Linux only".to_owned())
    }

    pub(super) fn to_one_of(_: &Cores, _: impl Iterator<Item = Pid>) -> Result<(), String> {
        Ok(())
    }

    pub(super) fn back_to(_: &Cores, _: Vec<Pid>) {}
}
