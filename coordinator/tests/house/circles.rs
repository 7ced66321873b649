//! Files do not use each other in circles. A folder's `mod.rs` and what is in it may: it is one room with a front.

use std::collections::{BTreeMap, BTreeSet};

use crate::source::{Module, modules, root};

const CRATES: [&str; 29] = [
    "proto",
    "coding",
    "sealing",
    "credentials",
    "evidence-check",
    "api",
    "kit",
    "network",
    "blobstore",
    "ledger",
    "model",
    "rules",
    "limits",
    "mail",
    "look",
    "site",
    "settings",
    "payments",
    "passkeys",
    "keyfiles",
    "gateway",
    "coordinator",
    "storage-node",
    "client",
    "fsn",
    "local-cluster",
    "bench",
    "futures-timer",
    "hostile",
];

fn is_one_room(one: &Module, other: &Module) -> bool {
    one.starts_with(other) || other.starts_with(one)
}

type Graph = BTreeMap<Module, BTreeSet<Module>>;

/// A way from `from` back to itself.
fn circle(graph: &Graph, from: &Module) -> Option<Vec<Module>> {
    let mut seen = BTreeSet::new();
    let mut ways: Vec<Vec<Module>> = vec![vec![from.clone()]];
    while let Some(way) = ways.pop() {
        for next in graph.get(way.last()?).into_iter().flatten() {
            if next == from {
                return Some(way);
            }
            if seen.insert(next.clone()) {
                ways.push([&way[..], std::slice::from_ref(next)].concat());
            }
        }
    }
    None
}

#[test]
fn no_files_use_each_other_in_a_circle() {
    let mut wrong = Vec::new();
    for name in CRATES {
        let src = root().join(name).join("src");
        assert!(src.is_dir(), "{src:?} is not there");
        let graph: Graph = modules(&src)
            .into_iter()
            .map(|(module, source)| {
                let others = source.named.into_iter();
                let others = others
                    .filter(|named| !is_one_room(&module, named))
                    .collect();
                (module, others)
            })
            .collect();
        let circles = graph.keys().filter_map(|module| circle(&graph, module));
        wrong.extend(circles.map(|way| {
            let way: Vec<String> = way.iter().map(|module| module.join("::")).collect();
            format!("{name}: {}", way.join(" -> "))
        }));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
