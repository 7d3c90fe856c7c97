//! Who of this process asks the server for a lock on a pool, and when.
//!
//! PostgreSQL alone decides who holds a lock. But a task that waits on the server keeps a
//! connection, of which a pool has few. So the tasks that want one lock on one pool stand in
//! [line](super::line), and only the first of them asks the server. Its turn passes on with the
//! answer: the next one is queued on the server before the new holder has ended.
//!
//! Each connection that waits, or that holds a lock around a body which uses the pool, takes a
//! place, and a pool has one place less than connections. A task that finds no place to wait asks
//! without waiting, one such task at a time, so that a lock that is free is granted at once. A body
//! that finds no place takes that of a wait.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Poll;
use std::time::{Duration, Instant};

use sqlx::postgres::{PgPool, PgRow};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio::time::error::Elapsed;
use tokio::time::{sleep, timeout};

use super::attempt::Attempt;
use super::line::{Lines, Turn};
use crate::error::{Error, UnsupportedReason};
use crate::lock::Wait;
use crate::on_drop::FinishOnDrop;
use crate::per_pool::PerPool;
use crate::probe::Capabilities;
use crate::sql::holder::excluding;
use crate::sql::send::{last_row, send_in_own_transaction};
use crate::sql::{session, sqlstate};
use crate::time_bounds::{ASKING_TURN, FIRST_PAUSE, LONGEST_PAUSE, PLACE_INTERVAL};

static QUEUES: PerPool<Queue> = PerPool::new();

/// What the work under a lock needs besides the connection that holds the lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Body {
    /// Nothing: it runs on that connection.
    Inside,
    /// Other connections of the pool.
    Outside,
    /// Perhaps other connections of the pool: the caller gets a guard.
    Unknown,
}

/// Which line a task joins. A task would not wait for the next one of another kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Waits,
    /// It pauses between its questions.
    Polls,
    /// It runs in the body of another lock, whose place must not depend on it.
    Nested,
}

/// What the attempts on one pool share.
struct Queue {
    /// The lines of each [`Kind`].
    lines: [Arc<Lines>; 3],
    /// One permit for each place. The last connection serves the bodies, whose ends free others.
    places: Arc<Semaphore>,
    has_places: bool,
    /// One permit, for those who find no place to wait.
    asking: Arc<Semaphore>,
    /// The tasks that wait on the server in a place, and can be asked to leave it.
    waits: AtomicUsize,
    /// The bodies that wait for a place.
    wanted: AtomicUsize,
    leave: Notify,
    /// When a wait was last asked to leave its place to another wait.
    last_change: Mutex<Instant>,
}

impl Queue {
    fn of(pool: &PgPool) -> Arc<Self> {
        QUEUES.of(pool, || {
            let connections = usize::try_from(pool.options().get_max_connections());
            let places = connections.unwrap_or(usize::MAX).saturating_sub(1);
            let places = places.min(Semaphore::MAX_PERMITS);
            Self {
                lines: std::array::from_fn(|_| Arc::new(Lines::new())),
                places: Arc::new(Semaphore::new(places)),
                has_places: places > 0,
                asking: Arc::new(Semaphore::new(1)),
                waits: AtomicUsize::new(0),
                wanted: AtomicUsize::new(0),
                leave: Notify::new(),
                last_change: Mutex::new(Instant::now()),
            }
        })
    }

    /// Asks one of those that wait on the server to leave its place.
    fn take_place_of_a_wait(&self) {
        if self.waits.load(Ordering::SeqCst) > 0 {
            self.leave.notify_one();
        }
    }

    /// Lets those that wait on the server, and those that find no place there, take turns.
    fn change_places(&self) {
        let mut last = self
            .last_change
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if last.elapsed() >= PLACE_INTERVAL {
            *last = Instant::now();
            self.take_place_of_a_wait();
        }
    }

    /// Waits for a while until nobody else asks without a place to wait.
    async fn wait_to_ask(&self) -> Option<OwnedSemaphorePermit> {
        let asking = Arc::clone(&self.asking).acquire_owned();
        timeout(ASKING_TURN, asking).await.ok()?.ok()
    }
}

