//! `nodes`, counted.

use model::node_state::NodeState;
use sqlx::PgConnection;

use crate::database::corrupt;

/// The nodes of one state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Counts {
    pub state: NodeState,
    pub nodes: u64,
    /// Those that no coordinator hears of, those that never came included.
    pub offline: u64,
    pub capacity_bytes: u64,
    pub used_bytes: u64,
    pub free_bytes: u64,
}

/// States in which there is no node are left out.
pub async fn by_state(connection: &mut PgConnection) -> sqlx::Result<Vec<Counts>> {
    let rows = sqlx::query!(
        r#"SELECT state, count(*) AS "nodes!",
                  count(*) FILTER (WHERE offline_since IS NOT NULL OR last_seen_at IS NULL) AS "offline!",
                  least(sum(capacity_bytes), 9223372036854775807)::bigint AS "capacity!",
                  least(sum(used_bytes), 9223372036854775807)::bigint AS "used!",
                  least(sum(free_bytes), 9223372036854775807)::bigint AS "free!"
           FROM nodes GROUP BY state"#
    )
    .fetch_all(connection)
    .await?;
    let counts = rows.into_iter().map(|row| {
        let state = row.state.parse();
        Ok(Counts {
            state: state.map_err(|error| corrupt("nodes.state", error))?,
            nodes: row.nodes.unsigned_abs(),
            offline: row.offline.unsigned_abs(),
            capacity_bytes: row.capacity.unsigned_abs(),
            used_bytes: row.used.unsigned_abs(),
            free_bytes: row.free.unsigned_abs(),
        })
    });
    counts.collect()
}
