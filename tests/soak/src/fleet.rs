//! The worker processes, from their start to the report.

use std::path::Path;
use std::process::{ExitCode, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use advisory_history::Recorder;
use advisory_tests::{Database, Proxy, Server};
use indicatif::{ProgressBar, ProgressStyle};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, ChildStdout, Command};
use tokio::task::{JoinHandle, block_in_place};

use crate::chaos::Chaos;
use crate::layout::Layout;
use crate::tally::{ATTEMPTS, CHANGES, Tally};
use crate::{Soak, check, schema};

/// The results of a run.
#[derive(Default)]
pub(crate) struct Log {
    pub(crate) attempts: Mutex<Tally>,
    /// The changes of the workloads that write beside their lock.
    pub(crate) changes: Mutex<Tally>,
    pub(crate) chaos: Mutex<Tally>,
    pub(crate) violations: Mutex<Vec<String>>,
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A process, which reaches the server through proxies of its own.
pub(crate) struct Member {
    /// For locks. Faults of the network are here.
    pub(crate) proxy: Proxy,
    /// For what is changed beside a lock, as if that were in another system.
    store: Proxy,
    /// The number of the process among all that were started.
    pub(crate) process: u32,
    child: Child,
    listener: JoinHandle<bool>,
}

impl Member {
    /// Leads new connections to another server.
    pub(crate) fn set_target(&self, database: &Database) {
        self.proxy.set_target(database);
        self.store.set_target(database);
    }

    /// Sends a signal to the process. An error means that the process has ended by itself, which
    /// is found out in the end.
    pub(crate) fn signal(&self, signal: Signal) {
        if let Some(pid) = self.child.id() {
            let _ = kill(Pid::from_raw(pid.cast_signed()), signal);
        }
    }
}

/// All processes.
pub(crate) struct Fleet {
    layout: Layout,
    database: String,
    pub(crate) members: Vec<Member>,
    next_process: u32,
    log: Arc<Log>,
}

/// A whole run.
pub(crate) async fn run(soak: Soak) -> ExitCode {
    let recorder = match soak.history.as_deref().map(new_history).transpose() {
        Ok(recorder) => recorder.unwrap_or_else(Recorder::off),
        Err(error) => {
            eprintln!("soak: cannot write the history: {error}");
            return ExitCode::FAILURE;
        }
    };
    // As in production, a commit is durable: a crash must not lose it.
    let settings = [
        ("synchronous_commit", "on"),
        ("deadlock_timeout", "200ms"),
        // The interval at which a standby tries to reach its primary. The default is five seconds.
        ("wal_retrieve_retry_interval", "100ms"),
    ];
    let server = match block_in_place(|| Server::start_with(&settings)) {
        Ok(server) => server,
        Err(error) => {
            eprintln!("soak: {error}");
            return ExitCode::FAILURE;
        }
    };
    let database = Database::on(&server).await;
    let layout = Layout {
        keys: soak.keys,
        started: advisory_history::now(),
    };
    if let Err(error) = prepare(&database, layout.count(soak.duration())).await {
        eprintln!("soak: cannot create tables: {error}");
        return ExitCode::FAILURE;
    }
    let log = Arc::<Log>::default();
    let mut fleet = Fleet::start(soak.processes, layout, &database, Arc::clone(&log));
    let mut chaos = Chaos::new(server, database, Arc::clone(&log), recorder);
    let started = Instant::now();
    run_chaos(&soak, layout, &mut chaos, &mut fleet, &log).await;
    fleet.end().await;
    check::report(&soak, layout, chaos.database(), &log, started.elapsed()).await
}

/// A file without a history, to which all processes write.
fn new_history(path: &Path) -> std::io::Result<Arc<Recorder>> {
    std::fs::File::create(path)?;
    Recorder::to(path)
}

async fn prepare(database: &Database, cells: i32) -> Result<(), sqlx::Error> {
    let mut conn = database.connection().await;
    sqlx::raw_sql(schema::CREATE).execute(&mut conn).await?;
    sqlx::query(schema::FILL)
        .bind(cells)
        .execute(&mut conn)
        .await?;
    Ok(())
}

/// Causes one disruption after the other until the time is over, then restores the network.
async fn run_chaos(soak: &Soak, layout: Layout, chaos: &mut Chaos, fleet: &mut Fleet, log: &Log) {
    let seconds = soak.duration().as_secs();
    let bar = ProgressBar::new(seconds);
    let style = "{elapsed} [{wide_bar}] {percent}% {msg}";
    bar.set_style(ProgressStyle::with_template(style).expect("BUG: a template"));
    let started = Instant::now();
    while started.elapsed() < soak.duration() {
        let pause = Duration::from_millis(fastrand::u64(100..500));
        tokio::time::sleep(pause.min(soak.duration().saturating_sub(started.elapsed()))).await;
        if !soak.without_faults && !layout.is_calm() {
            chaos.disrupt(fleet).await;
        }
        bar.set_position(started.elapsed().as_secs());
        let (held, violations) = (
            lock(&log.attempts).total("held"),
            lock(&log.violations).len(),
        );
        bar.set_message(format!("{held} held, {violations} violations"));
    }
    bar.finish();
    for member in &fleet.members {
        member.proxy.set_silent(false);
        member.proxy.set_delay(Duration::ZERO);
    }
}

impl Fleet {
    fn start(processes: u16, layout: Layout, database: &Database, log: Arc<Log>) -> Self {
        let mut fleet = Self {
            layout,
            next_process: 0,
            database: database.name().to_owned(),
            members: Vec::new(),
            log,
        };
        for _ in 0..processes {
            let proxies = [Proxy::start_tcp(database), Proxy::start_tcp(database)];
            let member = fleet.launch(proxies);
            fleet.members.push(member);
        }
        fleet
    }

