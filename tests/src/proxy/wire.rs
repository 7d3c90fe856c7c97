//! Finding PostgreSQL's messages in a stream of bytes.

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

/// A message as it was sent: one byte for its kind, four bytes for the length of themselves and the
/// body, and the body. The start-up message has another format.
pub(super) struct Frame {
    bytes: Vec<u8>,
}

impl Frame {
    /// The first byte of the message.
    pub(super) fn kind(&self) -> u8 {
        self.bytes[0]
    }

    /// The bytes after the length.
    pub(super) fn body(&self) -> &[u8] {
        &self.bytes[5..]
    }

    /// The whole message.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

/// Splits a stream into messages. A chunk of the stream may begin and end anywhere in a message.
#[derive(Default)]
pub(super) struct Framer {
    pending: Vec<u8>,
}

impl Framer {
    /// The messages that this chunk completes.
    pub(super) fn feed(&mut self, chunk: &[u8]) -> Vec<Frame> {
        self.pending.extend_from_slice(chunk);
        std::iter::from_fn(|| self.next()).collect()
    }

    fn next(&mut self) -> Option<Frame> {
        let length = self.length()?;
        let bytes = self.take(1 + length)?;
        Some(Frame { bytes })
    }

    fn length(&self) -> Option<usize> {
        let length = self.pending.get(1..5)?.try_into().expect("BUG: four bytes");
        Some(
            usize::try_from(u32::from_be_bytes(length))
                .expect("a length fits into memory")
                .max(4),
        )
    }

    fn take(&mut self, length: usize) -> Option<Vec<u8>> {
        let is_complete = self.pending.len() >= length;
        is_complete.then(|| self.pending.drain(..length).collect())
    }
}

/// Reads the start-up message with its length. That message has no kind. A request for encryption,
/// which may come first, is refused, because the proxy could not read the messages.
pub(super) async fn startup(
    client: &mut (impl AsyncRead + AsyncWrite + Unpin),
) -> io::Result<Vec<u8>> {
    const SSL_REQUEST: [u8; 8] = *b"\0\0\0\x08\x04\xd2\x16\x2f";
    const GSSENC_REQUEST: [u8; 8] = *b"\0\0\0\x08\x04\xd2\x16\x30";
    loop {
        let length = client.read_u32().await?;
        let mut startup = length.to_be_bytes().to_vec();
        client
            .take(u64::from(length.saturating_sub(4)))
            .read_to_end(&mut startup)
            .await?;
        if startup != SSL_REQUEST && startup != GSSENC_REQUEST {
            return Ok(startup);
        }
        client.write_all(b"N").await?;
    }
}

/// The name of a client's message in the documentation of the protocol.
pub(super) fn client_message(kind: u8) -> &'static str {
    match kind {
        b'B' => "Bind",
        b'C' => "Close",
        b'D' => "Describe",
        b'E' => "Execute",
        b'F' => "FunctionCall",
        b'H' => "Flush",
        b'P' => "Parse",
        b'Q' => "Query",
        b'S' => "Sync",
        b'X' => "Terminate",
        b'c' => "CopyDone",
        b'd' => "CopyData",
        b'f' => "CopyFail",
        b'p' => "Password",
        _ => "unknown",
    }
}

/// The SQL text of a `Query` or a `Parse`.
pub(super) fn sql(frame: &Frame) -> Option<String> {
    let mut texts = frame.body().split(|byte| *byte == 0);
    let text = match frame.kind() {
        b'Q' => texts.next(),
        b'P' => texts.nth(1), // after the name of the statement
        _ => None,
    };
    text.map(|text| String::from_utf8_lossy(text).into_owned())
}

/// True for `Terminate`, which the server does not answer. No message of the server has this kind.
pub(super) fn is_terminate(kind: u8) -> bool {
    kind == b'X'
}

/// True for messages that the server sends without a request: `NoticeResponse`, `ParameterStatus`
/// and `NotificationResponse`.
pub(super) fn is_asynchronous(kind: u8) -> bool {
    matches!(kind, b'N' | b'S' | b'A')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_found_across_chunks() {
        let stream = b"Q\0\0\0\x0dSELECT 1\0S\0\0\0\x04P\0\0\0\x12name\0SELECT 2\0";
        for size in 1..=stream.len() {
            let mut splitter = Framer::default();
            let mut found = Vec::new();
            for chunk in stream.chunks(size) {
                let frames = splitter.feed(chunk);
                found.extend(frames.iter().map(|frame| (frame.kind(), sql(frame))));
            }
            let expected = [
                (b'Q', Some("SELECT 1".into())),
                (b'S', None),
                (b'P', Some("SELECT 2".into())),
            ];
            assert_eq!(found, expected, "in chunks of {size}");
        }
    }

    #[tokio::test]
    async fn encryption_is_refused_and_startup_message_is_read() {
        let (mut client, mut proxy) = tokio::io::duplex(64);
        client
            .write_all(b"\0\0\0\x08\x04\xd2\x16\x2f\0\0\0\x09\0\x03\0\0\0Q")
            .await
            .unwrap();
        assert_eq!(
            startup(&mut proxy).await.unwrap(),
            b"\0\0\0\x09\0\x03\0\0\0"
        );
        assert_eq!(client.read_u8().await.unwrap(), b'N');
    }
}
