//! A peer that asks everybody to dial it back at an address that is not its own but somebody's in their network: who
//! does so tells it, by the outcome, which ports are open there.

use std::net::Ipv4Addr;
use std::time::Duration;

use anyhow::Result;
use futures::StreamExt;
use libp2p::swarm::{FromSwarm, NetworkBehaviour, NewExternalAddrCandidate, SwarmEvent};
use libp2p::{Multiaddr, Swarm, autonat, identify, noise, tcp, yamux};
use network::Keypair;
use tokio::net::TcpListener;

use super::outsider::Outsider;
use super::tally::Tally;

const PROBE_EVERY: Duration = Duration::from_millis(200);
const DIAL_EVERY: Duration = Duration::from_secs(2);

#[derive(NetworkBehaviour)]
struct Behaviour {
    identify: identify::Behaviour,
    autonat: autonat::v2::client::Behaviour,
}

pub(super) async fn run(outsider: &Outsider, tally: &Tally) -> Result<()> {
    // Stands for what listens in the network of nodes and coordinators, and has nothing to do with peers.
    let victim = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let port = victim.local_addr()?.port();
    let candidates: Vec<Multiaddr> = vec![
        format!("/ip4/127.0.0.1/tcp/{port}").parse()?,
        format!("/dns4/localhost/tcp/{port}").parse()?,
    ];
    tokio::select! {
        outcome = scan(outsider, &candidates, tally) => outcome,
        outcome = watch(&victim, tally) => outcome,
    }
}

async fn scan(outsider: &Outsider, candidates: &[Multiaddr], tally: &Tally) -> Result<()> {
    loop {
        // A fresh identity for each round, as those that are not registered are hung up on.
        let mut swarm = swarm()?;
        for addr in &outsider.peer_addrs {
            tally.note(match swarm.dial(addr.clone()) {
                Ok(()) => "dialled",
                Err(_) => "not dialled",
            });
        }
        for addr in candidates {
            let candidate = FromSwarm::NewExternalAddrCandidate(NewExternalAddrCandidate { addr });
            swarm.behaviour_mut().autonat.on_swarm_event(candidate);
        }
        let asking = ask(&mut swarm, tally);
        let _ = tokio::time::timeout(DIAL_EVERY, asking).await;
    }
}

async fn watch(victim: &TcpListener, tally: &Tally) -> Result<()> {
    loop {
        let (_, from) = victim.accept().await?;
        tally.broken(format!("a port in the network was dialled, from {from}"));
    }
}

async fn ask(swarm: &mut Swarm<Behaviour>, tally: &Tally) {
    loop {
        if let SwarmEvent::Behaviour(BehaviourEvent::Autonat(event)) =
            swarm.select_next_some().await
        {
            tally.note(match event.result {
                Ok(()) => "dialled back",
                Err(_) => "not dialled back",
            });
        }
    }
}

fn swarm() -> Result<Swarm<Behaviour>> {
    let config = autonat::v2::client::Config::default().with_probe_interval(PROBE_EVERY);
    let rng = kit::Entropy::system().rng();
    let swarm = libp2p::SwarmBuilder::with_existing_identity(Keypair::generate_ed25519())
        .with_tokio()
        .with_tcp(
            tcp::Config::default().nodelay(true),
            noise::Config::new,
            yamux::Config::default,
        )?
        .with_behaviour(|key| Behaviour {
            identify: identify::Behaviour::new(identify::Config::new(
                "/fsn/1".to_owned(),
                key.public(),
            )),
            autonat: autonat::v2::client::Behaviour::new(rng, config),
        })?
        .build();
    Ok(swarm)
}
