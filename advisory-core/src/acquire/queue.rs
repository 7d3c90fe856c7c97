//! Who of this process asks the server for a lock on a pool, and when.
//!
//! PostgreSQL alone decides who holds a lock. But a task that waits on the server keeps a
//! connection, of which a pool has few. So the tasks that want one lock on one pool stand in
//! [line](super::line), and only the first of them asks the server. Its turn passes on with the
//! answer: the next one is queued on the server before the new holder has ended.
//!
//! Each connection that waits, or that holds a lock around a body which uses the pool, takes a
//! place, and a pool has one place less than connections. A task that finds no place to wait asks
//! without waiting, one such task at a time, so that a lock that is free is granted at once.

use std::sync::Arc;
use std::time::{Duration, Instant};

use sqlx::postgres::PgPool;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use super::attempt::Attempt;
use super::line::{Lines, Turn};
use crate::error::{Error, UnsupportedReason};
use crate::lock::{Mode, Wait};
use crate::per_pool::PerPool;
use crate::probe::Capabilities;
use crate::sql::holder::holders;
use crate::sql::send::send;
use crate::sql::sqlstate;
use crate::time_bounds::{FIRST_PAUSE, LAST_PLACE, LONGEST_PAUSE};

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

/// What the attempts on one pool share.
struct Queue {
    lines: Arc<Lines>,
    /// One permit for each place. The last connection serves the bodies, whose ends free others.
    places: Arc<Semaphore>,
    /// One permit for each place in which a task may wait. Of several places, one is left to a
    /// holder, so that a lock that is free can be taken. Where there is only one, a task may wait
    /// in it for a while: see [`LAST_PLACE`].
    waiting: Arc<Semaphore>,
    /// One permit, for those who find no place to wait.
    asking: Arc<Semaphore>,
    has_places: bool,
}

impl Queue {
    fn of(pool: &PgPool) -> Arc<Self> {
        QUEUES.of(pool, || {
            let connections = usize::try_from(pool.options().get_max_connections());
            let places = connections.unwrap_or(usize::MAX).saturating_sub(1);
            let places = places.min(Semaphore::MAX_PERMITS);
            Self {
                lines: Arc::new(Lines::new()),
                places: Arc::new(Semaphore::new(places)),
                waiting: Arc::new(Semaphore::new(places.saturating_sub(1).max(1))),
                asking: Arc::new(Semaphore::new(1)),
                has_places: places > 0,
            }
        })
    }
}

/// The position of one attempt among those on its pool.
pub(super) struct Position {
    queue: Arc<Queue>,
    body: Body,
    /// `None` if the attempt does not wait for its turn.
    turn: Option<Turn>,
    /// How often the attempt has asked the server.
    questions: u32,
    permission: Permission,
    /// The end of the time in which the pool is to hand out a connection, if a part of it has
    /// passed.
    check_out_until: Option<Instant>,
}

/// How long the server may wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Permission {
    /// As long as the attempt does.
    Wait,
    /// For a while: the place is the last one, which others may need, too.
    WaitBriefly,
    /// Not at all: there is no place to wait.
    Ask,
}

/// The right to ask the server once.
#[derive(Default)]
pub(super) struct Place {
    /// Kept until the lock is released.
    pub(super) for_body: Option<OwnedSemaphorePermit>,
    for_question: [Option<OwnedSemaphorePermit>; 2],
}

