//! An answer that comes before the request's body has been read: a refusal, most likely. The rest of the body is read
//! and dropped for a while, within bounds. Closing at once would have the kernel reset the connection, and a client that
//! is still sending, a proxy above all, would be told of that and never see the answer.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Version, header};
use http_body_util::BodyExt;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use tokio::sync::oneshot;

use crate::connections::UnderWay;

/// What is read of a body that nobody wants, at most.
const MOST_BYTES: u64 = 64 * 1024 * 1024;

const MOST_TIME: Duration = Duration::from_secs(15);

/// A request's body, which is read on when it is dropped before its end.
pub struct RequestBody {
    inner: Option<Incoming>,
    /// Set where it should be.
    on_drop: Option<ReadOn>,
}

struct ReadOn {
    answered: oneshot::Receiver<()>,
    /// The connection has something to do for so long.
    under_way: Arc<UnderWay>,
}

/// To be used when the answer is on its way, so that a client that waits for `100 Continue` sees that first.
pub struct Answered(oneshot::Sender<()>);

impl Answered {
    pub fn tell(self) {
        let _ = self.0.send(());
    }
}

pub fn wrap(
    request: Request<Incoming>,
    under_way: Arc<UnderWay>,
) -> (Request<RequestBody>, Answered) {
    let (sender, answered) = oneshot::channel();
    // HTTP/2 ends one stream and no other. Who waits to be told to go on does not send what is not wanted.
    let sends_anyway =
        request.version() < Version::HTTP_2 && !request.headers().contains_key(header::EXPECT);
    let request = request.map(|inner| RequestBody {
        inner: Some(inner),
        on_drop: sends_anyway.then_some(ReadOn {
            answered,
            under_way,
        }),
    });
    (request, Answered(sender))
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let Some(inner) = &mut self.inner else {
            return Poll::Ready(None);
        };
        let polled = Pin::new(inner).poll_frame(context);
        if matches!(polled, Poll::Ready(None | Some(Err(_)))) {
            self.inner = None;
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.inner.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.inner
            .as_ref()
            .map_or_else(|| SizeHint::with_exact(0), Body::size_hint)
    }
}

impl Drop for RequestBody {
    fn drop(&mut self) {
        let (Some(inner), Some(read_on)) = (self.inner.take(), self.on_drop.take()) else {
            return;
        };
        if inner.is_end_stream() {
            return;
        }
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move {
                let _ = tokio::time::timeout(MOST_TIME, read_on.run(inner)).await;
            });
        }
    }
}

impl ReadOn {
    async fn run(self, mut body: Incoming) {
        let _under_way = self.under_way;
        if self.answered.await.is_err() {
            return; // there will be no answer
        }
        let mut read = 0;
        while let Some(Ok(frame)) = body.frame().await {
            read += frame.data_ref().map_or(0, Bytes::len) as u64;
            if read > MOST_BYTES {
                return;
            }
        }
    }
}
