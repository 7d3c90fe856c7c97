//! Unix and TCP sockets with one interface.

use std::io::{self, Read};
use std::path::PathBuf;
use std::pin::Pin;
use std::task::{Context, Poll};

use sqlx::postgres::PgConnectOptions;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};

use super::fault::Cut;

/// The address of a server.
#[derive(Clone)]
pub(super) enum Address {
    Unix(PathBuf),
    Tcp(String, u16),
}

impl Address {
    pub(super) fn of(options: &PgConnectOptions) -> Self {
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

/// The listening socket of a proxy.
pub(super) enum Listener {
    Unix(UnixListener),
    Tcp(TcpListener),
}

impl Listener {
    pub(super) async fn accept(&self) -> io::Result<Socket> {
        match self {
            Self::Unix(listener) => Ok(Socket::Unix(listener.accept().await?.0)),
            Self::Tcp(listener) => Socket::tcp(listener.accept().await?.0),
        }
    }
}

/// One end of a connection.
pub(super) enum Socket {
    Unix(UnixStream),
    Tcp(TcpStream),
}

impl Socket {
    pub(super) async fn connect(address: Address) -> io::Result<Self> {
        match address {
            Address::Unix(path) => UnixStream::connect(path).await.map(Self::Unix),
            Address::Tcp(host, port) => Self::tcp(TcpStream::connect((host, port)).await?),
        }
    }

    fn tcp(stream: TcpStream) -> io::Result<Self> {
        stream.set_nodelay(true)?;
        Ok(Self::Tcp(stream))
    }

    /// Closes the socket, with a reset if `cut` is [`Cut::Reset`].
    pub(super) fn close(self, cut: Cut) {
        // An error means that the other side has closed the connection already.
        let _ = match self {
            Self::Tcp(stream) if cut == Cut::Reset => stream.set_zero_linger(),
            Self::Unix(_) if cut == Cut::Reset => Ok(()),
            Self::Tcp(stream) => stream.into_std().map(drain),
            Self::Unix(stream) => stream.into_std().map(drain),
        };
    }
}

/// Reads the data that has arrived. A socket that is closed with unread data sends a reset.
fn drain(stream: impl Read) {
    const LIMIT: u64 = 64 << 20; // for a peer that never stops sending
    // The stream does not block. It returns an error when there is no more data.
    let _ = io::copy(&mut stream.take(LIMIT), &mut io::sink());
}

impl AsyncRead for Socket {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Unix(stream) => Pin::new(stream).poll_read(cx, buf),
            Self::Tcp(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Unix(stream) => Pin::new(stream).poll_write(cx, buf),
            Self::Tcp(stream) => Pin::new(stream).poll_write(cx, buf),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Unix(stream) => Pin::new(stream).poll_flush(cx),
            Self::Tcp(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Unix(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Tcp(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
