-- Repair: which replicas count now, which nodes have to be looked through, and what is to be done.

-- What every coordinator goes by. `lost_at`: one of them has lost its connection to the node then, and none has
-- said since that it has one; `offline_since`: none of them has heard of the node since shortly before;
-- `away_since`: that has lasted for repair.grace, and what the node holds does not count until it is back.
ALTER TABLE nodes
    ADD COLUMN lost_at       timestamptz,
    ADD COLUMN offline_since timestamptz,
    ADD COLUMN away_since    timestamptz,
    ADD CHECK (away_since IS NULL OR offline_since IS NOT NULL);
CREATE INDEX nodes_offline ON nodes (offline_since) WHERE offline_since IS NOT NULL;
CREATE INDEX nodes_lost ON nodes (lost_at) WHERE lost_at IS NOT NULL;

-- A replica counts while it is not demoted and its node neither out nor away. With offline_since in the
-- place of away_since: it counts and can be read now.
CREATE FUNCTION replica_counts(demoted_at timestamptz, node_state text, away_since timestamptz)
RETURNS boolean LANGUAGE sql IMMUTABLE
    AS $$SELECT demoted_at IS NULL AND away_since IS NULL AND node_state NOT IN ('drained', 'disqualified')$$;

-- Healthy replicas of a chunk: where no more than one can be read now, there is no grace.
CREATE FUNCTION healthy_replicas(counting bigint, readable bigint)
RETURNS bigint LANGUAGE sql IMMUTABLE
    AS $$SELECT CASE WHEN readable <= 1 THEN readable ELSE counting END$$;

-- What a chunk needs, as coordinator/src/domain/repair.rs works it out. `missing`: copies to be made, since
-- those on draining nodes are to be replaced; `too_many`: rows that can go.
CREATE FUNCTION chunk_health(of_file uuid, of_index integer)
RETURNS TABLE (healthy bigint, missing bigint, too_many bigint) LANGUAGE sql STABLE AS $$
    SELECT healthy_replicas(counting, readable),
           greatest(target - staying, least(2, target) - readable, 0),
           CASE WHEN safe >= target THEN safe - target + leaving ELSE 0 END
    FROM (SELECT f.replication AS target,
                 count(*) FILTER (WHERE replica_counts(r.demoted_at, n.state, n.away_since)) AS counting,
                 count(*) FILTER (WHERE replica_counts(r.demoted_at, n.state, n.away_since)
                                    AND n.state <> 'draining') AS staying,
                 count(*) FILTER (WHERE replica_counts(r.demoted_at, n.state, n.offline_since)) AS readable,
                 count(*) FILTER (WHERE replica_counts(r.demoted_at, n.state, n.offline_since)
                                    AND n.state <> 'draining') AS safe,
                 count(*) FILTER (WHERE CASE WHEN r.demoted_at IS NULL THEN n.state = 'draining'
                                             ELSE n.state IN ('drained', 'disqualified')
                                                  OR r.demoted_at < now() - interval '30 days' END) AS leaving
          FROM files f
          LEFT JOIN replicas r ON r.file_id = f.file_id AND r.chunk_index = of_index
          LEFT JOIN nodes n ON n.node_id = r.node_id
          WHERE f.file_id = of_file GROUP BY f.replication) AS seen
$$;

-- Nodes whose replicas are gone through, to find chunks that need something: at once when it changes what
-- the node's replicas count for, and now and then in any case. Pages are taken under the lock of the row.
CREATE TABLE repair_scans (
    node_id      uuid        PRIMARY KEY REFERENCES nodes,
    -- The last blob of the last page.
    scanned_upto bytea       NOT NULL DEFAULT '',
    due_at       timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX repair_scans_due ON repair_scans (due_at);
INSERT INTO repair_scans (node_id) SELECT node_id FROM nodes WHERE state NOT IN ('drained', 'disqualified');

-- The queue. Whoever works on a chunk puts its row out of reach for a while, so that a crash only delays it;
-- whoever enters or removes a row has locked the chunk.
ALTER TABLE chunks_to_repair
    ADD COLUMN not_before timestamptz NOT NULL DEFAULT now(),
    -- In vain, since something was last achieved.
    ADD COLUMN attempts   integer     NOT NULL DEFAULT 0 CHECK (attempts >= 0);
DROP INDEX chunks_to_repair_by_need;
CREATE INDEX chunks_to_repair_by_need ON chunks_to_repair (healthy, not_before);
CREATE INDEX chunks_to_repair_oldest ON chunks_to_repair (since);
