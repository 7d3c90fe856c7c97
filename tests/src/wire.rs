//! PostgreSQL's messages, found in a stream of bytes.

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

/// A message as it was sent, after the one that opens a connection: a byte for its kind, four for the length (of
/// themselves and the body), the body.
pub(crate) struct Frame {
    bytes: Vec<u8>,
}

impl Frame {
    /// The first byte of the message.
    pub(crate) fn kind(&self) -> u8 {
        self.bytes[0]
    }

    /// What follows the length.
    pub(crate) fn body(&self) -> &[u8] {
        &self.bytes[5..]
    }

    /// All of it.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

/// Cuts a stream into messages, wherever the chunks it arrives in begin and end.
#[derive(Default)]
pub(crate) struct Framer {
    pending: Vec<u8>,
}

impl Framer {
    /// The messages that are complete with this chunk.
    pub(crate) fn feed(&mut self, chunk: &[u8]) -> Vec<Frame> {
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

/// Reads the message that opens a connection, which has no kind, length and all. A wish for encryption, which may come
/// before it, is refused: we could not read along.
pub(crate) async fn opening(
    client: &mut (impl AsyncRead + AsyncWrite + Unpin),
) -> io::Result<Vec<u8>> {
    const SSL_REQUEST: [u8; 8] = *b"\0\0\0\x08\x04\xd2\x16\x2f";
    const GSSENC_REQUEST: [u8; 8] = *b"\0\0\0\x08\x04\xd2\x16\x30";
    loop {
        let length = client.read_u32().await?;
        let mut opening = length.to_be_bytes().to_vec();
        client
            .take(u64::from(length.saturating_sub(4)))
            .read_to_end(&mut opening)
            .await?;
        if opening != SSL_REQUEST && opening != GSSENC_REQUEST {
            return Ok(opening);
        }
        client.write_all(b"N").await?;
    }
}

/// The name of a client's message.
pub(crate) fn client_message(kind: u8) -> &'static str {
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

/// The SQL text that a `Query` or a `Parse` carries.
pub(crate) fn sql(frame: &Frame) -> Option<String> {
    let mut texts = frame.body().split(|byte| *byte == 0);
    let text = match frame.kind() {
        b'Q' => texts.next(),
        b'P' => texts.nth(1), // after the name of the statement
        _ => None,
    };
    text.map(|text| String::from_utf8_lossy(text).into_owned())
}

/// True for the client's farewell, which answers nothing and is not answered. No message of the server has this kind.
pub(crate) fn is_terminate(kind: u8) -> bool {
    kind == b'X'
}

/// True for what the server sends of its own accord, which answers nothing: a notice, a setting, a notification.
pub(crate) fn is_unasked(kind: u8) -> bool {
    matches!(kind, b'N' | b'S' | b'A')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_found_across_chunks() {
        let stream = b"Q\0\0\0\x0dSELECT 1\0S\0\0\0\x04P\0\0\0\x12name\0SELECT 2\0";
        for size in 1..=stream.len() {
            let mut cutter = Framer::default();
            let mut found = Vec::new();
            for chunk in stream.chunks(size) {
                let frames = cutter.feed(chunk);
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
    async fn encryption_is_refused_and_the_start_up_read_whole() {
        let (mut client, mut proxy) = tokio::io::duplex(64);
        client
            .write_all(b"\0\0\0\x08\x04\xd2\x16\x2f\0\0\0\x09\0\x03\0\0\0Q")
            .await
            .unwrap();
        assert_eq!(
            opening(&mut proxy).await.unwrap(),
            b"\0\0\0\x09\0\x03\0\0\0"
        );
        assert_eq!(client.read_u8().await.unwrap(), b'N');
    }
}
