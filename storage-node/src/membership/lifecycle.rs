//! What the node does at present: it runs, is leaving the network, cannot write, or is shutting down.

use std::sync::Arc;

use blobstore::Store;
use proto::NodeActivity;
use tokio_util::sync::CancellationToken;

use super::coordinators::Coordinators;

/// Clones tell the same.
#[derive(Debug, Clone)]
pub(crate) struct Lifecycle {
    store: Store,
    coordinators: Arc<Coordinators>,
    stopping: CancellationToken,
}

impl Lifecycle {
    pub(crate) fn new(store: Store, coordinators: Arc<Coordinators>) -> Self {
        Self {
            store,
            coordinators,
            stopping: CancellationToken::new(),
        }
    }

    /// From now on nothing new is taken.
    pub(crate) fn stop(&self) {
        self.stopping.cancel();
    }

    pub(crate) fn is_stopping(&self) -> bool {
        self.stopping.is_cancelled()
    }

    pub(crate) fn is_draining(&self) -> bool {
        self.coordinators.say_it_drains()
    }

    pub(crate) async fn activity(&self) -> NodeActivity {
        if self.is_stopping() {
            NodeActivity::Stopping
        } else if self.store.fault().await.is_some() {
            NodeActivity::ReadOnly
        } else if self.is_draining() {
            NodeActivity::Draining
        } else {
            NodeActivity::Running
        }
    }
}
