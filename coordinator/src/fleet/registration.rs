//! Letting storage nodes in: registration over HTTP, then `hello` and `heartbeat` over libp2p.

use crate::bookkeeping::chart;
use crate::security;
use crate::security::{Event, EventKind, Outcome};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};
use proto::{
    HeartbeatAnswer, HeartbeatReport, HelloAnswer, HelloReport, Instance, InstanceId, MicroCredits,
    NetworkContext, NodeActivity, NodeId, PeerId, Registration, RegistrationForm, Signature,
};
use rand::Rng;
use sqlx::Connection;
use zeroize::Zeroizing;

use crate::accounts::secrets;
use crate::config::Admission;
use crate::facts::Fact;
use crate::fleet::{Live, Member, NewMember, Nodes, Standing, tables};
use rules::instance::{self, Elsewhere};
use rules::reputation::hold;

use model::ids::{UserId, uuid_v7};
use model::names::{NodeName, Region};
use model::node::Node;
use model::node_state::{NetworkPrefix, NodeState};

const NONCE_TTL: Duration = Duration::from_secs(300);

#[derive(Debug, thiserror::Error)]
pub enum RegisterError {
    #[error("the nonce was not handed out, was used before, or has expired")]
    BadNonce,
    #[error("the signature was not made by the key of this peer id over these values")]
    BadSignature,
    #[error(
        "this registration is signed in the old form, which leaves region and token open to whoever passes it on: upgrade \
         the storage-node program"
    )]
    OldForm,
    #[error("this network admits nodes by token only")]
    TokenRequired,
    #[error("the admission token is not valid, has expired, or belongs to another node")]
    BadToken,
    #[error("this peer id is not on the network's allow-list")]
    NotAllowed,
    #[error("this node was disqualified: {0}")]
    Disqualified(String),
    #[error(transparent)]
    Database(#[from] sqlx::Error),
}

/// A single-use number, good for five minutes.
pub async fn hand_out_nonce(nodes: &Nodes) -> sqlx::Result<([u8; 32], Timestamp)> {
    let mut nonce = [0; 32];
    nodes.entropy.rng().fill_bytes(&mut nonce);
    let expires_at = after(nodes.clock.now(), NONCE_TTL);
    let mut connection = nodes.db.acquire().await?;
    tables::nodes::insert_nonce(&mut connection, &nonce, expires_at).await?;
    Ok((nonce, expires_at))
}

/// What a node asks to be registered as.
#[derive(Debug)]
pub struct RegisterRequest {
    pub peer_id: PeerId,
    pub name: NodeName,
    pub region: Option<Region>,
    /// As it was sent, which is what was signed.
    pub region_said: Option<String>,
    pub capacity_bytes: u64,
    pub nonce: [u8; 32],
    pub form: RegistrationForm,
    pub signature: Signature,
    pub token: Option<Zeroizing<String>>,
}

#[derive(Debug)]
pub struct Registered {
    pub node_id: NodeId,
    pub api_key: Zeroizing<String>,
    pub state: NodeState,
}

