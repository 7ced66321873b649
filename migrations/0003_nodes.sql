-- Storage nodes and how they are admitted.

CREATE TABLE nodes (
    node_id        uuid        PRIMARY KEY,
    peer_id        text        NOT NULL UNIQUE,
    name           text        NOT NULL CHECK (length(name) BETWEEN 1 AND 100),
    -- The user whose token the node registered with; without one it is its own operator.
    operator_id    uuid        REFERENCES users,
    region         text        CHECK (length(region) BETWEEN 1 AND 64),
    capacity_bytes bigint      NOT NULL CHECK (capacity_bytes >= 0),
    -- As the node last reported.
    used_bytes     bigint      NOT NULL DEFAULT 0 CHECK (used_bytes >= 0),
    free_bytes     bigint      NOT NULL DEFAULT 0 CHECK (free_bytes >= 0),
    blob_count     bigint      NOT NULL DEFAULT 0 CHECK (blob_count >= 0),
    software       text        NOT NULL DEFAULT '',
    state          text        NOT NULL DEFAULT 'probation' CHECK (state IN
                       ('probation', 'active', 'suspended', 'draining', 'drained', 'disqualified')),
    state_reason   text        NOT NULL DEFAULT '',
    -- score = 10^6 * alpha / (alpha + beta)
    score_alpha    bigint      NOT NULL DEFAULT 100000000 CHECK (score_alpha >= 0),
    score_beta     bigint      NOT NULL DEFAULT 0 CHECK (score_beta >= 0),
    api_key_hash   bytea       NOT NULL CHECK (octet_length(api_key_hash) = 32),
    created_at     timestamptz NOT NULL DEFAULT now(),
    last_seen_at   timestamptz
);

CREATE UNIQUE INDEX nodes_api_key ON nodes (api_key_hash);
CREATE INDEX nodes_operator ON nodes (operator_id);

-- Admission tokens that users make for nodes of theirs. Kept hashed, good for one node.
CREATE TABLE node_tokens (
    token_hash  bytea       PRIMARY KEY CHECK (octet_length(token_hash) = 32),
    operator_id uuid        REFERENCES users ON DELETE CASCADE,
    created_at  timestamptz NOT NULL DEFAULT now(),
    expires_at  timestamptz NOT NULL,
    used_by     uuid        REFERENCES nodes
);

-- Numbers handed out for a proof of key possession. A row is gone once it is used.
CREATE TABLE registration_nonces (
    nonce      bytea       PRIMARY KEY CHECK (octet_length(nonce) = 32),
    expires_at timestamptz NOT NULL
);

CREATE INDEX registration_nonces_expiry ON registration_nonces (expires_at);
