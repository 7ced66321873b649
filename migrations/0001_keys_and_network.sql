-- Which keys this database was written with, and what the network tells its nodes.
-- Key bytes never stand here: only an id and a check value, so that a coordinator that lacks a key,
-- or holds another one under the same id, can refuse to start.

CREATE TABLE keys (
    key_id      text        PRIMARY KEY CHECK (key_id ~ '^[a-z0-9-]{1,64}$'),
    purpose     text        NOT NULL CHECK (purpose IN ('network', 'master', 'token')),
    -- BLAKE3 derive_key("fsn key check v1", key)
    check_value bytea       NOT NULL CHECK (octet_length(check_value) = 32),
    created_at  timestamptz NOT NULL DEFAULT now(),
    -- A retired key still opens what it sealed; nothing new is made with it.
    retired_at  timestamptz
);

-- One key of each purpose is in use at a time.
CREATE UNIQUE INDEX keys_in_use ON keys (purpose) WHERE retired_at IS NULL;

-- Coordinators that nodes should connect to.
CREATE TABLE coordinators (
    peer_id    text        PRIMARY KEY,
    addrs      text[]      NOT NULL,
    updated_at timestamptz NOT NULL DEFAULT now()
);

-- The newest signed network document, as it is served. One row.
CREATE TABLE network_document (
    only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    serial   bigint  NOT NULL CHECK (serial > 0),
    document json    NOT NULL
);