/// Counts one more until it is dropped.
pub(super) struct Count<'c>(&'c AtomicUsize);

impl<'c> Count<'c> {
    pub(super) fn start(count: &'c AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::SeqCst);
        Self(count)
    }
}

impl Drop for Count<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

/// The position of one attempt among those on its pool.
pub(super) struct Position {
    pool: PgPool,
    queue: Arc<Queue>,
    kind: Kind,
    body: Body,
    /// `None` if the attempt does not wait for its turn.
    turn: Option<Turn>,
    /// How often the attempt has asked the server.
    questions: u32,
    /// When it last got a connection to ask on.
    connected: Mutex<Option<Instant>>,
    permission: Permission,
    /// Whether the attempt has left its place to another one.
    has_left: bool,
    /// A place that became free in a pause.
    next_place: Option<OwnedSemaphorePermit>,
    /// The end of the time in which the pool is to hand out a connection, if a part of that time
    /// has passed in the wait for a place.
    check_out_until: Option<Instant>,
}

impl Position {
    fn connected(&self) -> MutexGuard<'_, Option<Instant>> {
        self.connected
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn try_take_place(&mut self) -> Option<OwnedSemaphorePermit> {
        let places = &self.queue.places;
        let next = self.next_place.take();
        next.or_else(|| Arc::clone(places).try_acquire_owned().ok())
    }
}

/// How long the server may wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Permission {
    /// As long as the attempt does, unless another one needs the place.
    Wait,
    /// For a while: it is the only connection of the pool.
    WaitBriefly,
    /// Not at all: there is no place to wait.
    Ask,
}

/// The right to ask the server once.
#[derive(Default)]
pub(super) struct Place {
    /// Kept until the lock is released.
    pub(super) for_body: Option<OwnedSemaphorePermit>,
    for_question: Option<OwnedSemaphorePermit>,
}

