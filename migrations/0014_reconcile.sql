-- Each node's blobs are compared with the rows that name them, about once a day.

CREATE TABLE reconcile_schedule (
    node_id      uuid        PRIMARY KEY REFERENCES nodes,
    due_at       timestamptz NOT NULL,
    -- A coordinator's claim while it compares; what it finds is written only under its own lease.
    lease_id     uuid,
    leased_until timestamptz,
    -- An administrator has looked: the next run puts right what it finds, however much that is.
    forced       boolean     NOT NULL DEFAULT false,
    -- The last run.
    ended_at     timestamptz,
    outcome      text        CHECK (outcome IN ('done', 'held_back', 'failed')),
    detail       text        NOT NULL DEFAULT '',
    held         bigint      NOT NULL DEFAULT 0 CHECK (held >= 0),
    named        bigint      NOT NULL DEFAULT 0 CHECK (named >= 0),
    unknown      bigint      NOT NULL DEFAULT 0 CHECK (unknown >= 0),
    missing      bigint      NOT NULL DEFAULT 0 CHECK (missing >= 0),
    -- Held, named by nothing, and with a locator that no master key opens.
    unreadable   bigint      NOT NULL DEFAULT 0 CHECK (unreadable >= 0),
    CHECK ((ended_at IS NULL) = (outcome IS NULL))
);

CREATE INDEX reconcile_schedule_due ON reconcile_schedule (due_at);
