//! What the node signs with: its key, and the network that it signs in.

use libp2p_identity::Keypair;
use proto::NetworkContext;

#[derive(Clone)]
pub(crate) struct Signer {
    pub keypair: Keypair,
    pub context: NetworkContext,
}