    fn launch(&mut self, [proxy, store]: [Proxy; 2]) -> Member {
        let process = self.next_process;
        self.next_process += 1;
        let program = std::env::current_exe().expect("this program has a file");
        let mut child = Command::new(program)
            .arg("worker")
            .args(["--process", &process.to_string()])
            .args(["--started", &self.layout.started.to_string()])
            .args(["--port", &proxy.options().get_port().to_string()])
            .args(["--store-port", &store.options().get_port().to_string()])
            .args(["--database", &self.database])
            // The size of the test, and the file of the history.
            .args(std::env::args_os().skip(1))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("this program can be started");
        let output = child.stdout.take().expect("BUG: the output is piped");
        let listener = tokio::spawn(listen(output, Arc::clone(&self.log)));
        Member {
            proxy,
            store,
            process,
            child,
            listener,
        }
    }

    /// Kills a process with SIGKILL, in the middle of everything, and starts another one.
    pub(crate) async fn replace(&mut self, index: usize) {
        // An error means that the process has ended by itself.
        let _ = self.members[index].child.kill().await;
        let ended = self.members.swap_remove(index);
        let member = self.launch([ended.proxy, ended.store]);
        self.members.push(member);
    }

    /// Ends every process, and waits for it.
    async fn end(&mut self) {
        for member in &mut self.members {
            drop(member.child.stdin.take());
        }
        for member in &mut self.members {
            let has_ended = (&mut member.listener).await.unwrap_or(false);
            if !has_ended {
                lock(&self.log.violations)
                    .push("a process ended before the end of the test".into());
            }
            // The exit status does not matter, because the output has ended with `end`, or that is
            // a violation.
            let _ = member.child.wait().await;
        }
    }
}

/// Reads the output of a process. Returns false if the process did not end regularly.
async fn listen(output: ChildStdout, log: Arc<Log>) -> bool {
    let mut lines = BufReader::new(output).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        if line == "end" {
            return true;
        }
        if let Some(violation) = line.strip_prefix("violation\t") {
            lock(&log.violations).push(violation.to_owned());
        } else if lock(&log.attempts).read(ATTEMPTS, &line).is_none()
            && lock(&log.changes).read(CHANGES, &line).is_none()
        {
            lock(&log.violations).push(format!("unexpected output of a process: {line}"));
        }
    }
    false
}
