//! Permits that two processes share.

use std::process::{Child, Command, Stdio};
use std::time::Duration;

use advisory_tests::{Database, another_pool};
use advisory_verbs::Verb;
use sqlx::{Executor as _, PgPool};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::lock;

const PERMITS: u32 = 3;
const PROCESSES: usize = 2;
const TASKS_OF_A_PROCESS: usize = 40;
const HANG_TIMEOUT: Duration = Duration::from_mins(2);

const TABLE: &str = "CREATE TABLE inside (now int NOT NULL, most int NOT NULL, entered int NOT NULL); \
     INSERT INTO inside VALUES (0, 0, 0)";
const ENTER: &str =
    "UPDATE inside SET now = now + 1, most = greatest(most, now + 1), entered = entered + 1";
const LEAVE: &str = "UPDATE inside SET now = now - 1";

/// The tasks of one process. Nobody leaves before as many are inside as there are permits, until
/// there is no task left to enter.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "runs as the child of another test"]
async fn forty_tasks_enter_and_leave() {
    let Ok(url) = std::env::var("ADVISORY_TEST_CHILD") else {
        return;
    };
    let pool = PgPool::connect(&url).await.unwrap();
    let beside = another_pool(&pool);
    let verbs = Verb::all(Verb::is_of_lock).cycle();
    let mut tasks = JoinSet::new();
    for verb in verbs.take(TASKS_OF_A_PROCESS) {
        let beside = beside.clone();
        let lock = lock(PERMITS).timeout(HANG_TIMEOUT);
        tasks.spawn(verb.hold(&lock, &pool, async move {
            beside.execute(ENTER).await.unwrap();
            while !may_leave(&beside).await {
                sleep(Duration::from_millis(1)).await;
            }
            beside.execute(LEAVE).await.unwrap();
        }));
    }
    for granted in tasks.join_all().await {
        assert!(granted.unwrap());
    }
}

async fn may_leave(pool: &PgPool) -> bool {
    let tasks = i32::try_from(PROCESSES * TASKS_OF_A_PROCESS).unwrap();
    let may_leave = sqlx::query_scalar("SELECT now >= $1 OR entered = $2 FROM inside");
    let may_leave = may_leave.bind(PERMITS.cast_signed()).bind(tasks);
    may_leave.fetch_one(pool).await.unwrap()
}

/// Dropped, it is killed.
struct Process(Child);

impl Process {
    fn start(database: &Database) -> Self {
        let mut command = Command::new(std::env::current_exe().unwrap());
        let name = "permits::process::forty_tasks_enter_and_leave";
        command.args(["--ignored", "--exact", name]);
        command.env("ADVISORY_TEST_CHILD", database.url());
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).spawn();
        Self(child.unwrap())
    }

    async fn ends_well(&mut self) -> bool {
        loop {
            if let Some(status) = self.0.try_wait().unwrap() {
                return status.success();
            }
            sleep(Duration::from_millis(10)).await;
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test]
async fn two_processes_use_every_permit_while_there_is_work_and_no_more() {
    let (database, pool) = Database::with_pool(2).await;
    pool.execute(TABLE).await.unwrap();
    let mut processes = [(); PROCESSES].map(|()| Process::start(&database));
    for process in &mut processes {
        let ended = timeout(HANG_TIMEOUT, process.ends_well()).await;
        assert!(ended.expect("no permit is lost"), "a process failed");
    }
    let most: (i32, i32) = sqlx::query_as("SELECT most, entered FROM inside")
        .fetch_one(&pool)
        .await
        .unwrap();
    assert_eq!(most, (3, 80));
    database.assert_nothing_leaked(&pool).await;
}
