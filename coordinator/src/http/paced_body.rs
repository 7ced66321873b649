//! A file's body, whose client may be slow and may pause, within the bounds of [`LeastRate`].

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::body::{Body, BodyDataStream};
use bytes::Bytes;
use futures::Stream;
use rules::least_rate::LeastRate;
use tokio::time::{Instant, Sleep};

pub(super) struct PacedBody {
    frames: BodyDataStream,
    rate: LeastRate,
    /// Since when the client is waited for.
    since: Option<Instant>,
    timer: Pin<Box<Sleep>>,
}

impl PacedBody {
    /// `longest_pause`: how long a client that was fast enough before may send nothing.
    pub(super) fn new(body: Body, longest_pause: Duration) -> Self {
        Self {
            frames: body.into_data_stream(),
            rate: LeastRate::new(longest_pause),
            since: None,
            timer: Box::pin(tokio::time::sleep(Duration::ZERO)),
        }
    }
}

impl Stream for PacedBody {
    type Item = io::Result<Bytes>;

    fn poll_next(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Bytes>>> {
        if let Poll::Ready(frame) = Pin::new(&mut self.frames).poll_next(context) {
            let waited = self.since.take().map_or(Duration::ZERO, |t| t.elapsed());
            if let Some(Ok(bytes)) = &frame {
                let bytes = bytes.len();
                self.rate.note(waited, bytes);
            }
            return Poll::Ready(frame.map(|frame| frame.map_err(io::Error::other)));
        }
        if self.since.is_none() {
            let now = Instant::now();
            let until = now + self.rate.patience();
            self.since = Some(now);
            self.timer.as_mut().reset(until);
        }
        ready!(self.timer.as_mut().poll(context));
        Poll::Ready(Some(Err(io::ErrorKind::TimedOut.into())))
    }
}

#[cfg(test)]
mod tests {
    use futures::{StreamExt, stream};

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[tokio::test(start_paused = true)]
    async fn a_body_of_which_too_little_comes_is_given_up() {
        let little = stream::iter([Ok::<_, io::Error>(Bytes::from_static(b"x"))]);
        let body = Body::from_stream(little.chain(stream::pending()));
        let mut paced = PacedBody::new(body, 60 * SECOND);
        assert_eq!(paced.next().await.unwrap().unwrap(), "x");
        let began = Instant::now();
        let late = paced.next().await.unwrap().unwrap_err();
        assert_eq!(late.kind(), io::ErrorKind::TimedOut);
        assert!((4 * SECOND..6 * SECOND).contains(&began.elapsed()));
    }

    #[tokio::test(start_paused = true)]
    async fn time_in_which_nobody_asks_does_not_count() {
        let slow = stream::unfold((), |()| async {
            tokio::time::sleep(SECOND).await;
            Some((Ok::<_, io::Error>(Bytes::from(vec![0; 32 * 1024])), ()))
        });
        let mut paced = PacedBody::new(Body::from_stream(slow), 60 * SECOND);
        for _ in 0..100 {
            paced.next().await.unwrap().unwrap();
            tokio::time::sleep(60 * SECOND).await;
        }
    }
}
