//! A network for a test, in a line: storage nodes, a coordinator, and clients of users that nobody else is.

use ::client::{Client, ClientConfig};
use anyhow::Result;
use kit::Entropy;
use sealing::end_to_end::Root;

use crate::client::Credentials;
use crate::cluster::{Member, UpOptions};
use crate::secret::new_secret;
use crate::temporary::TemporaryCluster;

/// What a user of [`LocalNetwork::client`] buys first, with pretended money: enough for gigabytes.
const FIRST_PURCHASE_USD: u32 = 10;

/// A network of real processes on this machine. It ends with the process that started it, and leaves nothing behind.
///
/// ```no_run
/// use local_cluster::LocalNetwork;
///
/// # async fn example() -> anyhow::Result<()> {
/// let network = LocalNetwork::new(3).await?;
/// let user = network.user().await?;
/// let (one, other) = (user.client()?, user.client()?);
/// let map = one.store_bytes("what one stores").await?;
/// network.kill(1).await?;
/// assert_eq!(other.get_bytes(&map).await?, "what one stores");
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct LocalNetwork {
    cluster: TemporaryCluster,
}

/// An account with credits. Its clients are as those of different machines with the same words.
#[derive(Debug)]
pub struct LocalUser {
    urls: Vec<String>,
    credentials: Credentials,
    root: Root,
}

impl LocalNetwork {
    /// With so many storage nodes, three at least if files are to be stored; returns when they can be.
    pub async fn new(nodes: usize) -> Result<Self> {
        let options = UpOptions {
            nodes: Some(nodes),
            without_fsync: true,
            ..UpOptions::default()
        };
        Ok(Self {
            cluster: TemporaryCluster::start(options).await?,
        })
    }

    /// The coordinator's.
    pub fn url(&self) -> String {
        self.cluster.base_url()
    }

    /// The processes, to be stopped, paused and started one by one.
    pub fn cluster(&self) -> &TemporaryCluster {
        &self.cluster
    }

    /// Ends a storage node at once; they are counted from 1.
    pub async fn kill(&self, node: usize) -> Result<()> {
        self.cluster.kill(Member::Node(node)).await
    }

    /// A new account.
    pub async fn user(&self) -> Result<LocalUser> {
        let entropy = Entropy::system();
        let random = &mut entropy.rng();
        let email = format!("{}@example.com", new_secret(random));
        let password = new_secret(random);
        let endpoint = self.cluster.client()?;
        endpoint.register(&email, &password).await?;
        let session = endpoint.login(&email, &password).await?;
        session.purchase(FIRST_PURCHASE_USD).await?;
        let coordinators = 1..=self.cluster.coordinator_count();
        let urls =
            coordinators.map(|number| Ok(self.cluster.client_of(number)?.base_url().to_owned()));
        Ok(LocalUser {
            urls: urls.collect::<Result<_>>()?,
            credentials: Credentials::Password { email, password },
            root: Root::generate(random),
        })
    }
}

impl LocalUser {
    /// Settings of a client, to be changed before [`Client::new`].
    pub fn config(&self) -> ClientConfig {
        let mut config = ClientConfig::new("", self.credentials.clone());
        config.urls = self.urls.clone();
        config.root = Some(self.root.clone());
        config
    }

    pub fn client(&self) -> Result<Client> {
        Ok(Client::new(self.config())?)
    }
}
