-- Nodes that leave in order, and replicas that count again when a node is restored.

-- One row for each time that an operator asks. It is open as long as the node is `draining`, and is
-- closed in the transaction that ends that state.
CREATE TABLE drains (
    drain_id   uuid        PRIMARY KEY, -- version 7: in order of time
    node_id    uuid        NOT NULL REFERENCES nodes,
    started_at timestamptz NOT NULL,
    -- What the node held then; of a large node an estimate.
    blobs      bigint      NOT NULL CHECK (blobs >= 0),
    bytes      bigint      NOT NULL CHECK (bytes >= 0),
    ended_at   timestamptz,
    -- The state that followed: `drained`, or the one that the node went back to, or `disqualified`.
    ended_as   text        CHECK (ended_as IN
                   ('probation', 'active', 'suspended', 'drained', 'disqualified')),
    CHECK ((ended_at IS NULL) = (ended_as IS NULL))
);

CREATE UNIQUE INDEX drains_open ON drains (node_id) WHERE ended_at IS NULL;
CREATE INDEX drains_by_node ON drains (node_id, drain_id);
CREATE INDEX drains_by_end ON drains (ended_at) WHERE ended_at IS NOT NULL;

-- What is done to all replicas of a node, those up to `demoted_upto` already: they are demoted, or,
-- where it was only the node's state that demoted them, made to count again.
ALTER TABLE node_demotions ADD COLUMN undo boolean NOT NULL DEFAULT false;
