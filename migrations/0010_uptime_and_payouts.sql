-- When nodes were there, and what they were paid out.

-- Windows of 10 s, 64 to a row: bit i of `seen` is window slot * 64 + i since 1970. Coordinators that
-- share the database write into the same rows. A row of the node with the id of all zeros says in
-- which windows any coordinator was looking; the others count for nothing.
CREATE TABLE uptime_windows (
    slot    bigint NOT NULL,
    node_id uuid   NOT NULL,
    seen    bigint NOT NULL,
    PRIMARY KEY (slot, node_id)
);

-- Credits on their way out. The transfer is posted with the row; the provider is told afterwards, as
-- often as it takes: it pays each reference once.
CREATE TABLE payouts (
    payout_id   uuid        PRIMARY KEY,
    node_id     uuid        NOT NULL REFERENCES nodes,
    amount_microcredits bigint NOT NULL CHECK (amount_microcredits > 0),
    idempotency_key text    NOT NULL,
    transfer_id uuid        NOT NULL REFERENCES transfers,
    state       text        NOT NULL DEFAULT 'pending' CHECK (state IN ('pending', 'paid', 'refused')),
    -- The provider's own name for the payment, or why it refused.
    payment     text,
    created_at  timestamptz NOT NULL DEFAULT now(),
    try_at      timestamptz NOT NULL DEFAULT now(),
    UNIQUE (node_id, idempotency_key)
);

CREATE INDEX payouts_pending ON payouts (try_at) WHERE state = 'pending';