/// Registers a node that proves to own its key. The same peer id gives the same node and a new API
/// key; the old one is void.
pub async fn register(
    nodes: &Nodes,
    request: &RegisterRequest,
) -> Result<Registered, RegisterError> {
    let mut transaction = nodes.db.begin().await?;
    if !tables::nodes::use_nonce(&mut transaction, &request.nonce).await? {
        return Err(RegisterError::BadNonce);
    }
    let statement = Registration {
        context: NetworkContext {
            network_id: nodes.network_id,
            peer_id: request.peer_id,
        },
        nonce: request.nonce,
        name: request.name.as_str().to_owned(),
        capacity_bytes: request.capacity_bytes,
        region: request.region_said.clone(),
        token_hash: request
            .token
            .as_deref()
            .map(|token| Registration::token_hash(token)),
    };
    statement
        .verify(request.form, &request.signature)
        .map_err(|_| RegisterError::BadSignature)?;
    if !is_form_enough(nodes.config.admission, request) {
        return Err(RegisterError::OldForm);
    }
    let token_hash = request.token.as_deref().map(|token| secrets::hash(token));
    let admitted = admit(nodes, &mut transaction, request, token_hash.as_ref()).await?;

    let api_key = secrets::generate("fsnn", &mut nodes.entropy.rng());
    let node = tables::nodes::NewNode {
        id: NodeId::from_uuid(uuid_v7(nodes.clock.now(), &mut nodes.entropy.rng())),
        peer_id: request.peer_id,
        name: &request.name,
        region: request.region.as_ref(),
        capacity_bytes: i64::try_from(request.capacity_bytes).unwrap_or(i64::MAX),
        operator: admitted.operator,
        api_key_hash: &secrets::hash(&api_key),
    };
    let (node_id, state) = tables::nodes::upsert(&mut transaction, &node).await?;
    if state == NodeState::Disqualified {
        let node = tables::nodes::by_id(&mut transaction, node_id).await?;
        let reason = node.map(|node| node.state_reason).unwrap_or_default();
        return Err(RegisterError::Disqualified(reason));
    }
    ledger::open_accounts(&mut transaction, node_id.as_uuid(), &chart::OF_NODES).await?;
    let registered = Fact::NodeRegistered {
        node: node_id,
        state,
        at: nodes.clock.now(),
    };
    nodes.facts.tell(&mut transaction, registered).await?;
    if let (Some(hash), true) = (&token_hash, admitted.single_use) {
        tables::nodes::mark_token_used(&mut transaction, hash, node_id).await?;
    }
    let subject = format!("node {node_id}, peer {}", request.peer_id);
    let event = Event {
        kind: EventKind::NodeAdmitted,
        outcome: Outcome::Done,
        user: admitted.operator,
        subject: Some(&subject),
    };
    security::count(&mut transaction, event, nodes.clock.now()).await?;
    transaction.commit().await?;
    nodes.admission.note_registered(request.peer_id);
    tracing::info!(%node_id, peer_id = %request.peer_id, name = %request.name, "a node registered");
    Ok(Registered {
        node_id,
        api_key,
        state,
    })
}

/// Nodes of the release before sign neither region nor token. Where any node may join there is nothing to be gained by
/// passing such a registration on with another region, but a token in it would make a stranger the node's operator.
fn is_form_enough(admission: Admission, request: &RegisterRequest) -> bool {
    match request.form {
        RegistrationForm::V2 => true,
        RegistrationForm::V1 => admission == Admission::Open && request.token.is_none(),
    }
}

struct Admitted {
    operator: Option<UserId>,
    /// By a token that is used up with this.
    single_use: bool,
}

async fn admit(
    nodes: &Nodes,
    connection: &mut sqlx::PgConnection,
    request: &RegisterRequest,
    token_hash: Option<&[u8; 32]>,
) -> Result<Admitted, RegisterError> {
    let config = &nodes.config;
    if config.admission == Admission::Allowlist {
        let peer_id = request.peer_id.to_string();
        if !config.allowed_peers.contains(&peer_id) {
            return Err(RegisterError::NotAllowed);
        }
    }
    // A token names the operator, whatever the admission; it has to be good if one is given.
    match token_hash {
        Some(hash) if nodes.bootstrap_token == Some(*hash) => Ok(Admitted {
            operator: None,
            single_use: false,
        }),
        Some(hash) => {
            let found = tables::nodes::lock_token(connection, hash, &request.peer_id).await?;
            Ok(Admitted {
                operator: found.ok_or(RegisterError::BadToken)?,
                single_use: true,
            })
        }
        // A token has let it in before, and its key has signed now.
        None if config.admission == Admission::Token
            && tables::nodes::by_peer_id(connection, &request.peer_id)
                .await?
                .is_none() =>
        {
            Err(RegisterError::TokenRequired)
        }
        None => Ok(Admitted {
            operator: None,
            single_use: false,
        }),
    }
}