impl Attempt<'_> {
    /// Waits for the turn of this attempt; `false` if there is no time for it.
    pub(super) async fn take_turn(
        &mut self,
        pool: PgPool,
        body: Body,
        is_nested: bool,
    ) -> Result<bool, Error> {
        let queue = Queue::of(&pool);
        if body == Body::Outside && !queue.has_places && !is_nested {
            return Err(Error::unsupported(UnsupportedReason::PoolOfOne));
        }
        let kind = match self.lock().polling_interval() {
            _ if is_nested => Kind::Nested,
            Some(_) => Kind::Polls,
            None => Kind::Waits,
        };
        // A lock on no keys is free.
        let waits = !self.deadline.is_immediate() && !self.id().keys().is_empty();
        let mut turn = waits.then(|| Lines::join(&queue.lines[kind as usize], self.id()));
        if let Some(turn) = &mut turn
            && !turn.try_take()
            && !Box::pin(self.wait_for(turn, &pool)).await?
        {
            return Ok(false);
        }
        self.position = Some(Box::new(Position {
            pool,
            queue,
            kind,
            body,
            turn,
            questions: 0,
            connected: Mutex::default(),
            permission: Permission::Wait,
            has_left: false,
            next_place: None,
            check_out_until: None,
        }));
        Ok(true)
    }

    async fn wait_for(&mut self, turn: &mut Turn, pool: &PgPool) -> Result<bool, Error> {
        self.span.start_queueing();
        let taken = self.take_in_time(turn, pool).await;
        self.span.stop_queueing();
        match taken {
            Ok(taken) => taken?,
            Err(_elapsed) if turn.nobody_asked() => return Err(sqlx::Error::PoolTimedOut.into()),
            Err(_elapsed) => return Ok(false),
        }
        // The one before may have learnt it.
        let was_unknown = self.deadline.left() == Wait::Server;
        self.learn_lock_timeout(pool);
        Ok(!(was_unknown && self.deadline.has_passed()))
    }

    /// Waits for the turn until the deadline. If that is the server's `lock_timeout` and nobody
    /// knows it, the server is asked meanwhile.
    async fn take_in_time(
        &mut self,
        turn: &mut Turn,
        pool: &PgPool,
    ) -> Result<Result<(), sqlx::Error>, Elapsed> {
        let mut closed = pool.close_event();
        let mut taken = pin!(closed.do_until(turn.take()));
        self.learn_lock_timeout(pool);
        while self.wait() == Wait::Server {
            if let Some(taken) = Box::pin(self.turn_or_lock_timeout(taken.as_mut(), pool)).await {
                return Ok(taken);
            }
            self.learn_lock_timeout(pool);
        }
        let limit = match self.deadline.left() {
            Wait::For(left) => left,
            Wait::Server | Wait::Forever | Wait::No => Duration::MAX,
        };
        timeout(limit, taken).await
    }

    /// Waits for the turn. `None` if the server has said first what bounds the wait, or if it could
    /// not be asked.
    async fn turn_or_lock_timeout<T>(
        &self,
        mut turn: Pin<&mut impl Future<Output = T>>,
        pool: &PgPool,
    ) -> Option<T> {
        let queue = Queue::of(pool);
        let mut ask = pin!(async {
            let asked = {
                // One task asks for all.
                let _asking = queue.asking.acquire().await;
                self.ask_lock_timeout(pool).await
            };
            if let Err(error) = asked {
                tracing::debug!(%error, "cannot ask for the `lock_timeout`");
                sleep(PLACE_INTERVAL).await;
            }
        });
        poll_fn(|cx| match turn.as_mut().poll(cx) {
            Poll::Ready(taken) => Poll::Ready(Some(taken)),
            Poll::Pending => ask.as_mut().poll(cx).map(|()| None),
        })
        .await
    }

    /// Takes a place from which to ask the server once; `None` if there is no place for the body,
    /// and others hold the lock.
    pub(super) async fn take_place(&mut self) -> Result<Option<Place>, Error> {
        let Some(position) = &mut self.position else {
            return Ok(Some(Place::default()));
        };
        position.check_out_until = None;
        position.permission = Permission::Wait;
        position.questions = position.questions.saturating_add(1);
        let must_ask = std::mem::take(&mut position.has_left);
        let only_waits = position.kind == Kind::Waits && position.body == Body::Inside;
        if only_waits
            && !must_ask
            && !self.deadline.is_immediate()
            && let Some(place) = position.try_take_place()
        {
            return Ok(Some(Place {
                for_question: Some(place),
                ..Place::default()
            }));
        }
        let (pool, queue) = (position.pool.clone(), Arc::clone(&position.queue));
        let (kind, body) = (position.kind, position.body);
        let mut place = Place::default();
        if kind == Kind::Nested {
            return Ok(Some(place));
        }
        let keeps_place = body != Body::Inside && queue.has_places;
        if keeps_place {
            let position = self.position.as_deref_mut();
            place.for_body = match position.and_then(Position::try_take_place) {
                Some(place) => Some(place),
                None => Box::pin(self.wait_for_place_of_body(&pool, &queue)).await?,
            };
            if place.for_body.is_none() {
                self.ask_lock_timeout(&pool).await?;
                self.permit(&pool, Permission::Ask);
                return Ok(None);
            }
        }
        if self.wait() == Wait::No {
            return Ok(Some(place));
        }
        if !queue.has_places {
            self.ask_lock_timeout(&pool).await?;
            self.permit(&pool, Permission::WaitBriefly);
            return Ok(Some(place));
        }
        if keeps_place && !must_ask {
            return Ok(Some(place));
        }
        self.permit(&pool, Permission::Ask);
        self.start_check_out(&pool);
        self.span.start_queueing();
        place.for_question = Box::pin(queue.wait_to_ask()).await;
        self.span.stop_queueing();
        Ok(Some(place))
    }

    /// A place for the body. `None` if there is none, and others hold the lock.
    async fn wait_for_place_of_body(
        &mut self,
        pool: &PgPool,
        queue: &Queue,
    ) -> Result<Option<OwnedSemaphorePermit>, Error> {
        if self.is_held(pool, queue).await? {
            return Ok(None);
        }
        let place = {
            let _wanted = Count::start(&queue.wanted);
            queue.take_place_of_a_wait();
            self.wait_for_place(pool, queue).await
        };
        // A wait for a lock that others hold is not one for the pool.
        if place.is_err() && self.is_held(pool, queue).await? {
            return Ok(None);
        }
        place.map(Some)
    }

    async fn wait_for_place(
        &mut self,
        pool: &PgPool,
        queue: &Queue,
    ) -> Result<OwnedSemaphorePermit, Error> {
        let taken = async {
            let permit = Arc::clone(&queue.places).acquire_owned();
            let permit = pool.close_event().do_until(permit).await?;
            Ok(permit.expect("BUG: this semaphore is never closed"))
        };
        self.start_check_out(pool);
        self.span.start_queueing();
        let permit = self.within_deadline(Box::pin(taken)).await;
        self.span.stop_queueing();
        permit
    }

    /// Whether others hold the lock. It does not ask for the lock.
    async fn is_held(&mut self, pool: &PgPool, queue: &Queue) -> Result<bool, Error> {
        self.start_check_out(pool);
        let _asking = queue.wait_to_ask().await;
        Ok(!self.ask(pool, excluding(self.id())).await?.is_empty())
    }

    /// Sends a statement that does not wait, on a connection of the pool.
    async fn ask(&self, pool: &PgPool, statement: String) -> Result<Vec<PgRow>, Error> {
        let mut conn = self.check_out(pool).await?;
        // A pooler closes its session if the connection is closed before the answer.
        let rows =
            FinishOnDrop::new(async move { send_in_own_transaction(&mut conn, &statement).await });
        Ok(self.within(Wait::No, rows).await?)
    }

    /// Waits that precede the check-out are a part of its time.
    fn start_check_out(&mut self, pool: &PgPool) {
        if let Some(position) = &mut self.position {
            let limit = pool.options().get_acquire_timeout();
            position.check_out_until = Instant::now().checked_add(limit);
        }
    }

    fn permit(&mut self, pool: &PgPool, permission: Permission) {
        // These waits are not measured by the server.
        self.learn_lock_timeout(pool);
        if let Some(position) = &mut self.position {
            position.permission = permission;
        }
    }

    /// Asks the server for what bounds the wait, if it is the server and nobody knows. Such a wait
    /// would not give the connection back.
    async fn ask_lock_timeout(&self, pool: &PgPool) -> Result<(), Error> {
        let capabilities = Capabilities::of(pool);
        if self.wait() != Wait::Server || capabilities.lock_timeout().is_some() {
            return Ok(());
        }
        let row = last_row(self.ask(pool, session::lock_timeout()).await?)?;
        capabilities.note_lock_timeout(session::read_lock_timeout(&row)?);
        Ok(())
    }

    /// A wait that the server's `lock_timeout` bounds is bounded in this process, too. A lock that
    /// polls is not: `lock_timeout` bounds the server's queue only.
    pub(super) fn learn_lock_timeout(&mut self, pool: &PgPool) {
        if self.lock().polling_interval().is_none()
            && let Some(wait) = Capabilities::of(pool).lock_timeout()
        {
            self.deadline.bound(wait);
        }
    }

    /// How long the server may wait now.
    pub(super) fn permitted(&self, left: Wait) -> Wait {
        let permission = self.position.as_ref().map(|position| position.permission);
        match (permission, left) {
            (Some(Permission::Ask), _) => Wait::No,
            (Some(Permission::WaitBriefly), Wait::For(left)) => Wait::For(left.min(PLACE_INTERVAL)),
            (Some(Permission::WaitBriefly), Wait::Forever) => Wait::For(PLACE_INTERVAL),
            (_, left) => left,
        }
    }

    /// Asks the server, unless another one needs the place meanwhile.
    pub(super) async fn in_place<T>(
        &self,
        mut question: Pin<&mut impl Future<Output = Result<Option<T>, Error>>>,
    ) -> Result<Answer<T>, Error> {
        let Some(position) = &self.position else {
            let answer = question.await?;
            return Ok(answer.map_or(Answer::Refused, Answer::Granted));
        };
        let wait = self.wait();
        // It is a limit for each key.
        let is_limit = wait == Wait::Server && self.id().keys().len() <= 1;
        let keeps_place = position.kind != Kind::Waits
            || position.permission != Permission::Wait
            || wait == Wait::No;
        let answer = if keeps_place {
            question.await?
        } else if let Ok(answer) = timeout(ASKING_TURN, question.as_mut()).await {
            // An answer without a wait comes soon.
            answer?
        } else if let Some(answer) = until_left(&position.queue, question).await {
            answer?
        } else {
            return Ok(Answer::Left);
        };
        if answer.is_none()
            && is_limit
            && let Some(connected) = *position.connected()
        {
            Capabilities::of(&position.pool).note_refusal(connected.elapsed());
        }
        Ok(answer.map_or(Answer::Refused, Answer::Granted))
    }

    /// After the attempt has left its place: it asks once more at once, and then like those that
    /// find no place.
    pub(super) fn note_leaving(&mut self) {
        if let Some(position) = &mut self.position {
            position.has_left = true;
            position.questions = position.questions.max(u32::from(u16::MAX));
        }
    }

    /// The pause before the next question, if a refusal does not mean that the time is over.
    pub(super) fn pause_in_queue(&mut self) -> Option<Duration> {
        let position = self.position.as_ref()?;
        match position.permission {
            Permission::Wait => None,
            Permission::WaitBriefly => {
                let pool = position.pool.clone();
                self.learn_lock_timeout(&pool);
                Some(Duration::ZERO)
            }
            Permission::Ask => {
                position.queue.change_places();
                let doubled = 1 << position.questions.min(16);
                Some(LONGEST_PAUSE.min(FIRST_PAUSE * doubled))
            }
        }
    }

    /// Pauses between two questions; `false` if there is no time for another one. Those that find
    /// no place wait for one meanwhile, first come, first served.
    pub(super) async fn pause(&mut self, interval: Duration) -> bool {
        let asks = |position: &&mut Position| {
            position.permission == Permission::Ask && position.kind == Kind::Waits
        };
        let Some(position) = self.position.as_deref_mut().filter(asks) else {
            return self.deadline.pause(interval).await;
        };
        let mut place = pin!(Arc::clone(&position.queue.places).acquire_owned());
        let mut pause = pin!(self.deadline.pause(interval));
        poll_fn(|cx| {
            if let Poll::Ready(place) = place.as_mut().poll(cx) {
                position.next_place = place.ok();
                return Poll::Ready(true);
            }
            pause.as_mut().poll(cx)
        })
        .await
    }

    /// What is left of the time in which the pool is to hand out a connection. If `None`, the pool
    /// measures it.
    pub(super) fn check_out_limit(&self) -> Option<Duration> {
        let until = self.position.as_ref()?.check_out_until?;
        Some(until.saturating_duration_since(Instant::now()))
    }

    /// Notes that this attempt has a connection.
    pub(super) fn note_asking(&self) {
        if let Some(position) = &self.position {
            *position.connected() = Some(Instant::now());
        }
        if let Some(turn) = self.turn() {
            turn.note_asking();
        }
    }

    /// An attempt that finds no connection makes nobody wait for the same: the others find out for
    /// themselves, all at once. It proves nothing if its own time was too short.
    pub(super) fn note_failure(&self, error: &Error) {
        if let (Some(turn), Error::Database(error)) = (self.turn(), error)
            && sqlstate::is_loss(error)
            && !self.deadline.has_passed()
        {
            turn.let_all_through();
        }
    }

    fn turn(&self) -> Option<&Turn> {
        self.position.as_ref()?.turn.as_ref()
    }
}

