//! What files count.

use prometheus_client::metrics::counter::Counter;

use crate::metrics::Metrics;

pub struct FileMetrics {
    pub uploaded_bytes: Counter,
    pub downloaded_bytes: Counter,
    pub unreadable_chunks: Counter,
}

impl FileMetrics {
    pub fn new(metrics: &mut Metrics) -> Self {
        Self {
            uploaded_bytes: metrics.counter("uploaded_bytes", "Bytes of completed files"),
            downloaded_bytes: metrics
                .counter("downloaded_bytes", "Bytes of files handed to clients"),
            unreadable_chunks: metrics.counter(
                "unreadable_chunks",
                "Chunks of which no replica could be read",
            ),
        }
    }
}
