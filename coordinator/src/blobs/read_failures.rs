//! Replicas that a read found missing or damaged are told to whoever looks after them, off the reader's path.
//! When more come than can be written down, the newest are dropped: another read finds them again.

use tokio::sync::mpsc;

use model::chunk::FailedRead;

const QUEUE: usize = 4096;

/// Where failed reads are reported.
#[derive(Debug, Clone)]
pub struct ReadFailures(mpsc::Sender<FailedRead>);

/// Those that were reported.
pub type Reported = mpsc::Receiver<FailedRead>;

impl ReadFailures {
    pub fn channel() -> (Self, Reported) {
        let (sender, reported) = mpsc::channel(QUEUE);
        (Self(sender), reported)
    }

    pub fn report(&self, failure: FailedRead) {
        tracing::warn!(
            node_id = %failure.node_id, blob_id = %failure.blob_id, reason = failure.reason,
            "a replica could not be read"
        );
        let _ = self.0.try_send(failure);
    }
}
