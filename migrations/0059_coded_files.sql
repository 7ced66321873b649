-- Coded storage: a file whose chunks are kept as n pieces, of which any k give a chunk back.
--
-- `replication` is n, of copies and of pieces alike; `data_pieces` is k, and 1 means copies. That stands in the catalogue for
-- all files there are, and rewrites no row.
ALTER TABLE files ADD COLUMN data_pieces integer NOT NULL DEFAULT 1
    CHECK (data_pieces = 1 OR (data_pieces > 1 AND data_pieces < replication AND replication < 256));

-- Bytes of plaintext in one piece of a chunk of so many bytes, as model/src/scheme.rs works it out.
CREATE FUNCTION piece_bytes(chunk_bytes integer, data_pieces integer) RETURNS integer LANGUAGE sql IMMUTABLE
    AS $$SELECT CASE WHEN data_pieces = 1 THEN chunk_bytes
                     ELSE 2 * ((chunk_bytes + 2 * data_pieces - 1) / (2 * data_pieces)) END$$;

-- Healthy pieces of a chunk: where no more can be read now than give it back, there is no grace.
CREATE FUNCTION healthy_pieces(counting bigint, readable bigint, data_pieces integer)
RETURNS bigint LANGUAGE sql IMMUTABLE
    AS $$SELECT CASE WHEN readable <= data_pieces THEN readable ELSE counting END$$;

-- What a chunk needs, as rules/src/repair works it out. Replicas that stand in for each other are a slot: all copies, or all
-- with one piece; of pieces a second one adds nothing. `margin`: how many more can be lost, and one; `missing`: what is to
-- be made; `too_many`: rows that can go.
DROP FUNCTION chunk_health(uuid, integer);
CREATE FUNCTION chunk_health(of_file uuid, of_index integer)
RETURNS TABLE (healthy bigint, margin bigint, missing bigint, too_many bigint) LANGUAGE sql STABLE AS $$
    WITH seen AS (
        SELECT f.replication AS n, f.data_pieces AS k,
               -- Of a slot there are to be so many, and more than so many add nothing.
               CASE WHEN f.data_pieces = 1 THEN f.replication ELSE 1 END AS target,
               CASE WHEN f.data_pieces = 1 THEN NULL ELSE 1 END AS most,
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
        WHERE f.file_id = of_file GROUP BY f.replication, f.data_pieces, r.piece),
    summed AS (
        SELECT n, k,
               sum(least(counting, most))::bigint AS counting, sum(least(staying, most))::bigint AS staying,
               sum(least(readable, most))::bigint AS readable,
               sum(CASE WHEN safe >= target THEN safe - target + leaving ELSE 0 END)::bigint AS too_many,
               -- Pieces that go with their node, and those of them that cannot be read now.
               count(*) FILTER (WHERE staying = 0 AND counting > 0) AS moving,
               count(*) FILTER (WHERE staying = 0 AND counting > 0 AND readable = 0) AS moving_unread,
               count(*) FILTER (WHERE staying = 0 AND readable > 0) AS moving_read
        FROM seen GROUP BY n, k),
    needs AS (
        SELECT *, greatest(least(k + 1, n) - readable, 0) AS for_safety,
               CASE WHEN staying < CASE WHEN k = 1 THEN n ELSE n - 1 END THEN n - staying
                    WHEN k = 1 THEN 0 ELSE moving END AS for_promise
        FROM summed)
    SELECT healthy_pieces(counting, readable, k),
           greatest(healthy_pieces(counting, readable, k) + 1 - k, 0),
           CASE WHEN k = 1 THEN greatest(for_promise, for_safety)
                -- Of what is made for the promise, what cannot be read makes the chunk safer, too.
                ELSE for_promise + greatest(for_safety - CASE WHEN staying < n - 1
                                                              THEN for_promise - moving_read
                                                              ELSE moving_unread END, 0) END,
           too_many
    FROM needs
$$;