/// `hello`: the first exchange on a connection. The peer id was proven by the connection; here it is
/// matched with what was registered.
pub async fn hello(
    nodes: &Nodes,
    peer: PeerId,
    from: Option<IpAddr>,
    report: HelloReport,
) -> sqlx::Result<HelloAnswer> {
    if !nodes.admission.is_registered(&peer).await? {
        return Ok(HelloAnswer {
            rejection: Some(
                "this peer is not registered here: run `storage-node init` again".to_owned(),
            ),
            network_serial: nodes.document.get().serial,
            hang_up: false,
        });
    }
    let mut connection = nodes.db.acquire().await?;
    let node = tables::nodes::by_id(&mut connection, report.node_id).await?;
    if let Some(newcomer) = node.as_ref().filter(|node| node.last_seen_at.is_none())
        && newcomer.peer_id == peer
        && report.blob_count > 0
    {
        tables::awaiting_restore::keep_out_newcomer(&mut connection, newcomer.id).await?;
    }
    let rejection = match &node {
        Some(node) if node.peer_id != peer => Some(
            "this node id was registered with another identity key: run `storage-node init` again"
                .to_owned(),
        ),
        Some(node) if node.state == NodeState::Disqualified => {
            Some(format!("this node was disqualified: {}", node.state_reason))
        }
        Some(node) if is_kept_out(&mut connection, node.id).await? => Some(
            "the network's database was restored, and this node has not been gone through since. It is let in \
             when the network's administrator has run `coordinator restore begin`; keep its data until then"
                .to_owned(),
        ),
        Some(_) => None,
        None => Some("this node is not registered here: run `storage-node init` again".to_owned()),
    };
    let elsewhere = match (&rejection, &node, &report.instance) {
        (None, Some(node), Some(said)) => take_instance(nodes, &mut connection, node, said).await?,
        _ => None,
    };
    let hang_up = elsewhere.is_some();
    let rejection = rejection.or(elsewhere.map(|elsewhere| elsewhere.to_string()));
    if let (None, Some(node)) = (&rejection, node) {
        tables::nodes::record_hello(&mut connection, node.id, &report.software, from).await?;
        drop(connection);
        let activity = if report.draining {
            NodeActivity::Draining
        } else {
            NodeActivity::Running
        };
        let heartbeat = HeartbeatReport {
            capacity_bytes: report.capacity_bytes,
            used_bytes: report.used_bytes,
            free_bytes: report.free_bytes,
            blob_count: report.blob_count,
            activity,
            deferred: report.deferred,
        };
        tracing::info!(node_id = %node.id, name = node.name, %peer, "a node is online");
        let instance = report.instance.map(|said| said.id);
        let prefix = from.and_then(NetworkPrefix::of);
        admit_to_fleet(nodes, &node, instance, prefix, &heartbeat);
    }
    Ok(HelloAnswer {
        rejection,
        network_serial: nodes.document.get().serial,
        hang_up,
    })
}

/// Takes this copy of the node's data directory for the node, or says which other one is.
async fn take_instance(
    nodes: &Nodes,
    connection: &mut sqlx::PgConnection,
    node: &Node,
    said: &Instance,
) -> sqlx::Result<Option<Elsewhere>> {
    let mut transaction = connection.begin().await?;
    let known = tables::nodes::lock_instance(&mut transaction, node.id).await?;
    let connected = connected_instance(nodes, node);
    if let Err(elsewhere) = instance::judge(known, connected, said) {
        tracing::warn!(
            node_id = %node.id, name = node.name, ?elsewhere, said = %said.id, known = ?known,
            "a copy of a node's data directory is in use beside it"
        );
        return Ok(Some(elsewhere));
    }
    if known != Some(said.id) {
        tables::nodes::set_instance(&mut transaction, node.id, said.id).await?;
    }
    transaction.commit().await?;
    Ok(None)
}

