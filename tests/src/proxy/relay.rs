//! Forwarding the messages between clients and a server.

use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until};

use super::fault::{Cut, Side};
use super::link_state::LinkState;
use super::round_trips::{ConnectionCounter, RoundTripCounter};
use super::socket::{Listener, Socket};
use super::wire::{self, Frame, Framer};

/// How many chunks may be in transit in each direction. A sender of more has to wait.
const CAPACITY: usize = 1024;

/// Accepts clients, and relays the messages of each.
pub(super) async fn serve(
    listener: Listener,
    link: Arc<LinkState>,
    counter: RoundTripCounter,
) -> io::Result<()> {
    loop {
        let client = listener.accept().await?;
        let relay = Relay {
            link: link.clone(),
            counter: counter.connection(),
            silent_until: AtomicU64::new(0),
        };
        tokio::spawn(relay.run(client, link.cuts()));
    }
}

/// One connection, from a client to the server.
struct Relay {
    link: Arc<LinkState>,
    counter: ConnectionCounter,
    /// This connection is silent until silence has been ended so many times.
    silent_until: AtomicU64,
}

/// The data of one read.
struct Chunk {
    /// When the data arrives at the other side.
    due: Instant,
    /// The messages that the data completes; `None` at the end of the stream.
    frames: Option<Vec<Frame>>,
}

impl Relay {
    /// Forwards all data until one side ends or a fault happens, then closes both sides.
    async fn run(self, mut client: Socket, mut cuts: watch::Receiver<Option<Cut>>) {
        let mut server = None;
        let cut = self.until_cut(&mut client, &mut server, &mut cuts).await;
        client.close(cut);
        if let Some(server) = server {
            server.close(cut);
        }
        // Confirms the cut.
        drop(cuts);
    }

    async fn until_cut(
        &self,
        client: &mut Socket,
        server: &mut Option<Socket>,
        cuts: &mut watch::Receiver<Option<Cut>>,
    ) -> Cut {
        let mut forwarding = pin!(self.forward(client, server));
        loop {
            let cut = tokio::select! {
                biased;
                cut = next_cut(cuts) => cut,
                // An error is not reported. Both sides see the connection closed.
                end = &mut forwarding => return end.unwrap_or(Cut::Fin),
            };
            if cut != Cut::Silence {
                return cut;
            }
            self.fall_silent(self.link.next_silence_end());
            *cuts = self.link.cuts();
        }
    }

    async fn forward(&self, client: &mut Socket, server: &mut Option<Socket>) -> io::Result<Cut> {
        let startup = wire::startup(client).await?;
        self.wait_until_due(Instant::now() + self.link.delay())
            .await;
        let server = server.insert(Socket::connect(self.link.target()).await?);
        server.write_all(&startup).await?;
        let (from_client, to_client) = tokio::io::split(client);
        let (from_server, to_server) = tokio::io::split(server);
        tokio::select! {
            end = self.pump(Side::Client, from_client, to_server) => end,
            end = self.pump(Side::Server, from_server, to_client) => end,
        }
    }

    /// Forwards the messages of `side` until the end of the stream or of the connection.
    async fn pump(
        &self,
        side: Side,
        from: impl AsyncRead + Unpin,
        to: impl AsyncWrite + Unpin,
    ) -> io::Result<Cut> {
        let (chunks, arriving) = mpsc::channel(CAPACITY);
        let reading = async {
            self.read(side, from, chunks).await;
            // The data that has been read is still in transit.
            std::future::pending().await
        };
        tokio::select! {
            end = self.write(side, arriving, to) => end,
            never = reading => never,
        }
    }

    async fn read(&self, side: Side, mut from: impl AsyncRead + Unpin, to: mpsc::Sender<Chunk>) {
        let mut stream = Framer::default();
        let mut bytes = vec![0; 16 * 1024];
        loop {
            // An error ends the stream.
            let length = from.read(&mut bytes).await.unwrap_or(0);
            let due = Instant::now() + self.link.delay();
            let frames = (length > 0).then(|| stream.feed(&bytes[..length]));
            if side == Side::Client {
                let frames = frames.iter().flatten();
                frames.for_each(|frame| self.counter.record_client(frame));
            }
            let is_sent = to.send(Chunk { due, frames }).await.is_ok();
            if length == 0 || !is_sent {
                return;
            }
        }
    }

    async fn write(
        &self,
        side: Side,
        mut from: mpsc::Receiver<Chunk>,
        mut to: impl AsyncWrite + Unpin,
    ) -> io::Result<Cut> {
        while let Some(Chunk { due, frames }) = from.recv().await {
            self.wait_until_due(due).await;
            let Some(frames) = frames else { break };
            let mut frames = frames.into_iter().peekable();
            while frames.peek().is_some() {
                let (bytes, cut) = self.up_to_fault(side, frames.by_ref());
                to.write_all(&bytes).await?;
                match cut {
                    None => {}
                    Some((Cut::Silence, until_end)) => {
                        self.fall_silent(until_end);
                        self.wait_until_due(due).await;
                    }
                    Some((cut, _)) => return Ok(cut),
                }
            }
        }
        Ok(Cut::Fin)
    }

    /// The messages up to the one after which a fault happens, and the fault.
    fn up_to_fault(
        &self,
        side: Side,
        frames: impl Iterator<Item = Frame>,
    ) -> (Vec<u8>, Option<(Cut, u64)>) {
        let mut bytes = Vec::new();
        for frame in frames {
            bytes.extend_from_slice(frame.bytes());
            let is_counted = !self.counter.is_opening() && !wire::is_terminate(frame.kind());
            if side == Side::Server {
                self.counter.record_server(frame.kind());
            }
            let cut = is_counted.then(|| self.link.count(side)).flatten();
            if cut.is_some() {
                return (bytes, cut);
            }
        }
        (bytes, None)
    }

    /// Waits until data that is due at `due` may arrive.
    async fn wait_until_due(&self, due: Instant) {
        if due > Instant::now() {
            sleep_until(due).await;
        }
        self.link
            .wait_until_audible(|| self.silent_until.load(Ordering::Relaxed))
            .await;
    }

    fn fall_silent(&self, until_end: u64) {
        self.silent_until.store(until_end, Ordering::Relaxed);
    }
}

async fn next_cut(cuts: &mut watch::Receiver<Option<Cut>>) -> Cut {
    let cut = cuts.wait_for(Option::is_some).await;
    // The link exists as long as its connections, and keeps each sender until it has sent its cut.
    cut.ok().and_then(|cut| *cut).expect("BUG: no cut")
}
