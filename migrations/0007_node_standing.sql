-- How nodes stand: every change of state with its reason, and what the audit charges them for.

ALTER TABLE nodes
    ADD COLUMN state_since       timestamptz NOT NULL DEFAULT now(),
    -- Challenges passed in all, those that an owner asked for left out: probation ends with the 100th.
    ADD COLUMN passed_challenges bigint      NOT NULL DEFAULT 0 CHECK (passed_challenges >= 0),
    -- A round of which half failed: from then on no new data, and no disqualification, for 24 h.
    ADD COLUMN mass_failure_at   timestamptz,
    -- The last failed proof, for the fleet guard.
    ADD COLUMN last_failure_at   timestamptz;

-- Append-only. A node's row is changed and a line added here in one transaction.
CREATE TABLE node_state_changes (
    change_id  uuid        PRIMARY KEY, -- version 7: in order of time
    node_id    uuid        NOT NULL,
    at         timestamptz NOT NULL,
    from_state text        NOT NULL,
    to_state   text        NOT NULL,
    -- Who or what decided: the audit, an administrator, the node's long absence, its operator.
    cause      text        NOT NULL CHECK (cause IN ('audit', 'admin', 'gone', 'operator')),
    -- For people: what was measured, or what the administrator wrote.
    reason     text        NOT NULL CHECK (length(reason) BETWEEN 1 AND 1000)
);

CREATE INDEX node_state_changes_by_node ON node_state_changes (node_id, change_id);

-- What a node is charged for, as facts; settlement makes the amounts of them:
--   ceil(length_bytes * interval_s * pay * weight_ppm/10^6 * c / (10^9 * month))
--   c = 3/2 failed, 1 missed, 1 self_reported
-- Append-only. A miss that is forgiven is a row of its own, `given_back`, with the length, interval
-- and weight of the miss: it takes away what that miss costs, on the day on which it is forgiven.
CREATE TABLE audit_penalties (
    penalty_id   uuid        PRIMARY KEY, -- version 7: in order of time
    node_id      uuid        NOT NULL,
    at           timestamptz NOT NULL,
    kind         text        NOT NULL CHECK (kind IN ('failed', 'missed', 'self_reported', 'given_back')),
    blob_id      bytea       NOT NULL CHECK (octet_length(blob_id) = 32),
    -- Of the chunk's plaintext, on which the replica earns.
    length_bytes bigint      NOT NULL CHECK (length_bytes > 0),
    -- proofs.interval when the challenge was made.
    interval_s   bigint      NOT NULL CHECK (interval_s > 0),
    -- How many replicas the sampled one stands for, in parts per million.
    weight_ppm   bigint      NOT NULL CHECK (weight_ppm >= 1000000),
    reason       text        NOT NULL DEFAULT '',
    -- The miss that is forgiven, once.
    gives_back   uuid        UNIQUE REFERENCES audit_penalties,
    CHECK ((kind = 'given_back') = (gives_back IS NOT NULL))
);

CREATE INDEX audit_penalties_by_day ON audit_penalties (node_id, at);
