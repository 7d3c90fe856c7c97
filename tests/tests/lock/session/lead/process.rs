//! A leader whose process is stopped, and continues after another one has led.

use std::process::{Child, Command, Stdio};
use std::time::Duration;

use advisory_core::{Error, Term};
use advisory_tests::{Database, LockRow, scalar};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use sqlx::{Executor as _, PgPool};

use super::{ends, lock};

const TABLE: &str = "CREATE TABLE written (at serial PRIMARY KEY, process int, is_fenced_off bool); \
     CREATE TABLE fence (number bigint NOT NULL); INSERT INTO fence VALUES (0)";

/// A write, which is fenced off if a newer term has written.
const WRITE: &str = "WITH fenced AS (UPDATE fence SET number = $1 WHERE number <= $1 RETURNING 1) \
     INSERT INTO written (process, is_fenced_off) SELECT $2, NOT EXISTS (SELECT FROM fenced)";

/// A child process that leads, and writes with its fencing token all the time.
#[tokio::test]
#[ignore = "runs as the child of another test"]
async fn leads_and_writes() {
    let Ok(url) = std::env::var("ADVISORY_TEST_CHILD") else {
        return;
    };
    let pool = PgPool::connect(&url).await.unwrap();
    let led = lock();
    let led = led.lead(&pool, async |term: Term| -> Result<(), Error> {
        loop {
            // One statement: a stopped process keeps no row locked.
            let write = sqlx::query(WRITE).bind(term.number());
            let write = write.bind(std::process::id().cast_signed());
            write.execute(&pool).await?;
        }
    });
    led.await.unwrap();
}

struct Instance(Child);

impl Instance {
    fn start(database: &Database) -> Self {
        let mut command = Command::new(std::env::current_exe().unwrap());
        let name = "session::lead::process::leads_and_writes";
        command.args(["--ignored", "--exact", name]);
        command.env("ADVISORY_TEST_CHILD", database.url());
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).spawn();
        Self(child.unwrap())
    }

    fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.0.id().cast_signed()), signal).unwrap();
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The processes that have written, in the order of their writes, each run of one once.
async fn writers(pool: &PgPool) -> Vec<i32> {
    let processes = "SELECT process FROM written WHERE NOT is_fenced_off ORDER BY at";
    let processes = sqlx::query_scalar(processes);
    let mut processes: Vec<i32> = processes.fetch_all(pool).await.unwrap();
    processes.dedup();
    processes
}

async fn wait_until(pool: &PgPool, is_reached: impl Fn(&[i32]) -> bool) {
    ends(async {
        while !is_reached(&writers(pool).await) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_stopped_leader_that_continues_is_fenced_off_and_stops() {
    let (database, pool) = Database::with_pool(2).await;
    pool.execute(TABLE).await.unwrap();
    let instances = [Instance::start(&database), Instance::start(&database)];
    wait_until(&pool, |writers| writers.len() == 1).await;
    let rounds = 3;
    for round in 1..=rounds {
        let writers_before = writers(&pool).await;
        let leader = *writers_before.last().unwrap();
        let led = |instance: &&Instance| instance.0.id().cast_signed() == leader;
        let stopped = instances.iter().find(led).unwrap();
        stopped.signal(Signal::SIGSTOP);
        // Its session is lost while it cannot notice.
        let holds = |lock: &LockRow| lock.granted;
        database.signal("pg_terminate_backend", holds).await;
        wait_until(&pool, |writers| writers.len() > round).await;
        stopped.signal(Signal::SIGCONT);
        // It wakes up in the middle of its work, notices its loss, and stands again.
        database
            .wait_until_locks("one leader", |locks| {
                locks.iter().filter(|lock| lock.granted).count() == 1
            })
            .await;
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    let late: i64 = scalar(&pool, "SELECT count(*) FROM written WHERE is_fenced_off").await;
    println!("{late} writes were fenced off after {rounds} stops");
    // The write that was being made, and the few until its task sees that the session is lost.
    let most = i64::try_from(3 * rounds).unwrap();
    assert!(late <= most, "it has not stopped: {late}");
    assert_eq!(
        writers(&pool).await.len(),
        rounds + 1,
        "each took over once"
    );
}
