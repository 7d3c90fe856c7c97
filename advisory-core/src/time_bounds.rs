//! Every time bound of this crate, and its reason.

use std::time::Duration;

/// The shortest `lock_timeout`: zero would switch the timeout off.
pub(crate) const SHORTEST_LOCK_TIMEOUT: Duration = Duration::from_millis(1);
/// The longest `lock_timeout`: the setting is a count of milliseconds in an `int4`.
pub(crate) const LONGEST_LOCK_TIMEOUT: Duration = Duration::from_millis(i32::MAX as u64);

/// How long an idle session that holds a lock stays silent before it is probed, if
/// [`keepalive_interval`](crate::AdvisoryLock::keepalive_interval) is not set.
pub(crate) const DEFAULT_KEEPALIVE_INTERVAL: Duration = Duration::from_secs(5);
/// A shorter interval would keep the connection busy with probes.
pub(crate) const SHORTEST_KEEPALIVE_INTERVAL: Duration = Duration::from_millis(100);
/// A longer interval could overflow the clock that it is added to.
pub(crate) const LONGEST_KEEPALIVE_INTERVAL: Duration = Duration::from_hours(24);

/// How long the server may take to answer before its connection counts as lost, if
/// [`response_timeout`](crate::AdvisoryLock::response_timeout) is not set.
pub(crate) const DEFAULT_RESPONSE_TIMEOUT: Duration = Duration::from_secs(5);
/// A shorter timeout would take a busy server for a lost one.
pub(crate) const SHORTEST_RESPONSE_TIMEOUT: Duration = Duration::from_millis(100);
/// A longer timeout could overflow the clock that it is added to.
pub(crate) const LONGEST_RESPONSE_TIMEOUT: Duration = Duration::from_hours(24);

/// How often the connection of a transaction is pinged while a body runs outside that transaction.
/// It finds a closed connection within a second, and keeps `idle_in_transaction_session_timeout`
/// from ending a transaction that waits for its body on purpose.
pub(crate) const TRANSACTION_PING_INTERVAL: Duration = Duration::from_millis(500);

/// From this time on, a message counts as one that waits for its lock, and sqlx's log does not see
/// how long it takes. It is below the usual thresholds for slow statements (1 s in sqlx if not
/// set), and above the round trip of most networks, where a message that does not wait keeps its
/// rows.
pub(crate) const LOGGED_WAIT: Duration = Duration::from_millis(100);

/// `client_connection_check_interval` of a backend that waits or holds for us. A waiter whose
/// client is gone then leaves the queue within a second, and the check costs no measurable time.
pub(crate) const CLIENT_CHECK_INTERVAL: &str = "500ms";

/// How long a rollback, a commit or a release may take after its owner was dropped, before its
/// connection is closed. Together with [`CLIENT_CHECK_INTERVAL`] it keeps the promise that nothing
/// is left after two seconds.
pub(crate) const GRACE_PERIOD: Duration = Duration::from_secs(1);

/// The least time that a pool gets to hand out a connection. A shorter deadline would cancel a
/// connection that is just being opened or tested, close it, and find the next one in the same
/// state.
pub(crate) const SHORTEST_CHECK_OUT: Duration = Duration::from_millis(100);
/// How long an error waits for a connection and a list of the holders. A busy machine may need more
/// than a tenth of a second.
pub(crate) const HOLDERS_LOOKUP: Duration = Duration::from_millis(250);

/// How often a wait on the server gives its place to another one, where there are too few. It is
/// also how long a wait may take the only connection of a pool of one. It is longer than
/// PostgreSQL's `deadlock_timeout`, if that is not set, so that deadlocks are found.
pub(crate) const PLACE_INTERVAL: Duration = Duration::from_secs(2);
/// How long a task waits for those that ask without a place, before it asks beside them.
pub(crate) const ASKING_TURN: Duration = Duration::from_millis(250);
/// The pause before the second question of a task that finds no place to wait. It doubles with each
/// question.
pub(crate) const FIRST_PAUSE: Duration = Duration::from_millis(5);
/// The longest such pause.
pub(crate) const LONGEST_PAUSE: Duration = Duration::from_millis(250);

/// The pause before the first in the queue for one of several slots looks for a free one again. The
/// server rounds such pauses up to whole milliseconds: with their jitter, the first ones take one.
pub(crate) const FIRST_SLOT_PAUSE: Duration = Duration::from_micros(400);
/// The longest such pause. Only one session pauses for each lock, and a look takes the server some
/// 20 µs.
pub(crate) const LONGEST_SLOT_PAUSE: Duration = Duration::from_millis(50);
/// How long a pool with a lock that had no free slot expects others to have none either. Until then
/// each wait begins with the message that can wait, and afterwards with one that fails.
pub(crate) const CONTENTION: Duration = Duration::from_mins(5);