/// Which copy is here: over another connection than the one that asks, and heard of lately.
fn connected_instance(nodes: &Nodes, node: &Node) -> Option<InstanceId> {
    let member = nodes.fleet.member(node.id)?;
    let is_here = member.is_online() && nodes.fleet.connections(&node.peer_id) > 1;
    member.instance.filter(|_| is_here)
}

async fn is_kept_out(connection: &mut sqlx::PgConnection, node: NodeId) -> sqlx::Result<bool> {
    let kept_out = tables::awaiting_restore::kept_out(connection, &[node]).await?;
    Ok(!kept_out.is_empty())
}

fn admit_to_fleet(
    nodes: &Nodes,
    node: &Node,
    instance: Option<InstanceId>,
    prefix: Option<NetworkPrefix>,
    report: &HeartbeatReport,
) -> Arc<Member> {
    let member = nodes.fleet.admit(NewMember {
        node_id: node.id,
        peer_id: node.peer_id,
        instance,
        operator: node.operator.map(|id| id.as_uuid()),
        region: node.region.clone(),
        standing: Standing {
            state: node.state,
            state_reason: node.state_reason.clone(),
            hold: hold(&node.holds, nodes.clock.now()),
            earned: MicroCredits::ZERO, // until the liveness worker has looked
        },
        live: Live {
            activity: report.activity,
            capacity_bytes: report.capacity_bytes,
            used_bytes: report.used_bytes,
            free_bytes: report.free_bytes,
            blob_count: report.blob_count,
            deferred: report.deferred,
            prefix,
            heard: Instant::now(),
        },
    });
    nodes.purge_wake.wake();
    member
}

/// `heartbeat`: what the node reports is kept in memory and written in batches by the liveness
/// worker. A node that this coordinator does not have among its members is let in again, as after
/// `hello`. `None` when the peer is no registered node, or one that `hello` would refuse.
pub async fn heartbeat(
    nodes: &Nodes,
    peer: PeerId,
    from: Option<IpAddr>,
    report: HeartbeatReport,
) -> sqlx::Result<Option<HeartbeatAnswer>> {
    let prefix = from.and_then(NetworkPrefix::of);
    let member = match nodes.fleet.member_of_peer(&peer) {
        Some(member) => {
            nodes.fleet.heard(&member, |live| {
                live.capacity_bytes = report.capacity_bytes;
                live.used_bytes = report.used_bytes;
                live.free_bytes = report.free_bytes;
                live.blob_count = report.blob_count;
                live.deferred = report.deferred;
                live.activity = report.activity;
                live.prefix = prefix.or(live.prefix);
            });
            member
        }
        None => {
            if !nodes.admission.is_registered(&peer).await? {
                return Ok(None);
            }
            let mut connection = nodes.db.acquire().await?;
            let node = tables::nodes::by_peer_id(&mut connection, &peer).await?;
            let Some(node) = node.filter(|node| node.state != NodeState::Disqualified) else {
                return Ok(None);
            };
            if is_kept_out(&mut connection, node.id).await? {
                return Ok(None); // it is told why when it says hello again
            }
            // Another one would have been told to hang up when it said hello.
            let instance = tables::nodes::instance(&mut connection, node.id).await?;
            drop(connection);
            admit_to_fleet(nodes, &node, instance, prefix, &report)
        }
    };
    let standing = member.standing();
    Ok(Some(HeartbeatAnswer {
        earned: standing.earned,
        server_time_ms: u64::try_from(nodes.clock.now().as_millisecond()).unwrap_or(0),
        state: standing.state.name().to_owned(),
        state_reason: standing.state_reason,
        network_serial: nodes.document.get().serial,
        last_ledger_day: nodes.ledger_day.load().as_deref().cloned(),
    }))
}

pub(super) fn after(now: Timestamp, duration: Duration) -> Timestamp {
    let duration = SignedDuration::try_from(duration).unwrap_or(SignedDuration::MAX);
    now.saturating_add(duration).unwrap_or(Timestamp::MAX)
}