/// The answer to one question.
pub(super) enum Answer<T> {
    Granted(T),
    Refused,
    /// There is none: the place was left to another one.
    Left,
}

/// The answer to a question that waits on the server; `None` if another one needs the place.
async fn until_left<T>(
    queue: &Queue,
    mut question: Pin<&mut impl Future<Output = T>>,
) -> Option<T> {
    let _waits = Count::start(&queue.waits);
    let mut leave = pin!(queue.leave.notified());
    leave.as_mut().enable();
    if queue.wanted.load(Ordering::SeqCst) > 0 {
        return None;
    }
    poll_fn(|cx| match question.as_mut().poll(cx) {
        Poll::Ready(answer) => Poll::Ready(Some(answer)),
        Poll::Pending => leave.as_mut().poll(cx).map(|()| None),
    })
    .await
}

/// Waits for a while until nobody else asks without a place to wait.
pub(super) async fn wait_to_ask(pool: &PgPool) -> Option<OwnedSemaphorePermit> {
    Queue::of(pool).wait_to_ask().await
}

#[cfg(test)]
mod tests {
    use std::hint::black_box;

    use sqlx::postgres::PgPoolOptions;

    use super::super::attempt::OnRefusal;
    use super::super::own_transaction::NewTransaction;
    use super::*;
    use crate::lock::AdvisoryLock;

