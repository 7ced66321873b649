//! yamux: many streams on one connection.
//!
//! The crate is the one that libp2p uses; its wrapper, `libp2p-yamux`, fixes frames at 16 KiB and writes each
//! in two pieces, and flushes each. Below TLS that made four records, four system calls and four turns of the
//! connection's task of what is one here. On the wire nothing differs: the length of a frame is its sender's choice.

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

/// yamux takes no stream beyond this, and tells the peer to go away.
const MAX_STREAMS: usize = 512;

/// Streams that a peer has opened and nobody has taken yet. An honest one opens no more than this without an
/// acknowledgement; whoever does is hung up on.
const MAX_WAITING_STREAMS: usize = 256;

/// Streams that are read in a row.
const STREAMS_IN_A_TURN: usize = 16;

const HEADER_BYTES: usize = 12;
/// Most of a stream's bytes in one frame: with the header, four full TLS records.
const FRAME_BYTES: usize = 4 * 16 * 1024 - HEADER_BYTES;

/// Small frames that leave together: as much as one TLS record takes.
const HELD_BYTES: usize = 16 * 1024;

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
            connection: yamux::Connection::new(WholeTurns::over(socket), self.0, mode),
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
    connection: yamux::Connection<WholeTurns<C>>,
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

    /// Streams are read by [`poll`](Self::poll), which every owner has to call; here they are handed out.
    fn poll_inbound(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Result<yamux::Stream, ConnectionError>> {
        if let Some(stream) = self.waiting.pop_front() {
            return Poll::Ready(Ok(stream));
        }
        self.waker = Some(context.waker().clone());
        Poll::Pending
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
        for _ in 0..STREAMS_IN_A_TURN {
            let stream = ready!(self.next_inbound(context))?;
            if self.waiting.len() == MAX_WAITING_STREAMS {
                tracing::warn!("closing a connection: its peer opens streams without end");
                return Poll::Ready(Err(ConnectionError::TooManyStreams));
            }
            self.waiting.push_back(stream);
            // Whoever asks for streams behind this call, as the swarm does, need not be woken.
            let other = self
                .waker
                .take_if(|waker| !waker.will_wake(context.waker()));
            other.into_iter().for_each(Waker::wake);
        }
        // There may be more to read; others get their turn first.
        context.waker().wake_by_ref();
        Poll::Pending
    }
}

/// Gathers what yamux writes in small pieces, so that it leaves in one record and one system call.
///
/// yamux flushes behind every frame, and reads only when it has nothing more to write. So here a flush
/// does nothing, and what is held leaves when there is nothing more to read either: the frames of one
/// turn leave together, and none waits for the next turn.
struct WholeTurns<C> {
    socket: C,
    held: Vec<u8>,
    /// Whether something was written that has not been flushed.
    unflushed: bool,
}

impl<C> WholeTurns<C> {
    fn over(socket: C) -> Self {
        Self {
            socket,
            held: Vec::new(),
            unflushed: false,
        }
    }
}

impl<C: AsyncWrite + Unpin> WholeTurns<C> {
    /// Writes what is held, and then something of `more`, unless that is empty.
    fn poll_write_behind_held(
        &mut self,
        context: &mut Context<'_>,
        more: &[u8],
    ) -> Poll<io::Result<usize>> {
        loop {
            let pieces = [IoSlice::new(&self.held), IoSlice::new(more)];
            let written = Pin::new(&mut self.socket).poll_write_vectored(context, &pieces);
            let written = ready!(written)?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.unflushed = true;
            let of_held = written.min(self.held.len());
            self.held.drain(..of_held);
            if written > of_held || (self.held.is_empty() && more.is_empty()) {
                return Poll::Ready(Ok(written - of_held));
            }
        }
    }

    fn poll_write_held(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.held.is_empty() {
            ready!(self.poll_write_behind_held(context, &[]))?;
        }
        Poll::Ready(Ok(()))
    }

