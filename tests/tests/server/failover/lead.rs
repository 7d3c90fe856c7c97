//! A leader over many failovers: the numbers of its terms grow, and two terms overlap no longer
//! than documented.
//!
//! Terms are measured in the steps of their bodies and not by a clock. A busy machine makes steps
//! longer, and never makes a body do more of them.

use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use advisory_core::{Error, LockSession, Term};
use advisory_tests::{Cut, Proxy, Shutdown, by_depth};
use sqlx::PgPool;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use tokio::runtime;
use tokio::sync::{mpsc, oneshot};
use tokio::task::block_in_place;
use tokio::time::{Instant, sleep, timeout};

use super::pair::Pair;
use super::partition::with_idle;
use super::{PROBING, RESPONSE_TIMEOUT, session_lock};

/// The least time between two steps of a body.
const STEP: Duration = Duration::from_millis(1);
/// So many steps may pass until a body is dropped, once its task has seen the loss: the task is
/// woken for a step and for the loss at the same time. On a `LockSession`, another task sees it
/// first.
const NOTICE: usize = 3;
/// Longer than a failover takes, also on a busy machine.
const HANG_TIMEOUT: Duration = Duration::from_mins(1);

/// The steps of all terms, in the order in which they were done.
#[derive(Default)]
struct History {
    steps: Mutex<Vec<Step>>,
}

enum Step {
    /// A step of the term with this number.
    Of(i64),
    /// The body of this term was dropped.
    End(i64),
    /// The primary has ended, or is cut off.
    Fault,
}

impl History {
    fn push(&self, step: Step) {
        self.steps.lock().unwrap().push(step);
    }

    /// Waits until the body of a term has been dropped.
    async fn ended(&self, number: i64) {
        let has_ended = || {
            let steps = self.steps.lock().unwrap();
            let is_end = |step: &Step| matches!(step, Step::End(ended) if *ended == number);
            steps.iter().any(is_end)
        };
        let ended = async {
            while !has_ended() {
                sleep(Duration::from_millis(5)).await;
            }
        };
        let ended = timeout(HANG_TIMEOUT, ended).await;
        ended.expect("the body of the old term is dropped");
    }

    /// The most steps that a term has done after the first step of a newer one, and the most that
    /// it has done after a fault of its server.
    fn late_steps(&self) -> [usize; 2] {
        let (mut newest, mut failing) = (0, None);
        let (mut late, mut most) = ([0, 0], [0, 0]);
        for step in &*self.steps.lock().unwrap() {
            match *step {
                Step::End(_) => {}
                Step::Fault => (failing, late) = (Some(newest), [0, 0]),
                Step::Of(number) => {
                    newest = newest.max(number);
                    late[0] += usize::from(number < newest);
                    late[1] += usize::from(failing == Some(number));
                }
            }
            most = [most[0].max(late[0]), most[1].max(late[1])];
        }
        most
    }
}

/// Where an instance holds its lock.
#[derive(Clone, Copy)]
enum Place {
    Pool,
    LockSession,
}

/// An instance of a fleet, on a thread and a runtime of its own, as a process has them.
struct Instance {
    pool: PgPool,
    stop: oneshot::Sender<()>,
    thread: JoinHandle<()>,
}

impl Instance {
    fn start(
        options: PgConnectOptions,
        place: Place,
        history: Arc<History>,
        began: impl Fn(i64) + Send + Sync + 'static,
    ) -> Self {
        let runtime = runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.unwrap();
        let pool = {
            let _entered = runtime.enter();
            let pool = PgPoolOptions::new().max_connections(2);
            pool.acquire_timeout(RESPONSE_TIMEOUT)
                .connect_lazy_with(options)
        };
        let (stop, stopped) = oneshot::channel();
        let on = pool.clone();
        let run = async move {
            tokio::select! {
                error = lead(&on, place, &history, began) => panic!("it has ended: {error}"),
                _ = stopped => {}
            }
        };
        let thread = thread::spawn(move || runtime.block_on(run));
        Self { pool, stop, thread }
    }

    fn end(self) {
        drop(self.stop);
        block_in_place(|| self.thread.join()).expect("it leads until it is stopped");
    }
}

/// The body of a term, which ends when this value is dropped.
struct Body<'h> {
    number: i64,
    history: &'h History,
}

impl Drop for Body<'_> {
    fn drop(&mut self) {
        self.history.push(Step::End(self.number));
    }
}

/// Leads, step by step, until it is dropped.
async fn lead(pool: &PgPool, place: Place, history: &History, began: impl Fn(i64)) -> Error {
    let body = async |term: Term| -> Result<(), Error> {
        let number = term.number();
        let _body = Body { number, history };
        began(number);
        loop {
            history.push(Step::Of(number));
            sleep(STEP).await;
        }
    };
    let lock = session_lock("leader").polling(Duration::from_millis(20));
    let led = match place {
        Place::Pool => Box::pin(lock.lead(pool, body)).await,
        Place::LockSession => Box::pin(lock.lead(&LockSession::new(pool), body)).await,
    };
    led.expect_err("the body never returns")
}

/// Three instances that compete for the leadership.
struct Fleet {
    instances: Vec<Instance>,
    history: Arc<History>,
    /// Which instance leads, and the number of its term.
    terms: mpsc::UnboundedReceiver<(usize, i64)>,
    newest: i64,
    count: usize,
}