    fn attempt(lock: &AdvisoryLock) -> Attempt<'_> {
        Attempt::new::<NewTransaction<'_>>(lock, Wait::Forever, OnRefusal::Report)
    }

    /// No connection is opened.
    fn pool(max_connections: u32) -> PgPool {
        let options = PgPoolOptions::new().max_connections(max_connections);
        options
            .connect_lazy("postgres://nobody@localhost/none")
            .unwrap()
    }

    #[tokio::test]
    async fn a_line_ends_with_its_last_member() {
        let (pool, lock) = (pool(4), AdvisoryLock::new("one"));
        let (mut first, mut second) = (attempt(&lock), attempt(&lock));
        assert!(
            first
                .take_turn(pool.clone(), Body::Inside, false)
                .await
                .unwrap()
        );
        let queue = Queue::of(&pool);
        assert_eq!(queue.lines[Kind::Waits as usize].len(), 1);
        {
            let waiting = second.take_turn(pool.clone(), Body::Inside, false);
            assert!(timeout(Duration::from_millis(1), waiting).await.is_err());
        }
        drop(first);
        assert!(
            second
                .take_turn(pool.clone(), Body::Inside, false)
                .await
                .unwrap()
        );
        drop(second);
        assert_eq!(queue.lines[Kind::Waits as usize].len(), 0);
    }

    #[tokio::test]
    async fn waits_leave_a_connection_to_the_bodies() {
        let pool = pool(3);
        let locks: Vec<_> = (0..3).map(AdvisoryLock::new).collect();
        let mut attempts: Vec<_> = locks.iter().map(attempt).collect();
        let mut places = Vec::new();
        for (attempt, permission) in
            attempts
                .iter_mut()
                .zip([Permission::Wait, Permission::Wait, Permission::Ask])
        {
            assert!(
                attempt
                    .take_turn(pool.clone(), Body::Inside, false)
                    .await
                    .unwrap()
            );
            places.push(attempt.take_place().await.unwrap().unwrap());
            assert_eq!(attempt.position.as_ref().unwrap().permission, permission);
        }
        let queue = Queue::of(&pool);
        assert_eq!(queue.places.available_permits(), 0);
        drop(places);
        assert_eq!(queue.places.available_permits(), 2);
    }

    /// `cargo test --release -p advisory-core --lib cost_of_an_uncontended_turn -- --ignored --nocapture`
    #[tokio::test]
    #[ignore = "measures"]
    async fn cost_of_an_uncontended_turn() {
        const ROUNDS: u32 = 1_000_000;
        let (pool, lock) = (pool(10), AdvisoryLock::new("one"));
        for _ in 0..5 {
            let started = Instant::now();
            for _ in 0..ROUNDS {
                drop(black_box(attempt(&lock)));
            }
            let without = started.elapsed();
            let started = Instant::now();
            for _ in 0..ROUNDS {
                let mut attempt = attempt(&lock);
                assert!(
                    attempt
                        .take_turn(pool.clone(), Body::Inside, false)
                        .await
                        .unwrap()
                );
                drop(attempt.take_place().await.unwrap());
            }
            let with = started.elapsed();
            println!(
                "a turn and a place: {:?}",
                with.saturating_sub(without) / ROUNDS
            );
        }
    }
}
