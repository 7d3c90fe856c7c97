//! Permits that two processes share.

use std::collections::BTreeMap;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use advisory_core::{AdvisoryLock, Error};
use advisory_tests::{Database, LockRow, another_pool, by_depth};
use advisory_verbs::Verb;
use sqlx::{Executor as _, PgPool};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::{NAME, held, lock, take};

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

const JOURNAL: &str =
    "CREATE TABLE journal (slot int8 NOT NULL, number int8 NOT NULL, PRIMARY KEY (slot, number))";
/// The slot of this session, and the last number of the slot.
const READ: &str = "SELECT l.objid::int8, \
     (SELECT coalesce(max(j.number), 0) FROM journal j WHERE j.slot = l.objid::int8) \
     FROM pg_locks l WHERE l.locktype = 'advisory' AND l.granted AND l.pid = pg_backend_pid() \
     AND l.objid::int8 = ANY($1)";
const WRITE: &str = "INSERT INTO journal VALUES ($1, $2)";

/// The tasks of a process that is killed. Each has exactly one slot when it is inside, and writes
/// the next number of that slot: two holders of one slot would write the same number.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "runs as the child of another test"]
async fn tasks_enter_until_they_are_killed() {
    let Ok(url) = std::env::var("ADVISORY_TEST_CHILD") else {
        return;
    };
    let pool = PgPool::connect(&url).await.unwrap();
    let mut tasks = JoinSet::new();
    for verb in Verb::all(Verb::is_of_lock) {
        let pool = pool.clone();
        tasks.spawn(async move {
            loop {
                let lock = lock(PERMITS).timeout(HANG_TIMEOUT);
                let granted = verb.run::<Error>(&lock, &pool, |held| {
                    Box::pin(async move {
                        let pause = Duration::from_micros(fastrand::u64(..3_000));
                        let Some(conn) = held else {
                            sleep(pause).await;
                            return Ok(());
                        };
                        let read = sqlx::query_as(READ).bind(slots());
                        let (slot, number): (i64, i64) = read.fetch_one(&mut *conn).await?;
                        sleep(pause).await;
                        let write = sqlx::query(WRITE).bind(slot).bind(number + 1);
                        write.execute(conn).await?;
                        Ok(())
                    })
                });
                assert!(granted.await.unwrap(), "{verb}");
            }
        });
    }
    // A task ends only if it fails.
    tasks.join_next().await.unwrap().unwrap();
}

/// The slots, as `pg_locks` shows the lower half of their keys.
fn slots() -> Vec<i64> {
    let slots = (1..=PERMITS).map(|number| AdvisoryLock::new(NAME).keys()[0].slot(number));
    slots.map(|slot| i64::from(slot.to_pg_locks().1)).collect()
}

/// Dropped, it is killed.
struct Process(Child);

impl Process {
    fn start(database: &Database, name: &str) -> Self {
        let mut command = Command::new(std::env::current_exe().unwrap());
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
    let name = "wait::permits::process::forty_tasks_enter_and_leave";
    let mut processes = [(); PROCESSES].map(|()| Process::start(&database, name));
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

/// The last number of each slot that was entered.
async fn numbers(pool: &PgPool) -> BTreeMap<i64, i64> {
    let numbers = "SELECT slot, max(number) FROM journal GROUP BY slot";
    let numbers: Vec<_> = sqlx::query_as(numbers).fetch_all(pool).await.unwrap();
    numbers.into_iter().collect()
}

/// Waits until every slot is entered once more.
async fn wait_until_entered(pool: &PgPool) {
    let before = numbers(pool).await;
    let is_entered = async {
        loop {
            let now = numbers(pool).await;
            let grew = now
                .iter()
                .filter(|(slot, number)| before.get(slot) < Some(number));
            if grew.count() == 3 {
                return;
            }
            sleep(Duration::from_millis(5)).await;
        }
    };
    let entered = timeout(HANG_TIMEOUT, is_entered).await;
    entered.expect("no permit is lost");
}

/// After each kill, every permit is taken again, so none is lost. Each task that is inside has a
/// slot that no other task has, so there is never a permit too many.
#[tokio::test]
async fn processes_that_are_killed_lose_no_permit_and_invent_none() {
    let (database, pool) = Database::with_pool(4).await;
    pool.execute(JOURNAL).await.unwrap();
    let start = || {
        Process::start(
            &database,
            "wait::permits::process::tasks_enter_until_they_are_killed",
        )
    };
    let mut processes = [(); 3].map(|()| start());
    let end = Instant::now() + Duration::from_secs(by_depth(2, 60));
    let all_are_held = |locks: &[LockRow]| held(locks, PERMITS) == 3;
    let mut kills = 0;
    while kills == 0 || Instant::now() < end {
        wait_until_entered(&pool).await;
        let what = "every permit is held";
        database.wait_until_locks(what, all_are_held).await;
        sleep(Duration::from_millis(fastrand::u64(..100))).await;
        for process in &mut processes {
            let ended = process.0.try_wait().unwrap();
            assert!(ended.is_none(), "a task has failed: {ended:?}");
        }
        // SIGKILL.
        *fastrand::choice(&mut processes).unwrap() = start();
        kills += 1;
    }
    drop(processes);
    database.assert_nothing_leaked(&pool).await;
    let entered: i64 = numbers(&pool).await.values().sum();
    println!("{entered} entered, {kills} processes killed");
    let held = take(PERMITS, PERMITS, &pool).await;
    assert!(lock(PERMITS).try_begin(&pool).await.unwrap().is_none());
    drop(held);
    database.assert_nothing_leaked(&pool).await;
}