impl Fleet {
    fn start(options: [PgConnectOptions; 3]) -> Self {
        let (begin, terms) = mpsc::unbounded_channel();
        let history = Arc::<History>::default();
        let places = [Place::Pool, Place::LockSession, Place::Pool];
        let instances = options.into_iter().zip(places).enumerate();
        let instances = instances.map(|(index, (options, place))| {
            let begin = begin.clone();
            Instance::start(options, place, Arc::clone(&history), move |number| {
                // Nobody counts any more when the test ends.
                let _ = begin.send((index, number));
            })
        });
        Self {
            instances: instances.collect(),
            history,
            terms,
            newest: 0,
            count: 0,
        }
    }

    /// Waits for the next term, and returns the instance that leads and the number of its term.
    async fn next_term(&mut self) -> (usize, i64) {
        let next = timeout(HANG_TIMEOUT, self.terms.recv()).await;
        let mut next = next.expect("a new leader").unwrap();
        loop {
            let (leader, number) = next;
            assert!(number > self.newest, "{number} after {}", self.newest);
            self.newest = number;
            self.count += 1;
            match self.terms.try_recv() {
                Ok(newer) => next = newer,
                Err(_) => return (leader, number),
            }
        }
    }

    /// Asserts what holds after some failovers.
    fn assert_overlaps_at_most(self, failovers: usize, bound: usize) {
        for instance in self.instances {
            instance.end();
        }
        let [after_newer, after_fault] = self.history.late_steps();
        println!(
            "{failovers} failovers, {} terms; steps of an old term, at least {STEP:?} each: at most \
             {after_fault} after the fault, {after_newer} after the first one of the next term",
            self.count
        );
        assert!(self.count > failovers);
        assert!(after_newer <= bound, "{after_newer} of {bound} steps");
        assert!(after_fault <= bound, "{after_fault} of {bound} steps");
    }
}

/// The bound is the moment in which a task sees that its connection is closed.
#[tokio::test(flavor = "multi_thread")]
async fn terms_do_not_overlap_when_the_primary_is_killed() {
    let failovers = by_depth(3, 20);
    let mut pair = Pair::start().await;
    let mut fleet = Fleet::start([(); 3].map(|()| pair.primary.database.options()));
    let mut gaps = Vec::new();
    for _ in 0..failovers {
        let (_, old) = fleet.next_term().await;
        for instance in &fleet.instances {
            let standby = pair.standby.database.options();
            instance.pool.set_connect_options(standby);
        }
        let started = Instant::now();
        pair.primary.server.stop(Shutdown::Kill).await;
        fleet.history.push(Step::Fault);
        pair.promote().await;
        pair.standby.database.wait_until_held(1).await;
        gaps.push(started.elapsed());
        fleet.history.ended(old).await;
        pair = pair.next();
    }
    fleet.next_term().await;
    gaps.sort_unstable();
    println!(
        "from the end of a leader's server to the next leader: {:?}, at most {:?}",
        gaps[gaps.len() / 2],
        gaps[gaps.len() - 1]
    );
    fleet.assert_overlaps_at_most(failovers, NOTICE);
    pair.primary.database.assert_nothing_left().await;
}

/// The bound is the `keepalive_interval` and the `response_timeout`.
#[tokio::test(flavor = "multi_thread")]
async fn terms_overlap_until_a_primary_that_is_cut_off_has_not_answered_in_time() {
    let failovers = by_depth(1, 5);
    let mut pair = Pair::start().await;
    let proxies = [(); 3].map(|()| Proxy::start_tcp(&pair.primary.database));
    let mut fleet = Fleet::start(proxies.each_ref().map(Proxy::options));
    for _ in 0..failovers {
        let (leader, old) = fleet.next_term().await;
        for (index, proxy) in proxies.iter().enumerate() {
            proxy.set_target(&pair.standby.database);
            let is_leader = index == leader;
            proxy
                .cut(if is_leader { Cut::Silence } else { Cut::Fin })
                .await;
        }
        fleet.history.push(Step::Fault);
        pair.promote().await;
        pair.standby.database.wait_until_held(1).await;
        fleet.history.ended(old).await;
        pair = pair.next();
    }
    fleet.next_term().await;
    let bound = (PROBING + RESPONSE_TIMEOUT).as_millis() / STEP.as_millis();
    let bound = usize::try_from(bound).unwrap() + NOTICE;
    fleet.assert_overlaps_at_most(failovers, bound);
    for proxy in &proxies {
        proxy.set_silent(false);
    }
    pair.primary.database.assert_nothing_left().await;
}

/// A pool that leads to the old primary and to the new one is refused: see `partition`.
#[tokio::test(flavor = "multi_thread")]
async fn a_candidate_whose_pool_leads_to_two_primaries_leads_when_it_leads_to_one() {
    let pair = Pair::start().await;
    pair.promote().await;
    let new = &pair.standby.database;
    let lock = session_lock("leader");
    for place in [Place::Pool, Place::LockSession] {
        let proxy = Proxy::start_tcp(&pair.primary.database);
        let pool = with_idle(proxy.pool(3).await, 3).await;
        proxy.set_target(new);
        let body = async |term: Term| {
            new.wait_until_held(1).await;
            Ok::<_, Error>(term.number())
        };
        let locks = LockSession::new(&pool);
        let led = async {
            match place {
                Place::Pool => Box::pin(lock.lead(&pool, body)).await,
                Place::LockSession => Box::pin(lock.lead(&locks, body)).await,
            }
        };
        timeout(HANG_TIMEOUT, led).await.unwrap().unwrap();
        locks.close().await;
        new.assert_nothing_leaked(&pool).await;
    }
}
