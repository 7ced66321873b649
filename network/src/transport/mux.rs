//! yamux: many streams on one connection.
//!
//! The crate is the one that libp2p uses; its wrapper, `libp2p-yamux`, fixes frames at 16 KiB and writes each
//! in two pieces. Below TLS that made four records, four system calls and four turns of the connection's
//! task of what is one here. On the wire nothing differs: the length of a frame is its sender's choice.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, Waker, ready};

use futures::future::{Ready, ready as done};
use futures::{AsyncRead, AsyncWrite};
use libp2p::core::muxing::{StreamMuxer, StreamMuxerEvent};
use libp2p::core::upgrade::{InboundConnectionUpgrade, OutboundConnectionUpgrade, UpgradeInfo};
use yamux::{ConnectionError, Mode};

/// yamux closes the whole connection at one stream more than this.
const MAX_STREAMS: usize = 512;

/// Streams that a peer has opened and nobody has taken yet; it opens no more than this without an
/// acknowledgement.
const MAX_WAITING_STREAMS: usize = 256;

const HEADER_BYTES: usize = 12;
/// Most of a stream's bytes in one frame: with the header, four full TLS records.
const FRAME_BYTES: usize = 4 * 16 * 1024 - HEADER_BYTES;

#[derive(Debug, Clone)]
pub(super) struct Config(yamux::Config);

impl Default for Config {
    fn default() -> Self {
        let mut config = yamux::Config::default();
        config.set_max_num_streams(MAX_STREAMS);
        config.set_split_send_size(FRAME_BYTES);
        Self(config)
    }
}

impl Config {
    fn over<C: AsyncRead + AsyncWrite + Unpin>(self, socket: C, mode: Mode) -> Muxer<C> {
        Muxer {
            connection: yamux::Connection::new(WholeFrames::over(socket), self.0, mode),
            waiting: VecDeque::new(),
            waker: None,
        }
    }
}

impl UpgradeInfo for Config {
    type Info = &'static str;
    type InfoIter = [&'static str; 1];

    fn protocol_info(&self) -> Self::InfoIter {
        ["/yamux/1.0.0"]
    }
}

impl<C: AsyncRead + AsyncWrite + Unpin> InboundConnectionUpgrade<C> for Config {
    type Output = Muxer<C>;
    type Error = Infallible;
    type Future = Ready<Result<Muxer<C>, Infallible>>;

    fn upgrade_inbound(self, socket: C, _: &'static str) -> Self::Future {
        done(Ok(self.over(socket, Mode::Server)))
    }
}

impl<C: AsyncRead + AsyncWrite + Unpin> OutboundConnectionUpgrade<C> for Config {
    type Output = Muxer<C>;
    type Error = Infallible;
    type Future = Ready<Result<Muxer<C>, Infallible>>;

    fn upgrade_outbound(self, socket: C, _: &'static str) -> Self::Future {
        done(Ok(self.over(socket, Mode::Client)))
    }
}

/// A connection's streams. yamux makes progress only while it is asked for inbound streams, so those that
/// come when nobody has asked for one wait here.
pub(super) struct Muxer<C> {
    connection: yamux::Connection<WholeFrames<C>>,
    waiting: VecDeque<yamux::Stream>,
    /// Whoever asked for an inbound stream when there was none.
    waker: Option<Waker>,
}

impl<C: AsyncRead + AsyncWrite + Unpin> Muxer<C> {
    fn next_inbound(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Result<yamux::Stream, ConnectionError>> {
        let next = ready!(self.connection.poll_next_inbound(context));
        Poll::Ready(next.unwrap_or(Err(ConnectionError::Closed)))
    }
}

impl<C: AsyncRead + AsyncWrite + Unpin> StreamMuxer for Muxer<C> {
    type Substream = yamux::Stream;
    type Error = ConnectionError;

