//! A proxy between client and server that counts, and that fails when it is told to.

use std::path::Path;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use sqlx::ConnectOptions as _;
use sqlx::postgres::{PgConnectOptions, PgPool, PgSslMode};
use tokio::net::{TcpListener, UnixListener};
use tokio::runtime::{self, Runtime};
use tokio::sync::oneshot;

use crate::account::Account;
use crate::database::{self, Database};
use crate::fault::{Cut, Side, Trap};
use crate::keeper::Keeper;
use crate::line::Line;
use crate::relay;
use crate::socket::{Address, Listener};
use crate::turn::{Message, Tally};

/// A way to a database that counts the round trips on it, and that fails when it is told to.
///
/// A round trip is one turn: the client sends, then the server answers. Messages sent one after the other before the
/// server has answered are one turn. A turn of nothing but `Sync` is a ping, with which a pool asks whether a connection
/// is alive, and is counted apart. Neither the start-up of a connection nor its end is a turn.
///
/// It runs on a thread of its own, so that it goes on while a test blocks, and ends when it is dropped.
pub struct Proxy {
    options: PgConnectOptions,
    tally: Tally,
    line: Arc<Line>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
    /// Where the unix socket is.
    _folder: Option<Keeper>,
}

impl Proxy {
    /// A proxy before `database`, on a unix socket.
    ///
    /// # Panics
    ///
    /// If it cannot listen.
    pub async fn start(database: &Database) -> Self {
        let folder = tokio::task::spawn_blocking(|| Keeper::of_folder(&Account::ours())).await;
        let folder = folder.expect("BUG: starting a keeper does not panic");
        let folder = folder.unwrap_or_else(|reason| panic!("a proxy can have a folder: {reason}"));
        let (runtime, listener) = listening(|| {
            UnixListener::bind(folder.folder().join(".s.PGSQL.5432")).map(Listener::Unix)
        });
        let options = through_folder(database, folder.folder());
        Self::run(runtime, listener, database, options, Some(folder))
    }

    /// A proxy before `database`, on a port of 127.0.0.1: a client sees a real reset there.
    ///
    /// # Panics
    ///
    /// If it cannot listen.
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
        folder: Option<Keeper>,
    ) -> Self {
        let line = Arc::new(Line::to(Address::of(&database.options())));
        let tally = Tally::default();
        let (stop, stopped) = oneshot::channel();
        let serve = relay::serve(listener, line.clone(), tally.clone());
        // The connections' tasks go with the runtime.
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
            tally,
            line,
            stop: Some(stop),
            thread: Some(thread),
            _folder: folder,
        }
    }

    /// How to connect to the database through this proxy.
    pub fn options(&self) -> PgConnectOptions {
        self.options.clone()
    }

    /// A pool on the database through this proxy, otherwise as [`Database::pool`].
    ///
    /// # Panics
    ///
    /// If no connection can be had.
    pub async fn pool(&self, max_connections: u32) -> PgPool {
        database::pool(self.options(), max_connections).await
    }

    /// Goes silent, or speaks again: nothing is passed on meanwhile, not even the end of a connection. To speak again ends
    /// every [`Cut::Silence`] too.
    pub fn set_silent(&self, silent: bool) {
        self.line.set_silent(silent);
    }

    /// Delays whatever is read from now on by this much, each way. If not set, nothing is delayed.
    pub fn set_delay(&self, delay: Duration) {
        self.line.set_delay(delay);
    }

    /// Leads new connections to the server of `database`. Those that are open stay where they are.
    ///
    /// Clients name the database they want themselves: `database` has the name of the first one, as [`Database::at`] gives it.
    pub fn set_target(&self, database: &Database) {
        self.line.set_target(Address::of(&database.options()));
    }

    /// Does this to every connection that is open, and returns when it is done. New ones are accepted as before.
    pub async fn cut(&self, cut: Cut) {
        self.line.order(cut).await;
    }

    /// Does this to the connection that passes on the `n`-th message of `side` from now, at once after that message. It
    /// happens once, and a fault armed before is forgotten.
    ///
    /// Messages are counted from 1 and over all connections. The start-up of a connection, up to and including the first
    /// `ReadyForQuery`, and `Terminate` are not counted.
    ///
    /// # Panics
    ///
    /// If `n` is 0.
    pub fn cut_after(&self, side: Side, n: usize, cut: Cut) {
        *self.line.trap() = Trap::armed(side, n, cut);
    }

    /// Forgets what [`cut_after`](Self::cut_after) has armed.
    pub fn disarm(&self) {
        self.line.trap().disarm();
    }

    /// True once what [`cut_after`](Self::cut_after) has armed has happened: it is so before the message arrives.
    pub fn has_cut(&self) -> bool {
        self.line.trap().has_sprung()
    }

    /// The round trips since the last reset, pings excluded. Complete as soon as the client sees the answer.
    pub fn round_trips(&self) -> u64 {
        self.tally.round_trips()
    }

    /// The pings since the last reset.
    pub fn pings(&self) -> u64 {
        self.tally.pings()
    }

    /// Counts from zero again. A turn that is under way is not counted.
    pub fn reset(&self) {
        self.tally.reset();
    }

    /// What clients sent since the last reset.
    pub fn messages(&self) -> Vec<Message> {
        self.tally.messages()
    }

    /// [`Self::messages`], one on a line, for the message of an assertion.
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
        // A panic there has been printed there.
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

/// A runtime of its own, and a listener that belongs to it.
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
    // Options that lead to a unix socket cannot be turned to a port, but their URL can.
    let mut url = options.to_url_lossy();
    url.set_host(Some("127.0.0.1"))
        .expect("BUG: an address is a host");
    let through: PgConnectOptions = url.as_str().parse().expect("BUG: the URL is sqlx's own");
    through
        .port(port)
        .ssl_mode(PgSslMode::Disable)
        .application_name(options.get_application_name().unwrap_or_default())
}
