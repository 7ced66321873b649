//! What files count.

use kit::metrics::show;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use sqlx::PgConnection;

use crate::files::tables;
use crate::metrics::Metrics;

pub struct FileMetrics {
    pub uploaded_bytes: Counter,
    pub downloaded_bytes: Counter,
    pub unreadable_chunks: Counter,
    uploads_open: Gauge,
}

impl FileMetrics {
    pub fn new(metrics: &mut Metrics) -> Self {
        Self {
            uploads_open: metrics.gauge(
                "uploads_open",
                "Uploads in steps that were begun and are neither complete nor given up",
            ),
            uploaded_bytes: metrics.counter("uploaded_bytes", "Bytes of completed files"),
            downloaded_bytes: metrics
                .counter("downloaded_bytes", "Bytes of files handed to clients"),
            unreadable_chunks: metrics.counter(
                "unreadable_chunks",
                "Chunks of which no replica could be read",
            ),
        }
    }

    /// Brings what the database says of uploads up to now.
    pub async fn measure(&self, connection: &mut PgConnection) -> sqlx::Result<()> {
        show(
            &self.uploads_open,
            tables::uploads::count_all_open(connection).await?,
        );
        Ok(())
    }
}