    fn poll_inbound(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Result<yamux::Stream, ConnectionError>> {
        if let Some(stream) = self.waiting.pop_front() {
            return Poll::Ready(Ok(stream));
        }
        let next = self.next_inbound(context);
        if next.is_pending() {
            self.waker = Some(context.waker().clone());
        }
        next
    }

    fn poll_outbound(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Result<yamux::Stream, ConnectionError>> {
        self.connection.poll_new_outbound(context)
    }

    fn poll_close(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Result<(), ConnectionError>> {
        self.connection.poll_close(context)
    }

    fn poll(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Result<StreamMuxerEvent, ConnectionError>> {
        let stream = ready!(self.next_inbound(context))?;
        if self.waiting.len() < MAX_WAITING_STREAMS {
            self.waiting.push_back(stream);
            if let Some(waker) = self.waker.take() {
                waker.wake();
            }
        } else {
            tracing::warn!("reset a stream: too many wait to be taken");
        }
        // There may be more to read; others get their turn first.
        context.waker().wake_by_ref();
        Poll::Pending
    }
}

/// Holds the header of a frame back until its body is written, so that both leave together.
struct WholeFrames<C> {
    socket: C,
    header: Vec<u8>,
}

impl<C> WholeFrames<C> {
    fn over(socket: C) -> Self {
        Self {
            socket,
            header: Vec::with_capacity(HEADER_BYTES),
        }
    }
}

impl<C: AsyncWrite + Unpin> WholeFrames<C> {
    /// Writes the header, if one is held, and something of `body`, unless that is empty.
    fn poll_write_with_header(
        &mut self,
        context: &mut Context<'_>,
        body: &[u8],
    ) -> Poll<io::Result<usize>> {
        loop {
            let pieces = [IoSlice::new(&self.header), IoSlice::new(body)];
            let written = Pin::new(&mut self.socket).poll_write_vectored(context, &pieces);
            let written = ready!(written)?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            let of_header = written.min(self.header.len());
            self.header.drain(..of_header);
            if written > of_header || (self.header.is_empty() && body.is_empty()) {
                return Poll::Ready(Ok(written - of_header));
            }
        }
    }

    fn poll_write_header(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.header.is_empty() {
            ready!(self.poll_write_with_header(context, &[]))?;
        }
        Poll::Ready(Ok(()))
    }
}

impl<C: AsyncRead + Unpin> AsyncRead for WholeFrames<C> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.socket).poll_read(context, buffer)
    }
}

impl<C: AsyncWrite + Unpin> AsyncWrite for WholeFrames<C> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.header.is_empty() && bytes.len() <= HEADER_BYTES {
            self.header.extend_from_slice(bytes);
            return Poll::Ready(Ok(bytes.len()));
        }
        self.poll_write_with_header(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_write_header(context))?;
        Pin::new(&mut self.socket).poll_flush(context)
    }

    fn poll_close(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_write_header(context))?;
        Pin::new(&mut self.socket).poll_close(context)
    }
}

#[cfg(test)]
mod tests {
    use futures::AsyncWriteExt;
    use proptest::prelude::*;

    use super::*;

    /// Takes at most so many bytes at a time, and is not ready every other time.
    struct Narrow {
        most: usize,
        ready: bool,
        written: Vec<u8>,
        writes: usize,
    }

    impl Narrow {
        fn taking(most: usize) -> Self {
            Self {
                most,
                ready: false,
                written: Vec::new(),
                writes: 0,
            }
        }
    }

    impl AsyncWrite for Narrow {
        fn poll_write(
            self: Pin<&mut Self>,
            context: &mut Context<'_>,
            bytes: &[u8],
        ) -> Poll<io::Result<usize>> {
            self.poll_write_vectored(context, &[IoSlice::new(bytes)])
        }

        fn poll_write_vectored(
            mut self: Pin<&mut Self>,
            context: &mut Context<'_>,
            pieces: &[IoSlice<'_>],
        ) -> Poll<io::Result<usize>> {
            self.ready = !self.ready;
            if !self.ready {
                context.waker().wake_by_ref();
                return Poll::Pending;
            }
            let bytes: Vec<u8> = pieces
                .iter()
                .flat_map(|piece| piece.iter().copied())
                .collect();
            let taken = bytes.len().min(self.most);
            self.written.extend_from_slice(&bytes[..taken]);
            self.writes += 1;
            Poll::Ready(Ok(taken))
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    #[test]
    fn a_frame_leaves_in_one_write() {
        let mut frames = WholeFrames::over(Narrow::taking(usize::MAX));
        futures::executor::block_on(async {
            frames.write_all(&[1; HEADER_BYTES]).await.unwrap();
            frames.write_all(&[2; FRAME_BYTES]).await.unwrap();
            frames.flush().await.unwrap();
        });
        assert_eq!(frames.socket.writes, 1);
        assert_eq!(frames.socket.written.len(), 4 * 16 * 1024);
    }

    #[test]
    fn a_header_alone_leaves_with_the_flush_or_the_close() {
        for close in [false, true] {
            let mut frames = WholeFrames::over(Narrow::taking(5));
            futures::executor::block_on(async {
                frames.write_all(&[1; HEADER_BYTES]).await.unwrap();
                match close {
                    true => frames.close().await.unwrap(),
                    false => frames.flush().await.unwrap(),
                }
            });
            assert_eq!(frames.socket.written, [1; HEADER_BYTES]);
        }
    }

    proptest! {
        #[test]
        fn everything_is_written_in_order(
            writes in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..40), 0..20),
            most in 1_usize..50,
        ) {
            let mut frames = WholeFrames::over(Narrow::taking(most));
            futures::executor::block_on(async {
                for bytes in &writes {
                    frames.write_all(bytes).await.unwrap();
                }
                frames.flush().await.unwrap();
            });
            prop_assert_eq!(&frames.socket.written, &writes.concat());
        }
    }
}