impl Attempt<'_> {
    /// Waits for the turn of this attempt; `false` if there is no time for it.
    pub(super) async fn take_turn(&mut self, pool: &PgPool, body: Body) -> Result<bool, Error> {
        let queue = Queue::of(pool);
        if body == Body::Outside && !queue.has_places {
            return Err(Error::unsupported(UnsupportedReason::PoolOfOne));
        }
        let waits = self.deadline.left() != Wait::No;
        let mut turn = waits.then(|| Lines::join(&queue.lines, self.id()));
        if let Some(turn) = &mut turn
            && !turn.try_take()
            && !self.wait_for(turn, pool).await?
        {
            return Ok(false);
        }
        self.position = Some(Position {
            queue,
            body,
            turn,
            questions: 0,
            permission: Permission::Wait,
            check_out_until: None,
        });
        Ok(true)
    }

    async fn wait_for(&mut self, turn: &mut Turn, pool: &PgPool) -> Result<bool, Error> {
        self.learn_lock_timeout(pool);
        let limit = match self.deadline.left() {
            Wait::For(left) => left,
            Wait::Server | Wait::Forever | Wait::No => Duration::MAX,
        };
        let mut closed = pool.close_event();
        self.queue_time.start();
        let taken = timeout(limit, closed.do_until(turn.take())).await;
        self.queue_time.stop();
        match taken {
            Ok(taken) => Ok(taken.map(|()| true)?),
            Err(_elapsed) if turn.nobody_asked() => Err(sqlx::Error::PoolTimedOut.into()),
            Err(_elapsed) => Ok(false),
        }
    }

    /// Takes a place from which to ask the server once; `None` if there is no time to ask again.
    pub(super) async fn take_place(&mut self, pool: &PgPool) -> Result<Option<Place>, Error> {
        let Some(position) = &mut self.position else {
            return Ok(Some(Place::default()));
        };
        position.check_out_until = None;
        position.permission = Permission::Wait;
        position.questions += 1;
        let is_first = position.questions == 1;
        let (queue, body) = (Arc::clone(&position.queue), position.body);
        match self.find_place(pool, &queue, body).await {
            Err(Error::Database(sqlx::Error::PoolTimedOut))
                if !is_first && self.deadline.has_passed() =>
            {
                Ok(None)
            }
            place => place,
        }
    }

    async fn find_place(
        &mut self,
        pool: &PgPool,
        queue: &Queue,
        body: Body,
    ) -> Result<Option<Place>, Error> {
        let mut place = Place::default();
        if body != Body::Inside && queue.has_places {
            place.for_body = self.take_place_for_body(pool, queue).await?;
            if place.for_body.is_none() {
                return Ok(None);
            }
        }
        if self.wait() == Wait::No {
            return Ok(Some(place));
        }
        if let Some(waiting) = try_take(&queue.waiting) {
            let has_place = place.for_body.is_some() || !queue.has_places;
            let own_place = if has_place {
                None
            } else {
                try_take(&queue.places)
            };
            if has_place || own_place.is_some() {
                if queue.waiting.available_permits() == 0 {
                    self.permit(pool, Permission::WaitBriefly);
                }
                place.for_question = [Some(waiting), own_place];
                return Ok(Some(place));
            }
        }
        self.permit(pool, Permission::Ask);
        place.for_question[0] = Some(self.take_permit(pool, &queue.asking).await?);
        Ok(Some(place))
    }

    /// A place for the body. `None` if there is none in time, and none is needed: others hold the
    /// lock.
    async fn take_place_for_body(
        &mut self,
        pool: &PgPool,
        queue: &Queue,
    ) -> Result<Option<OwnedSemaphorePermit>, Error> {
        if let Some(place) = try_take(&queue.places) {
            return Ok(Some(place));
        }
        if self.wait() == Wait::No && self.is_held(pool, queue).await? {
            return Ok(None);
        }
        let place = self.take_permit(pool, &queue.places).await;
        if place.is_err() && self.deadline.has_passed() && self.is_held(pool, queue).await? {
            return Ok(None);
        }
        place.map(Some)
    }

    /// Whether others hold the lock, which is not asked for. Of shared locks it cannot be told who
    /// excludes whom.
    async fn is_held(&mut self, pool: &PgPool, queue: &Queue) -> Result<bool, Error> {
        if self.id().mode() == Mode::Shared {
            return Ok(false);
        }
        let _asking = self.take_permit(pool, &queue.asking).await?;
        let mut conn = self.check_out(pool).await?;
        let rows = send(&mut *conn, holders(self.id()));
        let rows = self.within(Wait::No, rows).await?;
        self.note_asking(false);
        Ok(!rows.is_empty())
    }

    fn permit(&mut self, pool: &PgPool, permission: Permission) {
        self.learn_lock_timeout(pool);
        if let Some(position) = &mut self.position {
            position.permission = permission;
        }
    }

    async fn take_permit(
        &mut self,
        pool: &PgPool,
        semaphore: &Arc<Semaphore>,
    ) -> Result<OwnedSemaphorePermit, Error> {
        if let Some(permit) = try_take(semaphore) {
            return Ok(permit);
        }
        let taken = async {
            let permit = Arc::clone(semaphore).acquire_owned();
            let permit = pool.close_event().do_until(permit).await?;
            Ok(permit.expect("BUG: this semaphore is never closed"))
        };
        if let Some(position) = &mut self.position {
            let until = Instant::now().checked_add(pool.options().get_acquire_timeout());
            position.check_out_until = position.check_out_until.or(until);
        }
        self.queue_time.start();
        let permit = self.within_deadline(Box::pin(taken)).await;
        self.queue_time.stop();
        permit
    }

    /// A wait that the server's `lock_timeout` bounds is bounded in this process, too.
    fn learn_lock_timeout(&mut self, pool: &PgPool) {
        if let Some(limit) = Capabilities::of(pool).lock_timeout() {
            self.deadline.bound(limit);
        }
    }

    /// How long the server may wait now.
    pub(super) fn permitted(&self, left: Wait) -> Wait {
        let permission = self.position.as_ref().map(|position| position.permission);
        match (permission, left) {
            (Some(Permission::Ask), _) => Wait::No,
            (Some(Permission::WaitBriefly), Wait::For(left)) => Wait::For(left.min(LAST_PLACE)),
            (Some(Permission::WaitBriefly), Wait::Server | Wait::Forever) => Wait::For(LAST_PLACE),
            (_, left) => left,
        }
    }

    /// The pause before the next question, if a refusal does not mean that the time is over.
    pub(super) fn pause_in_queue(&self) -> Option<Duration> {
        let position = self.position.as_ref()?;
        match position.permission {
            Permission::Wait => None,
            Permission::WaitBriefly => Some(Duration::ZERO),
            Permission::Ask => {
                let doubled = 1 << position.questions.min(16);
                Some(LONGEST_PAUSE.min(FIRST_PAUSE * doubled))
            }
        }
    }

    /// What is left of the time in which the pool is to hand out a connection. If `None`, the pool
    /// measures it.
    pub(super) fn check_out_limit(&self) -> Option<Duration> {
        let until = self.position.as_ref()?.check_out_until?;
        Some(until.saturating_duration_since(Instant::now()))
    }

    /// Notes whether this attempt asks the server now.
    pub(super) fn note_asking(&self, is_asking: bool) {
        if let Some(turn) = self.turn() {
            turn.note_asking(is_asking);
        }
    }

    /// An attempt that found no connection makes nobody wait for the same: the others find out for
    /// themselves, all at once.
    pub(super) fn note_failure(&self, error: &Error) {
        if let (Some(turn), Error::Database(error)) = (self.turn(), error)
            && sqlstate::is_loss(error)
        {
            turn.let_all_through();
        }
    }

    fn turn(&self) -> Option<&Turn> {
        self.position.as_ref()?.turn.as_ref()
    }
}