    fn poll_end_turn(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_write_held(context))?;
        if self.unflushed {
            ready!(Pin::new(&mut self.socket).poll_flush(context))?;
            self.unflushed = false;
        }
        Poll::Ready(Ok(()))
    }
}

impl<C: AsyncRead + AsyncWrite + Unpin> AsyncRead for WholeTurns<C> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let read = Pin::new(&mut self.socket).poll_read(context, buffer);
        if read.is_pending()
            && let Poll::Ready(Err(error)) = self.poll_end_turn(context)
        {
            return Poll::Ready(Err(error));
        }
        read
    }
}

impl<C: AsyncWrite + Unpin> AsyncWrite for WholeTurns<C> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.held.len() + bytes.len() <= HELD_BYTES {
            self.held.extend_from_slice(bytes);
            return Poll::Ready(Ok(bytes.len()));
        }
        self.poll_write_behind_held(context, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_close(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_end_turn(context))?;
        Pin::new(&mut self.socket).poll_close(context)
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

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

    impl AsyncRead for Narrow {
        fn poll_read(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
            _: &mut [u8],
        ) -> Poll<io::Result<usize>> {
            Poll::Pending
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

    /// Ends a turn as yamux does: by asking for something to read, again when it is woken.
    async fn end_turn(frames: &mut WholeTurns<Narrow>) {
        poll_fn(|context| {
            let read = Pin::new(&mut *frames).poll_read(context, &mut [0]);
            assert!(read.is_pending());
            match frames.held.is_empty() && !frames.unflushed {
                true => Poll::Ready(()),
                false => Poll::Pending,
            }
        })
        .await;
    }

    #[test]
    fn a_large_frame_leaves_in_one_write() {
        let mut frames = WholeTurns::over(Narrow::taking(usize::MAX));
        futures::executor::block_on(async {
            frames.write_all(&[1; HEADER_BYTES]).await.unwrap();
            frames.write_all(&[2; FRAME_BYTES]).await.unwrap();
        });
        assert_eq!(frames.socket.writes, 1);
        assert_eq!(frames.socket.written.len(), 4 * 16 * 1024);
    }

    #[test]
    fn small_frames_leave_in_one_write_when_there_is_nothing_more_to_read() {
        let mut frames = WholeTurns::over(Narrow::taking(usize::MAX));
        futures::executor::block_on(async {
            for _ in 0..3 {
                frames.write_all(&[1; HEADER_BYTES]).await.unwrap();
                frames.write_all(&[2; 100]).await.unwrap();
                frames.flush().await.unwrap();
            }
            assert_eq!(frames.socket.writes, 0);
            end_turn(&mut frames).await;
        });
        assert_eq!(frames.socket.writes, 1);
        assert_eq!(frames.socket.written.len(), 3 * (HEADER_BYTES + 100));
    }

    #[test]
    fn what_is_held_leaves_before_the_close() {
        let mut frames = WholeTurns::over(Narrow::taking(5));
        futures::executor::block_on(async {
            frames.write_all(&[1; HEADER_BYTES]).await.unwrap();
            frames.close().await.unwrap();
        });
        assert_eq!(frames.socket.written, [1; HEADER_BYTES]);
    }

    proptest! {
        #[test]
        fn everything_is_written_in_order_and_little_is_held(
            writes in prop::collection::vec((1..2 * HELD_BYTES, any::<u8>(), any::<bool>()), 0..20),
            most in 1..3 * HELD_BYTES,
        ) {
            let mut frames = WholeTurns::over(Narrow::taking(most));
            let mut expected = Vec::new();
            futures::executor::block_on(async {
                for (length, byte, ends_turn) in writes {
                    let bytes = vec![byte; length];
                    frames.write_all(&bytes).await.unwrap();
                    expected.extend(bytes);
                    assert!(frames.held.len() <= HELD_BYTES);
                    if ends_turn {
                        end_turn(&mut frames).await;
                    }
                }
                end_turn(&mut frames).await;
            });
            prop_assert_eq!(&frames.socket.written, &expected);
        }
    }
}
