-- The audit: what is asked when, what came of it, and what a failure leads to.

-- Proofs touch a few rows of a page: room for new versions of them keeps the indexes untouched.
ALTER TABLE replicas SET (fillfactor = 90);
ALTER TABLE replicas
    ADD COLUMN last_proof_at      timestamptz,
    ADD COLUMN last_proof_outcome text CHECK (last_proof_outcome IN ('passed', 'failed', 'missed')),
    -- Failed, reported lost, or on a node that is out: earns nothing and does not count. Row and blob
    -- stay as a source of last resort.
    ADD COLUMN demoted_at         timestamptz,
    ADD COLUMN demoted_reason     text,
    ADD CHECK ((demoted_at IS NULL) = (demoted_reason IS NULL));

-- Chunks that a demotion left with too few healthy replicas, the most urgent first. Whoever mends a
-- chunk takes its row away.
CREATE TABLE chunks_to_repair (
    file_id     uuid        NOT NULL,
    chunk_index integer     NOT NULL,
    healthy     integer     NOT NULL CHECK (healthy >= 0),
    since       timestamptz NOT NULL,
    PRIMARY KEY (file_id, chunk_index),
    FOREIGN KEY (file_id, chunk_index) REFERENCES chunks ON DELETE CASCADE
);

CREATE INDEX chunks_to_repair_by_need ON chunks_to_repair (healthy, since);

-- One row for each node that is audited: its round, and whose turn it is to ask. The round's
-- messages follow from these numbers (coordinator/src/domain/audit.rs). A coordinator leases the row
-- while it asks, so that a node has one message in flight and several coordinators share the work;
-- outcome and progress are written in one transaction, so that a crash neither skips nor doubles.
CREATE TABLE audit_schedule (
    node_id        uuid        PRIMARY KEY REFERENCES nodes,
    round          bigint      NOT NULL DEFAULT 0,
    -- As the last plan estimated it.
    replica_count  bigint      NOT NULL DEFAULT 0,
    seed           bytea       NOT NULL DEFAULT decode(repeat('00', 32), 'hex')
                               CHECK (octet_length(seed) = 32),
    drawn_cells    integer     NOT NULL DEFAULT 0 CHECK (drawn_cells >= 0),
    stride         integer     NOT NULL DEFAULT 1 CHECK (stride > 0),
    turn_cells     integer     NOT NULL DEFAULT 0 CHECK (turn_cells >= 0),
    -- The first eight bytes of blob ids, as signed numbers.
    turn_from      bigint      NOT NULL DEFAULT 0,
    turn_to        bigint      NOT NULL DEFAULT 0,
    next_message   integer     NOT NULL DEFAULT 0,
    window_ends_at timestamptz NOT NULL,
    -- Of the next message; after the last one, of the next round.
    due_at         timestamptz NOT NULL,
    -- The first of the node's audit_follow_ups.
    follow_up_at   timestamptz,
    next_due       timestamptz NOT NULL GENERATED ALWAYS AS (least(due_at, follow_up_at)) STORED,
    lease_id       uuid,
    leased_until   timestamptz,
    -- Outcomes of the drawn half of this round, not yet in the score.
    round_passed   bigint      NOT NULL DEFAULT 0,
    round_failed   bigint      NOT NULL DEFAULT 0,
    -- For the share of misses that is forgiven in a day.
    day            date        NOT NULL DEFAULT '1970-01-01',
    day_challenges bigint      NOT NULL DEFAULT 0,
    day_forgiven   bigint      NOT NULL DEFAULT 0
);

CREATE INDEX audit_schedule_due ON audit_schedule (next_due);

INSERT INTO audit_schedule (node_id, window_ends_at, due_at)
SELECT node_id, now(), now() FROM nodes WHERE state NOT IN ('drained', 'disqualified');

