//! One stream, of yamux or of pipes, read and written by two futures of one task.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;

use futures::io::{AsyncRead, AsyncWrite};

use crate::protocol::message::FromAgent;

/// Both directions of a stream that needs no flushing.
pub trait Stream: AsyncRead + AsyncWrite + Unpin {}

impl<T: AsyncRead + AsyncWrite + Unpin> Stream for T {}

/// The stream of one request.
pub struct Channel {
    stream: RefCell<Box<dyn Stream>>,
}

impl Channel {
    pub fn new(stream: impl Stream + 'static) -> Self {
        Self { stream: RefCell::new(Box::new(stream)) }
    }

    /// Some bytes; 0 when the host has closed or lost the stream.
    pub async fn read(&self, buf: &mut [u8]) -> io::Result<usize> {
        poll_fn(|cx| Pin::new(&mut *self.stream.borrow_mut()).poll_read(cx, buf)).await
    }

    /// All of `bytes`, as fast as the host takes them.
    pub async fn write(&self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let written =
                poll_fn(|cx| Pin::new(&mut *self.stream.borrow_mut()).poll_write(cx, bytes))
                    .await?;
            bytes = &bytes[written..];
        }
        Ok(())
    }

    /// The last message, and the end of the stream.
    pub async fn finish(&self, last: &FromAgent<'_>) -> io::Result<()> {
        let mut bytes = Vec::new();
        last.encode(&mut bytes);
        self.write(&bytes).await?;
        self.close().await
    }

    pub async fn close(&self) -> io::Result<()> {
        poll_fn(|cx| Pin::new(&mut *self.stream.borrow_mut()).poll_close(cx)).await
    }
}
