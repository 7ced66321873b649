//! `nodes`, as groups of those that are alike.

use sqlx::PgConnection;

/// Regions that are told apart. Operators name them as they like: one that is in no hurry to be found could make a list
/// for everybody as long as it pleases.
const REGIONS: i64 = 40;

/// Nodes of one region, state and presence.
#[derive(Debug)]
pub struct Group {
    pub region: Option<String>,
    pub state: String,
    pub online: bool,
    pub nodes: i64,
    pub capacity_bytes: i64,
    pub used_bytes: i64,
    pub copies: i64,
}

/// Those that have not left, of the largest regions first.
pub async fn groups(connection: &mut PgConnection) -> sqlx::Result<Vec<Group>> {
    sqlx::query_as!(
        Group,
        r#"WITH here AS (
               SELECT region, state, offline_since IS NULL AND last_seen_at IS NOT NULL AS online, capacity_bytes,
                      used_bytes, blob_count
               FROM nodes WHERE state NOT IN ('drained', 'disqualified')
           ), regions AS (
               SELECT region, row_number() OVER (ORDER BY count(*) DESC, region) AS place FROM here GROUP BY region
           ), placed AS (
               SELECT CASE WHEN place <= $1 THEN here.region ELSE 'elsewhere' END AS region, least(place, $1 + 1) AS place,
                      state, online, capacity_bytes, used_bytes, blob_count
               FROM here JOIN regions ON regions.region IS NOT DISTINCT FROM here.region
           )
           SELECT region, state AS "state!", online AS "online!", count(*) AS "nodes!",
                  least(sum(capacity_bytes), 1::bigint << 62)::bigint AS "capacity_bytes!",
                  least(sum(used_bytes), 1::bigint << 62)::bigint AS "used_bytes!",
                  least(sum(blob_count), 1::bigint << 62)::bigint AS "copies!"
           FROM placed GROUP BY place, region, state, online ORDER BY place, region, state, online DESC"#,
        REGIONS
    )
    .fetch_all(connection)
    .await
}