/// Waits until nobody else asks without a place to wait.
pub(super) async fn wait_to_ask(pool: &PgPool) -> Option<OwnedSemaphorePermit> {
    let asking = Arc::clone(&Queue::of(pool).asking);
    asking.acquire_owned().await.ok()
}

fn try_take(semaphore: &Arc<Semaphore>) -> Option<OwnedSemaphorePermit> {
    Arc::clone(semaphore).try_acquire_owned().ok()
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
        assert!(first.take_turn(&pool, Body::Inside).await.unwrap());
        let queue = Queue::of(&pool);
        assert_eq!(queue.lines.len(), 1);
        {
            let waiting = second.take_turn(&pool, Body::Inside);
            assert!(timeout(Duration::from_millis(1), waiting).await.is_err());
        }
        drop(first);
        assert!(second.take_turn(&pool, Body::Inside).await.unwrap());
        drop(second);
        assert_eq!(queue.lines.len(), 0);
    }

    #[tokio::test]
    async fn waits_leave_a_place_to_a_body_and_a_connection_to_its_statements() {
        let pool = pool(4);
        let locks: Vec<_> = (0..3).map(AdvisoryLock::new).collect();
        let mut attempts: Vec<_> = locks.iter().map(attempt).collect();
        let mut places = Vec::new();
        for (attempt, permission) in
            attempts
                .iter_mut()
                .zip([Permission::Wait, Permission::WaitBriefly, Permission::Ask])
        {
            assert!(attempt.take_turn(&pool, Body::Inside).await.unwrap());
            places.push(attempt.take_place(&pool).await.unwrap().unwrap());
            assert_eq!(attempt.position.as_ref().unwrap().permission, permission);
        }
        let queue = Queue::of(&pool);
        assert_eq!(queue.places.available_permits(), 1);
        drop(places);
        assert_eq!(queue.places.available_permits(), 3);
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
                assert!(attempt.take_turn(&pool, Body::Inside).await.unwrap());
                drop(attempt.take_place(&pool).await.unwrap());
            }
            let with = started.elapsed();
            println!(
                "a turn and a place: {:?}",
                with.saturating_sub(without) / ROUNDS
            );
        }
    }
}