/// The pause before what others hold is asked for again by a `LockSession`, after it was granted
/// something. It doubles with each sweep.
pub(crate) const FIRST_SWEEP: Duration = Duration::from_millis(5);
/// The longest such pause. A sweep over 2,000 keys takes the server about a millisecond.
pub(crate) const LONGEST_SWEEP: Duration = Duration::from_millis(100);
/// How often a `LockSession` asks behind a pooler in transaction mode, where each lock is asked for
/// in a transaction of its own: not more than once in this time, however many are refused.
pub(crate) const LENT_ASK_INTERVAL: Duration = Duration::from_millis(1);
/// How long a key may go from one local holder to the next before others get their chance.
pub(crate) const HAND_OVER_TIME: Duration = Duration::from_millis(50);
/// How long a request waits before it is worth a session that queues for it.
pub(crate) const WORTH_QUEUEING: Duration = Duration::from_millis(50);
/// How long a `LockSession` keeps a connection that does nothing.
pub(crate) const IDLE_SESSION: Duration = Duration::from_mins(1);
/// The pause before a session that was lost soon after it was opened is opened again.
pub(crate) const REOPEN_PAUSE: Duration = Duration::from_millis(100);

/// How often a migration that waits for another one tries its lock.
#[cfg(feature = "migrate")]
pub(crate) const MIGRATION_POLL: Duration = Duration::from_millis(250);

/// The least time that the pooler probe gets to open a connection beside the pool.
pub(crate) const SHORTEST_PROBE: Duration = Duration::from_millis(100);
/// How long the first pooler probe that could not be made is not repeated: every lock would log in,
/// and be refused again. The pause doubles each time.
pub(crate) const FIRST_PROBE_RETRY: Duration = Duration::from_secs(1);
/// The longest such pause.
pub(crate) const LONGEST_PROBE_RETRY: Duration = Duration::from_secs(30);
/// How long the pooler probe looks for a lock that outlives its connection. A server that is not
/// very busy takes a millisecond to notice that a connection was closed.
pub(crate) const PROBE_LIMIT: Duration = Duration::from_secs(3);
/// The first pause between two looks of the pooler probe.
pub(crate) const PROBE_PAUSE: Duration = Duration::from_millis(1);
/// The longest pause between two looks; from then on other connections look as well.
pub(crate) const LONGEST_PROBE_PAUSE: Duration = Duration::from_millis(8);
/// The most connections that look at once, each in another session of a pooler. A pooler lends the
/// sessions that were used last, so that it takes more only if the pooler is busy, where every look
/// sees other sessions anyway.
pub(crate) const MOST_PROBED_SESSIONS: usize = 32;

/// How long a connection for a cancel request may take: the server, or a pooler, may be full.
pub(crate) const CANCEL_CONNECT: Duration = Duration::from_secs(30);
/// How long a cancel request looks for the wait, whose message may still be on its way.
pub(crate) const CANCEL_SEARCH: Duration = Duration::from_secs(1);
/// The pause between two attempts to connect, or to find the wait.
pub(crate) const CANCEL_PAUSE: Duration = Duration::from_millis(50);

/// How often an observer asks who leads, if it does not say.
pub(crate) const OBSERVER_POLL: Duration = Duration::from_secs(1);

/// A shorter period would end before its mark is written.
pub(crate) const SHORTEST_PERIOD: Duration = Duration::from_millis(1);
/// A longer period could overflow the server's calendar.
pub(crate) const LONGEST_PERIOD: Duration = Duration::from_hours(24 * 36_500);

/// How often a candidate for leadership tries the lock, if
/// [`polling`](crate::AdvisoryLock::polling) is not set. With its jitter, a candidate leads within
/// 750 ms.
pub(crate) const CANDIDATE_POLL: Duration = Duration::from_millis(500);
/// The pause of a candidate after an error. It doubles with each error.
pub(crate) const FIRST_BACKOFF: Duration = Duration::from_millis(100);
/// The longest such pause, before its jitter: a server that comes back has a leader soon.
pub(crate) const LONGEST_BACKOFF: Duration = Duration::from_secs(5);
/// How long a candidate treats a pool that leads to different servers as one that fails over: it
/// has connections to the old primary and to the new one until the old ones are refused. After this
/// time it counts as a wrong configuration.
pub(crate) const FAILOVER_LIMIT: Duration = Duration::from_secs(30);
