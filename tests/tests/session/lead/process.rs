//! A leader whose process is stopped, and continues after another one has led.

use std::process::{Child, Command, Stdio};
use std::time::Duration;

use advisory_core::{Error, Term};
use advisory_tests::Database;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use sqlx::{Executor as _, PgPool};

use super::{ends, lock};

const TABLE: &str = "CREATE TABLE written (at serial PRIMARY KEY, fence bigint, process int); \
     CREATE TABLE fence (number bigint NOT NULL); INSERT INTO fence VALUES (0)";

/// Writes if no newer term has written.
const WRITE: &str = "WITH fenced AS (UPDATE fence SET number = $1 WHERE number <= $1 RETURNING number) \
     INSERT INTO written (fence, process) SELECT number, $2 FROM fenced";

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
        let name = "lead::process::leads_and_writes";
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
    let processes = sqlx::query_scalar("SELECT process FROM written ORDER BY at");
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
async fn a_stopped_leader_that_continues_never_writes_between_the_writes_of_the_next_one() {
    let (database, pool) = Database::with_pool(2).await;
    pool.execute(TABLE).await.unwrap();
    let instances = [Instance::start(&database), Instance::start(&database)];
    wait_until(&pool, |writers| writers.len() == 1).await;
    for round in 1..=3 {
        let writers_before = writers(&pool).await;
        let leader = *writers_before.last().unwrap();
        let led = |instance: &&Instance| instance.0.id().cast_signed() == leader;
        let stopped = instances.iter().find(led).unwrap();
        stopped.signal(Signal::SIGSTOP);
        // Its session is lost while it cannot notice.
        let lock = database.advisory_locks().await;
        let holder = lock.iter().find(|lock| lock.granted);
        if let Some(holder) = holder {
            let terminate = sqlx::query("SELECT pg_terminate_backend($1)").bind(holder.pid);
            terminate.execute(&pool).await.unwrap();
        }
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
    let fences = sqlx::query_scalar("SELECT fence FROM written ORDER BY at");
    let fences: Vec<i64> = fences.fetch_all(&pool).await.unwrap();
    assert!(
        fences.is_sorted(),
        "an older term has written after a newer one"
    );
    assert_eq!(writers(&pool).await.len(), 4, "each took over once");
}
