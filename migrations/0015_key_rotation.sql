-- Rotating keys while coordinators serve.

-- A key that will be put to use once every coordinator that runs holds its file. It moves to `keys`
-- then. In a table of its own, for a coordinator of an older release takes every key of `keys` that is not
-- retired for the one in use.
CREATE TABLE key_announcements (
    key_id      text        PRIMARY KEY CHECK (key_id ~ '^[a-z0-9-]{1,64}$'),
    -- One at a time of each purpose. The network key is pinned by nodes and is not rotated.
    purpose     text        NOT NULL UNIQUE CHECK (purpose IN ('master', 'token')),
    check_value bytea       NOT NULL CHECK (octet_length(check_value) = 32),
    created_at  timestamptz NOT NULL DEFAULT now()
);

-- Coordinators that run: each says every few seconds that it does, and which keys it holds.
CREATE TABLE running_coordinators (
    peer_id text        PRIMARY KEY,
    seen_at timestamptz NOT NULL DEFAULT now(),
    key_ids text[]      NOT NULL
);

-- What is left to wrap anew, and whether anything still names a key.
CREATE INDEX data_keys_by_master ON data_keys (master_key_id);
