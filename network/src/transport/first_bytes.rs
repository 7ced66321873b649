//! A socket whose other side has to say something soon: who opens connections and says nothing holds no place for
//! longer than it takes the slowest of honest peers to begin.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use futures::{AsyncRead, AsyncWrite};
use tokio::time::{Sleep, sleep};

pub(super) struct FirstBytes<S> {
    socket: S,
    /// Until something has come.
    deadline: Option<Pin<Box<Sleep>>>,
}

impl<S> FirstBytes<S> {
    pub(super) fn within(limit: Option<Duration>, socket: S) -> Self {
        Self {
            socket,
            deadline: limit.map(|limit| Box::pin(sleep(limit))),
        }
    }

    fn judged<T>(
        &mut self,
        read: Poll<io::Result<T>>,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<T>> {
        if read.is_ready() {
            self.deadline = None;
            return read;
        }
        let Some(deadline) = &mut self.deadline else {
            return Poll::Pending;
        };
        std::task::ready!(deadline.as_mut().poll(context));
        let silent = "the peer connected and said nothing";
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, silent)))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for FirstBytes<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let read = Pin::new(&mut self.socket).poll_read(context, buffer);
        self.judged(read, context)
    }

    fn poll_read_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffers: &mut [io::IoSliceMut<'_>],
    ) -> Poll<io::Result<usize>> {
        let read = Pin::new(&mut self.socket).poll_read_vectored(context, buffers);
        self.judged(read, context)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for FirstBytes<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.socket).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.socket).poll_write_vectored(context, pieces)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(context)
    }

    fn poll_close(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_close(context)
    }
}

#[cfg(test)]
mod tests {
    use futures::{AsyncReadExt, poll};
    use tokio::time::Instant;

    use super::*;

    const LIMIT: Duration = Duration::from_secs(3);

    /// Says so many bytes, and then nothing.
    struct Says(usize);

    impl AsyncRead for Says {
        fn poll_read(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
            buffer: &mut [u8],
        ) -> Poll<io::Result<usize>> {
            let said = self.0.min(buffer.len());
            self.0 -= said;
            match said {
                0 => Poll::Pending,
                said => Poll::Ready(Ok(said)),
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn who_says_nothing_is_waited_for_until_the_deadline() {
        let mut socket = FirstBytes::within(Some(LIMIT), Says(0));
        let began = Instant::now();
        let error = socket.read(&mut [0; 8]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert_eq!(began.elapsed().as_secs(), LIMIT.as_secs());
    }

    #[tokio::test(start_paused = true)]
    async fn who_has_said_something_may_take_his_time_and_whom_we_dialled_too() {
        for (limit, says) in [(Some(LIMIT), 1), (None, 0)] {
            let mut socket = FirstBytes::within(limit, Says(says));
            let mut buffer = [0; 8];
            if says > 0 {
                assert_eq!(socket.read(&mut buffer).await.unwrap(), says);
            }
            let mut more = socket.read(&mut buffer);
            assert!(poll!(&mut more).is_pending());
            tokio::time::advance(10 * LIMIT).await;
            assert!(poll!(&mut more).is_pending());
        }
    }
}
