//! A client that opens a connection for each request.

use std::net::SocketAddr;

use http_body_util::{BodyExt as _, Full};
use hyper::body::Bytes;
use hyper::client::conn::http1::handshake;
use hyper::http::request::Builder;
use hyper::{Method, Request};
use hyper_util::rt::TokioIo;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

/// A failure to connect, to send the request or to read the response.
pub(crate) type Error = Box<dyn std::error::Error + Send + Sync>;

#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) retry_after: Option<String>,
    pub(crate) body: String,
}

pub(crate) async fn get(address: SocketAddr, path: &str) -> Result<Answer, Error> {
    send(address, request(Method::GET, path), String::new()).await
}

/// Delivers an event as GitHub does.
pub(crate) async fn deliver(address: SocketAddr, id: &str) -> Result<Answer, Error> {
    deliver_event(address, id, "{}").await
}

pub(crate) async fn deliver_event(
    address: SocketAddr,
    id: &str,
    event: &str,
) -> Result<Answer, Error> {
    let request = request(Method::POST, "/webhooks/github").header("x-github-delivery", id);
    send(address, request, event.to_owned()).await
}

pub(crate) async fn post(address: SocketAddr, path: &str, body: &str) -> Result<Answer, Error> {
    send(address, request(Method::POST, path), body.to_owned()).await
}

/// Sends a delivery and returns the connection, without reading the response.
pub(crate) async fn begin_delivery(address: SocketAddr, id: &str) -> TcpStream {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!(
        "POST /webhooks/github HTTP/1.1\r\nhost: test\r\nx-github-delivery: {id}\r\n\
         content-type: application/json\r\ncontent-length: 2\r\n\r\n{{}}"
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    stream
}

fn request(method: Method, path: &str) -> Builder {
    let request = Request::builder().method(method).uri(path);
    request
        .header("host", "test")
        .header("content-type", "application/json")
}

async fn send(address: SocketAddr, request: Builder, body: String) -> Result<Answer, Error> {
    let stream = TokioIo::new(TcpStream::connect(address).await?);
    let (mut sender, connection) = handshake(stream).await?;
    tokio::spawn(connection);
    let request = request.body(Full::new(Bytes::from(body)))?;
    let response = sender.send_request(request).await?;
    let retry_after = response.headers().get("retry-after");
    Ok(Answer {
        status: response.status().as_u16(),
        retry_after: retry_after.map(|value| value.to_str().unwrap().to_owned()),
        body: String::from_utf8(response.collect().await?.to_bytes().to_vec())?,
    })
}
