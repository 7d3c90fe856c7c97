//! A proxy between clients and a server, which counts round trips and injects faults.
//!
//! [`Proxy`] is the interface for tests. Its modules, from the lowest to the highest:
//!
//! | module | what it is for |
//! |---|---|
//! | `wire` | finds PostgreSQL's messages in a stream of bytes |
//! | `fault` | [`Cut`]: the faults, and the trigger for a fault after a given message |
//! | `socket` | unix and TCP sockets with one interface |
//! | `link_state` | the target, delay, silence and faults, shared by all connections |
//! | `round_trips` | counts the round trips of all connections |
//! | `relay` | forwards the messages of one connection |

mod fault;
mod link_state;
mod relay;
mod round_trips;
mod socket;
mod wire;

use std::path::Path;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use sqlx::ConnectOptions as _;
use sqlx::postgres::{PgConnectOptions, PgPool, PgSslMode};
use tokio::net::{TcpListener, UnixListener};
use tokio::runtime::{self, Runtime};
use tokio::sync::oneshot;

use crate::database::{self, Database};
use crate::process::{Account, Supervisor};
use fault::FaultTrigger;
use link_state::LinkState;
use round_trips::RoundTripCounter;
use socket::{Address, Listener};

pub use fault::{Cut, Side};
pub use round_trips::Message;

/// A proxy in front of a database, which counts round trips and injects faults.
///
/// In a round trip, the client sends messages and the server answers. Messages that the client
/// sends before the server has answered belong to the same round trip. A round trip that consists
/// of `Sync` alone is a ping, with which a pool checks that a connection is alive. Pings are
/// counted separately. The start-up and the end of a connection are not counted.
///
/// The proxy runs on a thread of its own, so that it continues while a test blocks. It ends when it
/// is dropped.
pub struct Proxy {
    options: PgConnectOptions,
    counter: RoundTripCounter,
    link: Arc<LinkState>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
    /// The folder of the unix socket.
    _folder: Option<Supervisor>,
}

impl Proxy {
    /// Starts a proxy in front of `database`, on a unix socket.
    ///
    /// # Panics
    ///
    /// If the proxy cannot listen.
    pub async fn start(database: &Database) -> Self {
        let folder = tokio::task::spawn_blocking(|| Supervisor::of_folder(&Account::ours())).await;
        let folder = folder.expect("BUG: starting a supervisor does not panic");
        let folder = folder.unwrap_or_else(|reason| panic!("a proxy can have a folder: {reason}"));
        let (runtime, listener) = listening(|| {
            UnixListener::bind(folder.folder().join(".s.PGSQL.5432")).map(Listener::Unix)
        });
        let options = through_folder(database, folder.folder());
        Self::run(runtime, listener, database, options, Some(folder))
    }

    /// Starts a proxy in front of `database`, on a TCP port of 127.0.0.1, where a client can see a
    /// real reset.
    ///
    /// # Panics
    ///
    /// If the proxy cannot listen.
    pub fn start_tcp(database: &Database) -> Self {
        let mut port = 0;
        let (runtime, listener) = listening(|| {
            let listener = std::net::TcpListener::bind(("127.0.0.1", 0))?;
            listener.set_nonblocking(true)?;
            port = listener.local_addr()?.port();
            TcpListener::from_std(listener).map(Listener::Tcp)
        });
        let options = through_port(database, port);
        Self::run(runtime, listener, database, options, None)
    }

    fn run(
        runtime: Runtime,
        listener: Listener,
        database: &Database,
        options: PgConnectOptions,
        folder: Option<Supervisor>,
    ) -> Self {
        let link = Arc::new(LinkState::to(Address::of(&database.options())));
        let counter = RoundTripCounter::default();
        let (stop, stopped) = oneshot::channel();
        let serve = relay::serve(listener, link.clone(), counter.clone());
        // The tasks of the connections end with the runtime.
        let thread = thread::spawn(move || {
            runtime.block_on(async {
                tokio::select! {
                    result = serve => result.expect("a proxy can accept"),
                    _ = stopped => {}
                }
            });
        });
        Self {
            options,
            counter,
            link,
            stop: Some(stop),
            thread: Some(thread),
            _folder: folder,
        }
    }

    /// The options to connect to the database through this proxy.
    pub fn options(&self) -> PgConnectOptions {
        self.options.clone()
    }

    /// As [`Database::libpq`], through this proxy. `database` is the one that the proxy was started
    /// for.
    pub fn libpq(&self, database: &Database) -> Vec<(&'static str, String)> {
        database.libpq_with(&self.options)
    }

