//! What is measured: the reference names all of it, and queues and states that are empty are there as 0.

use std::path::Path;

use coordinator::http::metrics_router;
use kit::{Statuses, reference};
use sqlx::PgPool;

use crate::support::{Client, Coordinator, eventually};

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn the_reference_of_metrics_is_what_the_coordinator_registers(pool: PgPool) {
    let coordinator = Coordinator::start(pool).await;
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/metrics.md");
    let told = coordinator.app.metrics.reference();
    reference::holds(&page, "coordinator", &told).unwrap();
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn states_queues_pools_and_budgets_are_measured_from_the_start(pool: PgPool) {
    let (coordinator, _nodes) = Coordinator::with_fleet(pool, &[]).await;
    let (_, client) = coordinator.customer().await;
    client.upload("a file", b"some bytes").await;
    coordinator.start_workers();
    let metrics = Client::new(metrics_router(&coordinator.app, Statuses::default()), None);
    let shown = || async {
        let text = String::from_utf8(metrics.get("/metrics").await.bytes().to_vec()).unwrap();
        let line = |line: &str| text.lines().any(|shown| shown.starts_with(line));
        let measured = line(r#"fsn_coordinator_nodes{state="probation"} 3"#)
            || line(r#"fsn_coordinator_nodes{state="active"} 3"#);
        (measured && line(r#"fsn_coordinator_repair_queue{healthy="0"} 0"#)).then_some(text)
    };
    let text = eventually(shown).await;
    for begins in [
        r#"fsn_coordinator_nodes{state="disqualified"} 0"#,
        r#"fsn_coordinator_nodes_offline{state="active"} 0"#,
        r#"fsn_coordinator_repair_queue{healthy="3"} 0"#,
        r#"fsn_coordinator_blob_transfers_total{direction="store",outcome="done"} 3"#,
        r#"fsn_coordinator_blob_transfer_seconds_count{direction="store"} 3"#,
        r#"fsn_coordinator_memory_used_bytes{of="downloads"} 0"#,
        r#"fsn_coordinator_database_connections{state="idle"}"#,
        "fsn_coordinator_database_waiting ",
        "fsn_coordinator_uploads_open 0",
        "fsn_coordinator_purges_waiting 0",
        "fsn_coordinator_payouts_pending 0",
        "fsn_coordinator_settled_age_seconds ",
        "fsn_coordinator_audit_overdue_seconds ",
        "fsn_coordinator_build_info{version=",
        "fsn_coordinator_process_cpu_seconds_total ",
        r#"fsn_coordinator_http_request_seconds_count{method="POST",route="/api/v1/"#,
    ] {
        let is_there = text.lines().any(|line| line.starts_with(begins));
        assert!(is_there, "{begins}\n{text}");
    }
}
