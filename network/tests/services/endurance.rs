//! What happens often leaves nothing behind.

use crate::support::{
    Pair, Wire, address_of, answer_all, heartbeat_is_answered, until_connected, until_disconnected,
};

const CYCLES: usize = 1000;

/// Resident memory of this process.
fn memory_bytes() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    let pages: usize = statm.split(' ').nth(1).unwrap().parse().unwrap();
    pages * 4096
}

fn tasks() -> usize {
    tokio::runtime::Handle::current()
        .metrics()
        .num_alive_tasks()
}

#[tokio::test]
async fn a_thousand_connections_one_after_another_leave_neither_tasks_nor_memory_behind() {
    let pair = Pair::over(Wire::Tcp).await;
    let (coordinator_id, node_id) = (pair.coordinator_id(), pair.node_id());
    let addr = address_of(&pair.coordinator).await;
    let (mut node, mut coordinator) = (pair.node, pair.coordinator);
    answer_all(coordinator.requests);
    let (mut tasks_before, mut memory_before) = (0, 0);
    for cycle in 0..CYCLES {
        node.handle.disconnect(coordinator_id).await;
        until_disconnected(&mut node.events, coordinator_id).await;
        until_disconnected(&mut coordinator.events, node_id).await;
        node.handle.dial(coordinator_id, vec![addr.clone()]).await;
        until_connected(&mut node.events, coordinator_id).await;
        until_connected(&mut coordinator.events, node_id).await;
        if cycle % 100 == 99 {
            heartbeat_is_answered(&node.handle, coordinator_id).await;
        }
        if cycle == 199 {
            (tasks_before, memory_before) = (tasks(), memory_bytes());
        }
    }
    assert!(
        tasks() <= tasks_before + 8,
        "{tasks_before} tasks became {}",
        tasks()
    );
    let growth = memory_bytes().saturating_sub(memory_before);
    // 800 connections that were kept would be some 100 MiB.
    assert!(
        growth < 16 << 20,
        "{growth} bytes more than after 200 cycles"
    );
}
