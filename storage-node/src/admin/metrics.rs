//! `GET /metrics`: what an operator wants to be woken for, in the format of Prometheus.

use std::fmt;

use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use super::NodeStatus;

/// `application/openmetrics-text`, as [`exposition`] writes it.
pub(super) const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Made anew of each status: the node counts nothing for it.
pub(super) fn exposition(status: &NodeStatus) -> Result<String, fmt::Error> {
    let connected = (status.coordinators.values()).filter(|status| status.connected);
    let accepted = (status.coordinators.values()).filter(|status| status.accepted);
    let quota = &status.quota;
    let bytes = |bytes: u64| i64::try_from(bytes).unwrap_or(i64::MAX);
    let gauges = [
        (
            "ledger_contradictions",
            "Heads of the ledger that contradict each other: above 0 it was rewritten",
            status.ledger.contradictions.len() as i64,
        ),
        (
            "ledger_days_kept",
            "Heads of days that the node has kept",
            status.ledger.days_kept as i64,
        ),
        (
            "coordinators_connected",
            "Coordinators that are connected",
            connected.count() as i64,
        ),
        (
            "coordinators_accepting",
            "Coordinators that have accepted the node",
            accepted.count() as i64,
        ),
        (
            "refuses_writes",
            "1 while the disk refuses writes",
            i64::from(status.fault.is_some()),
        ),
        (
            "capacity_bytes",
            "What the node may take",
            bytes(quota.capacity_bytes),
        ),
        ("used_bytes", "What it has taken", bytes(quota.used_bytes)),
        ("free_bytes", "What it still takes", bytes(quota.free_bytes)),
    ];
    let mut registry = Registry::with_prefix("fsn_node");
    for (name, help, value) in gauges {
        let gauge = Gauge::<i64>::default();
        gauge.set(value);
        registry.register(name, help, gauge);
    }
    let mut text = String::new();
    encode(&mut text, &registry)?;
    Ok(text)
}