    /// A pool on the database through this proxy, otherwise as [`Database::pool`].
    ///
    /// # Panics
    ///
    /// If the database cannot be reached.
    pub async fn pool(&self, max_connections: u32) -> PgPool {
        database::pool(self.options(), max_connections).await
    }

    /// Stops or resumes forwarding on all connections. While the proxy is silent, not even the end
    /// of a connection is forwarded. `set_silent(false)` also ends every [`Cut::Silence`].
    pub fn set_silent(&self, silent: bool) {
        self.link.set_silent(silent);
    }

    /// Delays all data that is read from now on, in each direction. If not set, nothing is delayed.
    pub fn set_delay(&self, delay: Duration) {
        self.link.set_delay(delay);
    }

    /// Forwards new connections to the server of `database`. Open connections are not affected.
    ///
    /// Clients still ask for the name of the first database, so `database` must have the same name,
    /// as [`Database::at`] returns it.
    pub fn set_target(&self, database: &Database) {
        self.link.set_target(Address::of(&database.options()));
    }

    /// Injects a fault into every connection that the proxy has accepted, and returns when that is
    /// done. New connections are accepted as before.
    pub async fn cut(&self, cut: Cut) {
        self.link.cut(cut).await;
    }

    /// Injects a fault into the connection that forwards the `n`-th message of `side` from now,
    /// directly after that message. The fault happens once. It replaces a fault that was armed
    /// before.
    ///
    /// Messages are counted from 1, over all connections. `Terminate` and the start-up of a
    /// connection, up to and including the first `ReadyForQuery`, are not counted.
    ///
    /// # Panics
    ///
    /// If `n` is 0.
    pub fn cut_after(&self, side: Side, n: usize, cut: Cut) {
        *self.link.trigger() = FaultTrigger::armed(side, n, cut);
    }

    /// Removes the fault that [`cut_after`](Self::cut_after) has armed.
    pub fn disarm(&self) {
        self.link.trigger().disarm();
    }

    /// True if the fault that [`cut_after`](Self::cut_after) has armed has happened. The value
    /// changes before the message arrives.
    pub fn has_cut(&self) -> bool {
        self.link.trigger().has_fired()
    }

    /// The number of round trips since the last reset, without pings. The number is up to date when
    /// the client receives the answer.
    pub fn round_trips(&self) -> u64 {
        self.counter.round_trips()
    }

    /// The number of pings since the last reset.
    pub fn pings(&self) -> u64 {
        self.counter.pings()
    }

    /// The number of connections since the last reset.
    pub fn connections(&self) -> usize {
        self.counter.connections()
    }

    /// Sets all counts to zero. A round trip that is in progress is not counted.
    pub fn reset(&self) {
        self.counter.reset();
    }

    /// The messages that clients have sent since the last reset.
    pub fn messages(&self) -> Vec<Message> {
        self.counter.messages()
    }

    /// [`messages`](Self::messages) as text, one on each line, for the message of an assertion.
    pub fn dump(&self) -> String {
        self.messages()
            .iter()
            .map(Message::to_string)
            .collect::<Vec<_>>()
            .join("\n")
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        drop(self.stop.take());
        // The thread has printed its own panic, if there was one.
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

/// A new runtime, and a listener that belongs to it.
fn listening(bind: impl FnOnce() -> std::io::Result<Listener>) -> (Runtime, Listener) {
    let runtime = runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.expect("a runtime can be built");
    let listener = {
        let _entered = runtime.enter();
        bind().unwrap_or_else(|error| panic!("a proxy can listen: {error}"))
    };
    (runtime, listener)
}

fn through_folder(database: &Database, folder: &Path) -> PgConnectOptions {
    let options = database.options().socket(folder).port(5432);
    options.ssl_mode(PgSslMode::Disable)
}

fn through_port(database: &Database, port: u16) -> PgConnectOptions {
    let options = database.options();
    // sqlx cannot change options with a unix socket into options with a port. Their URL can be
    // changed.
    let mut url = options.to_url_lossy();
    url.set_host(Some("127.0.0.1"))
        .expect("BUG: an address is a host");
    let through: PgConnectOptions = url.as_str().parse().expect("BUG: the URL is sqlx's own");
    through
        .port(port)
        .ssl_mode(PgSslMode::Disable)
        .application_name(options.get_application_name().unwrap_or_default())
}
