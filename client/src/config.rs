//! What a client is made of.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use kit::Entropy;
use sealing::end_to_end::Root;
use uuid::Uuid;

use crate::rest::Credentials;

/// A client's settings. [`ClientConfig::new`] has what is right for most; the rest can be set.
#[derive(Debug)]
pub struct ClientConfig {
    /// Coordinators of one network, the first of them first.
    pub urls: Vec<String>,
    pub credentials: Credentials,
    /// From which the keys of buckets come. `None`: nothing in buckets is sealed or opened, and uploads are not taken up
    /// again.
    pub root: Option<Root>,
    /// Buckets that are known to be sealed, and their ids: whatever a coordinator says of these names, nothing in another
    /// bucket, or in one that is not sealed, is taken for theirs.
    pub sealed_buckets: BTreeMap<String, Uuid>,
    /// Bytes a second, of all transfers together.
    pub limit_up: Option<u64>,
    pub limit_down: Option<u64>,
    /// Requests at the same time, at most.
    pub parallel: usize,
    /// How often a request is repeated that fails for the moment.
    pub repeats: usize,
    /// How long a coordinator may be silent.
    pub patience: Duration,
    /// Where uploads that are under way are noted. `None`: they cannot be taken up again.
    pub state_dir: Option<PathBuf>,
    pub entropy: Entropy,
}

impl ClientConfig {
    pub fn new(url: impl Into<String>, credentials: Credentials) -> Self {
        Self {
            urls: vec![url.into()],
            credentials,
            root: None,
            sealed_buckets: BTreeMap::new(),
            limit_up: None,
            limit_down: None,
            parallel: crate::pace::MOST,
            repeats: 9,
            patience: Duration::from_secs(60),
            state_dir: None,
            entropy: Entropy::system(),
        }
    }
}
