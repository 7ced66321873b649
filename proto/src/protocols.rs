//! The protocols of a storage network: what coordinators and nodes ask of each other.
//!
//! A program hands [`TABLE`] to the peer layer, together with the roles that it holds.

use std::time::Duration;

use crate::{Lane, ProtocolSpec, Roles};

/// What the names of all protocols here begin with, and what peers tell each other that they speak.
pub const FAMILY: &str = "/federated-storage/1.0.0";

const KIB: usize = 1024;
const MIB: usize = 1024 * KIB;

pub const HELLO: ProtocolSpec = of_nodes("/federated-storage/1.0.0/hello");
pub const HEARTBEAT: ProtocolSpec = of_nodes("/federated-storage/1.0.0/heartbeat");
pub const REPORT_LOSS: ProtocolSpec = of_nodes("/federated-storage/1.0.0/report-loss");
pub const STORE_CHUNK: ProtocolSpec = with_blobs("/federated-storage/1.0.0/store-chunk");
pub const RETRIEVE_CHUNK: ProtocolSpec = with_blobs("/federated-storage/1.0.0/retrieve-chunk");
pub const DELETE_CHUNK: ProtocolSpec =
    of_coordinators("/federated-storage/1.0.0/delete-chunk", 64 * KIB);
pub const PROOF_CHALLENGE: ProtocolSpec =
    of_coordinators("/federated-storage/1.0.0/proof-challenge", MIB);
pub const INVENTORY: ProtocolSpec = of_coordinators("/federated-storage/1.0.0/inventory", MIB);

/// All of them.
pub const TABLE: [ProtocolSpec; 8] = [
    HELLO,
    HEARTBEAT,
    REPORT_LOSS,
    STORE_CHUNK,
    RETRIEVE_CHUNK,
    DELETE_CHUNK,
    PROOF_CHALLENGE,
    INVENTORY,
];

/// What a node asks of a coordinator.
const fn of_nodes(name: &'static str) -> ProtocolSpec {
    ProtocolSpec {
        name,
        initiator: Roles::NODE,
        server: Roles::COORDINATOR,
        lane: Lane::Control,
        max_frame_bytes: 64 * KIB,
        timeout: Duration::from_secs(10),
    }
}

/// What a coordinator asks of a node.
const fn of_coordinators(name: &'static str, max_frame_bytes: usize) -> ProtocolSpec {
    ProtocolSpec {
        name,
        initiator: Roles::COORDINATOR,
        server: Roles::NODE,
        lane: Lane::Control,
        max_frame_bytes,
        timeout: Duration::from_secs(10),
    }
}

const fn with_blobs(name: &'static str) -> ProtocolSpec {
    ProtocolSpec {
        lane: Lane::Data,
        timeout: Duration::from_secs(60),
        ..of_coordinators(name, 5 * MIB)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As `docs/protocols.md` lists them.
    #[test]
    fn every_protocol_has_the_direction_the_cap_and_the_time_that_are_documented() {
        let page = include_str!("../../docs/protocols.md");
        for protocol in TABLE {
            let name = protocol.name.strip_prefix(FAMILY).unwrap();
            let name = name.strip_prefix('/').unwrap();
            let row = page
                .lines()
                .find(|line| line.starts_with(&format!("| `{name}` |")));
            let columns: Vec<&str> = row.unwrap().split('|').map(str::trim).collect();
            let (initiator, server) = match columns[2] {
                "node" => (Roles::NODE, Roles::COORDINATOR),
                "coordinator" => (Roles::COORDINATOR, Roles::NODE),
                other => panic!("{other}"),
            };
            let (number, unit) = columns[4].split_once(' ').unwrap();
            let unit = if unit == "KiB" { KIB } else { MIB };
            let seconds = columns[5].strip_suffix(" s").unwrap();
            let documented = ProtocolSpec {
                name: protocol.name,
                initiator,
                server,
                lane: match name {
                    "store-chunk" | "retrieve-chunk" => Lane::Data,
                    _ => Lane::Control,
                },
                max_frame_bytes: number.parse::<usize>().unwrap() * unit,
                timeout: Duration::from_secs(seconds.parse().unwrap()),
            };
            assert_eq!(protocol, documented);
        }
    }
}
