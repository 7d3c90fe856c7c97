//! A proxy between client and server that counts.

use std::io;
use std::path::PathBuf;
use std::thread::{self, JoinHandle};

use sqlx::postgres::{PgConnectOptions, PgPool, PgSslMode};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpStream, UnixListener, UnixStream};
use tokio::sync::{oneshot, watch};

use crate::account::Account;
use crate::database::{self, Database};
use crate::keeper::Keeper;
use crate::turn::{ConnectionTally, Message, Tally};
use crate::wire::{self, Frame, Framer};

/// A way to a database that counts the round trips on it.
///
/// A round trip is one turn: the client sends, then the server answers. Messages sent one after the other before the
/// server has answered are one turn. A turn of nothing but `Sync` is a ping, with which a pool asks whether a connection
/// is alive, and is counted apart. Neither the start-up of a connection nor its end is a turn.
///
/// It runs on a thread of its own, so that it goes on while a test blocks, and ends when it is dropped.
pub struct Proxy {
    options: PgConnectOptions,
    tally: Tally,
    silence: watch::Sender<bool>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
    _folder: Keeper,
}

impl Proxy {
    /// A proxy before `database`.
    ///
    /// # Panics
    ///
    /// If it cannot listen.
    pub async fn start(database: &Database) -> Self {
        let folder = tokio::task::spawn_blocking(|| Keeper::of_folder(&Account::ours())).await;
        let folder = folder.expect("BUG: starting a keeper does not panic");
        let folder = folder.unwrap_or_else(|reason| panic!("a proxy can have a folder: {reason}"));
        let upstream = Upstream::of(&database.options());
        let options = database
            .options()
            .socket(folder.folder())
            .port(5432)
            .ssl_mode(PgSslMode::Disable);
        let listener =
            std::os::unix::net::UnixListener::bind(folder.folder().join(".s.PGSQL.5432"));
        let listener = listener.unwrap_or_else(|error| panic!("a proxy can listen: {error}"));
        let tally = Tally::default();
        let (stop, stopped) = oneshot::channel();
        let (silence, silent) = watch::channel(false);
        let serve = serve(listener, upstream, tally.clone(), silent);
        let thread = thread::spawn(|| run(serve, stopped));
        Self {
            options,
            tally,
            silence,
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

    /// Goes silent, or speaks again: nothing is passed on meanwhile, not even the end of a connection.
    pub fn set_silent(&self, silent: bool) {
        self.silence.send_replace(silent);
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

/// Where the server listens.
#[derive(Clone)]
enum Upstream {
    Unix(PathBuf),
    Tcp(String, u16),
}

impl Upstream {
    fn of(options: &PgConnectOptions) -> Self {
        let (host, port) = (options.get_host(), options.get_port());
        let folder = options
            .get_socket()
            .cloned()
            .or_else(|| host.starts_with('/').then(|| host.into()));
        match folder {
            Some(folder) => Self::Unix(folder.join(format!(".s.PGSQL.{port}"))),
            None => Self::Tcp(host.to_owned(), port),
        }
    }
}

fn run(serve: impl Future<Output = io::Result<()>>, stopped: oneshot::Receiver<()>) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    // The connections' tasks go with the runtime.
    runtime.expect("a runtime can be built").block_on(async {
        tokio::select! {
            result = serve => result.expect("a proxy can accept"),
            _ = stopped => {}
        }
    });
}

async fn serve(
    listener: std::os::unix::net::UnixListener,
    upstream: Upstream,
    tally: Tally,
    silent: watch::Receiver<bool>,
) -> io::Result<()> {
    listener.set_nonblocking(true)?;
    let listener = UnixListener::from_std(listener)?;
    loop {
        let (client, _) = listener.accept().await?;
        let (upstream, tally, silent) = (upstream.clone(), tally.connection(), silent.clone());
        tokio::spawn(async move {
            // However a connection ends, both sides see it closed: that is the whole report.
            let _ = match upstream {
                Upstream::Unix(path) => {
                    pass(client, UnixStream::connect(path).await, tally, silent).await
                }
                Upstream::Tcp(host, port) => {
                    pass(
                        client,
                        TcpStream::connect((host, port)).await,
                        tally,
                        silent,
                    )
                    .await
                }
            };
        });
    }
}

/// Passes everything on until either side ends, then closes both.
async fn pass<S>(
    mut client: UnixStream,
    server: io::Result<S>,
    tally: ConnectionTally,
    silent: watch::Receiver<bool>,
) -> io::Result<()>
where
    S: AsyncRead + AsyncWrite,
{
    let opening = wire::opening(&mut client).await?;
    let (from_server, mut to_server) = tokio::io::split(server?);
    to_server.write_all(&opening).await?;
    let (from_client, to_client) = client.into_split();
    tokio::select! {
        result = pump(from_client, to_server, silent.clone(), |frame| tally.client_sends(frame)) => result,
        result = pump(from_server, to_client, silent, |frame| tally.server_sends(frame.kind)) => result,
    }
}

/// Passes on what `from` says to `to`, messages noted first.
async fn pump(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    mut silent: watch::Receiver<bool>,
    note: impl Fn(&Frame),
) -> io::Result<()> {
    let mut framer = Framer::default();
    let mut chunk = vec![0; 16 * 1024];
    loop {
        let length = from.read(&mut chunk).await?;
        // A sender that is gone will not break the silence.
        let _ = silent.wait_for(|silent| !silent).await;
        if length == 0 {
            return Ok(());
        }
        framer.feed(&chunk[..length]);
        while let Some(frame) = framer.next() {
            note(&frame);
        }
        to.write_all(&chunk[..length]).await?;
    }
}