-- Replicas that have to be asked for out of turn: after a miss, after `busy`, after a bad read.
CREATE TABLE audit_follow_ups (
    node_id    uuid        NOT NULL,
    blob_id    bytea       NOT NULL CHECK (octet_length(blob_id) = 32),
    ask        text        NOT NULL CHECK (ask IN ('challenge', 'whole_blob')),
    due_at     timestamptz NOT NULL,
    -- Times that the whole blob was asked for in vain.
    attempts   integer     NOT NULL DEFAULT 0 CHECK (attempts >= 0),
    -- Of the challenge that led here.
    drawn      boolean     NOT NULL,
    weight_ppm bigint      NOT NULL CHECK (weight_ppm >= 1000000),
    -- The miss that is forgiven if the blob comes after all.
    penalty_id uuid,
    reason     text        NOT NULL,
    PRIMARY KEY (node_id, blob_id)
);

CREATE INDEX audit_follow_ups_due ON audit_follow_ups (node_id, due_at);

-- Nodes whose replicas are being demoted, all of them; those up to here are.
CREATE TABLE node_demotions (
    node_id      uuid  PRIMARY KEY REFERENCES nodes,
    demoted_upto bytea NOT NULL DEFAULT '',
    reason       text  NOT NULL
);

-- One signed statement for each message: challenge, digests of the answers, judgement. 90 days.
CREATE TABLE audit_statements (
    at           timestamptz NOT NULL,
    challenge_id uuid        NOT NULL,
    node_id      uuid        NOT NULL,
    passed       smallint    NOT NULL,
    failed       smallint    NOT NULL,
    missed       smallint    NOT NULL,
    busy         smallint    NOT NULL,
    statement    bytea       NOT NULL CHECK (octet_length(statement) <= 4096)
) PARTITION BY RANGE (at);

CREATE INDEX audit_statements_by_node ON audit_statements (node_id, at DESC, challenge_id);

-- What a node sent for a blob when it failed: with the statement, evidence that anybody can check.
CREATE TABLE audit_failures (
    at           timestamptz NOT NULL,
    challenge_id uuid        NOT NULL,
    node_id      uuid        NOT NULL,
    blob_id      bytea       NOT NULL CHECK (octet_length(blob_id) = 32),
    -- Of the blob in the challenge.
    position     smallint    NOT NULL,
    reason       text        NOT NULL,
    outcome      text        NOT NULL,
    proof_hash   bytea       CHECK (octet_length(proof_hash) = 32),
    duration_ms  bigint      NOT NULL,
    body         bytea       NOT NULL
) PARTITION BY RANGE (at);

CREATE INDEX audit_failures_by_blob ON audit_failures (node_id, blob_id, at);

-- Makes the partitions of the day of `at` and the two after it, and drops those that have been kept
-- for 90 days.
CREATE FUNCTION audit_keep_partitions(at timestamptz) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    today date := (at AT TIME ZONE 'UTC')::date;
    parent text;
    day date;
    old record;
BEGIN
    PERFORM pg_advisory_xact_lock(hashtext('audit_keep_partitions'));
    FOREACH parent IN ARRAY ARRAY['audit_statements', 'audit_failures'] LOOP
        FOR day IN SELECT today + n FROM generate_series(0, 2) AS n LOOP
            IF to_regclass(format('%I', parent || to_char(day, '_YYYYMMDD'))) IS NULL THEN
                EXECUTE format('CREATE TABLE %I PARTITION OF %I FOR VALUES FROM (%L) TO (%L)',
                    parent || to_char(day, '_YYYYMMDD'), parent,
                    day::timestamp AT TIME ZONE 'UTC', (day + 1)::timestamp AT TIME ZONE 'UTC');
            END IF;
        END LOOP;
        FOR old IN
            SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
            WHERE i.inhparent = parent::regclass
              AND c.relname < parent || to_char(today - 91, '_YYYYMMDD')
        LOOP
            EXECUTE format('DROP TABLE %I', old.relname);
        END LOOP;
    END LOOP;
END
$$;

-- When so much of the fleet failed at once that the coordinator suspects itself: until then nothing
-- is demoted, and repair waits.
CREATE TABLE fleet_alarms (
    raised_at timestamptz PRIMARY KEY,
    until     timestamptz NOT NULL,
    nodes     bigint      NOT NULL,
    troubled  bigint      NOT NULL,
    -- What an administrator gave as the reason for ending it early.
    ended_by  text
);
