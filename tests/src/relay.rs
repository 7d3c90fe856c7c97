//! Passing on what clients and server say to each other.

use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until};

use crate::fault::{Cut, Side};
use crate::line::Line;
use crate::socket::{Listener, Socket};
use crate::turn::{ConnectionTally, Tally};
use crate::wire::{self, Frame, Framer};

/// How many chunks may be under way, each way. Past that the sender has to wait, as on any line.
const CAPACITY: usize = 1024;

/// Accepts clients, and relays each.
pub(crate) async fn serve(listener: Listener, line: Arc<Line>, tally: Tally) -> io::Result<()> {
    loop {
        let client = listener.accept().await?;
        let relay = Relay {
            line: line.clone(),
            tally: tally.connection(),
            silent_until: AtomicU64::new(0),
        };
        tokio::spawn(relay.run(client, line.orders()));
    }
}

/// One connection, from a client to the server.
struct Relay {
    line: Arc<Line>,
    tally: ConnectionTally,
    /// The break of the line's silence that lets this connection be heard again.
    silent_until: AtomicU64,
}

/// What was read in one go.
struct Chunk {
    /// When it arrives at the other side.
    due: Instant,
    /// The messages that are complete with it; `None` at the end of the stream.
    frames: Option<Vec<Frame>>,
}

impl Relay {
    /// Passes everything on until either side ends or a fault does it, then closes both.
    async fn run(self, mut client: Socket, mut orders: watch::Receiver<Option<Cut>>) {
        let mut server = None;
        let cut = self.until_cut(&mut client, &mut server, &mut orders).await;
        client.close(cut);
        if let Some(server) = server {
            server.close(cut);
        }
        // Whoever has ordered it goes on now.
        drop(orders);
    }

    async fn until_cut(
        &self,
        client: &mut Socket,
        server: &mut Option<Socket>,
        orders: &mut watch::Receiver<Option<Cut>>,
    ) -> Cut {
        let mut passing = pin!(self.pass(client, server));
        loop {
            let cut = tokio::select! {
                biased;
                cut = ordered(orders) => cut,
                // However a connection ends, both sides see it closed: that is the whole report.
                end = &mut passing => return end.unwrap_or(Cut::Fin),
            };
            if cut != Cut::Silence {
                return cut;
            }
            self.fall_silent(self.line.next_break());
            *orders = self.line.orders();
        }
    }

    async fn pass(&self, client: &mut Socket, server: &mut Option<Socket>) -> io::Result<Cut> {
        let opening = wire::opening(client).await?;
        self.arrival(Instant::now() + self.line.delay()).await;
        let server = server.insert(Socket::connect(self.line.target()).await?);
        server.write_all(&opening).await?;
        let (from_client, to_client) = tokio::io::split(client);
        let (from_server, to_server) = tokio::io::split(server);
        tokio::select! {
            end = self.pump(Side::Client, from_client, to_server) => end,
            end = self.pump(Side::Server, from_server, to_client) => end,
        }
    }

    /// Passes on what `side` says, until the end of the stream or of the connection.
    async fn pump(
        &self,
        side: Side,
        from: impl AsyncRead + Unpin,
        to: impl AsyncWrite + Unpin,
    ) -> io::Result<Cut> {
        let (chunks, arriving) = mpsc::channel(CAPACITY);
        let reading = async {
            self.read(side, from, chunks).await;
            // What has been read is still under way.
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
            // An error is an end like any other.
            let length = from.read(&mut bytes).await.unwrap_or(0);
            let due = Instant::now() + self.line.delay();
            let frames = (length > 0).then(|| stream.feed(&bytes[..length]));
            if side == Side::Client {
                let frames = frames.iter().flatten();
                frames.for_each(|frame| self.tally.client_sends(frame));
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
            self.arrival(due).await;
            let Some(frames) = frames else { break };
            let mut frames = frames.into_iter().peekable();
            while frames.peek().is_some() {
                let (bytes, cut) = self.up_to_fault(side, frames.by_ref());
                to.write_all(&bytes).await?;
                match cut {
                    None => {}
                    Some((Cut::Silence, until_break)) => {
                        self.fall_silent(until_break);
                        self.arrival(due).await;
                    }
                    Some((cut, _)) => return Ok(cut),
                }
            }
        }
        Ok(Cut::Fin)
    }

    /// The messages up to the one after which something is to happen, and what.
    fn up_to_fault(
        &self,
        side: Side,
        frames: impl Iterator<Item = Frame>,
    ) -> (Vec<u8>, Option<(Cut, u64)>) {
        let mut bytes = Vec::new();
        for frame in frames {
            bytes.extend_from_slice(frame.bytes());
            let is_counted = !self.tally.is_opening() && !wire::is_terminate(frame.kind());
            if side == Side::Server {
                self.tally.server_sends(frame.kind());
            }
            let cut = is_counted.then(|| self.line.count(side)).flatten();
            if cut.is_some() {
                return (bytes, cut);
            }
        }
        (bytes, None)
    }

    /// Waits until something that is due then can arrive.
    async fn arrival(&self, due: Instant) {
        if due > Instant::now() {
            sleep_until(due).await;
        }
        self.line
            .heard(|| self.silent_until.load(Ordering::Relaxed))
            .await;
    }

    fn fall_silent(&self, until_break: u64) {
        self.silent_until.store(until_break, Ordering::Relaxed);
    }
}

async fn ordered(orders: &mut watch::Receiver<Option<Cut>>) -> Cut {
    let order = orders.wait_for(Option::is_some).await;
    // The line lives as long as its connections, and keeps each sender until it has given its order.
    order.ok().and_then(|cut| *cut).expect("BUG: no order")
}
