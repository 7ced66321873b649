-- Files, their chunks, and where the replicas are.

CREATE TABLE files (
    file_id          uuid        PRIMARY KEY,
    user_id          uuid        NOT NULL REFERENCES users,
    filename         text        NOT NULL CHECK (octet_length(filename) BETWEEN 1 AND 4096),
    content_type     text        NOT NULL CHECK (octet_length(content_type) BETWEEN 1 AND 255),
    -- Both null while a body of unknown length is being read.
    size_bytes       bigint      CHECK (size_bytes >= 0),
    chunk_count      integer     CHECK (chunk_count >= 0),
    chunk_size_bytes integer     NOT NULL CHECK (chunk_size_bytes > 0),
    -- Receipts that each chunk needs before the file is acknowledged.
    replication      integer     NOT NULL CHECK (replication > 0),
    -- An uploading file is seen by nobody; `complete` makes it ready.
    state            text        NOT NULL DEFAULT 'uploading' CHECK (state IN ('uploading', 'ready')),
    created_at       timestamptz NOT NULL DEFAULT now(),
    completed_at     timestamptz,
    paid_until       timestamptz,
    -- This file's part of its owner's escrow.
    escrow_microcredits bigint   NOT NULL DEFAULT 0 CHECK (escrow_microcredits >= 0),
    CHECK (state = 'uploading' OR (size_bytes IS NOT NULL AND chunk_count IS NOT NULL
                                   AND completed_at IS NOT NULL AND paid_until IS NOT NULL))
);

-- The list, newest first and by name.
CREATE INDEX files_by_time ON files (user_id, created_at DESC, file_id) WHERE state <> 'uploading';
CREATE INDEX files_by_name ON files (user_id, filename COLLATE "C", file_id) WHERE state <> 'uploading';

-- One data key per file, wrapped by a master key. Deleting the row shreds the file.
CREATE TABLE data_keys (
    file_id       uuid  PRIMARY KEY REFERENCES files ON DELETE CASCADE,
    master_key_id text  NOT NULL REFERENCES keys,
    -- nonce[12] || AES-256-GCM(DEK[32]) || tag[16]
    wrapped       bytea NOT NULL CHECK (octet_length(wrapped) = 60)
);

-- An upload session. Chunk commits, completion, abort and expiry lock this row first.
CREATE TABLE uploads (
    upload_id         uuid        PRIMARY KEY,
    file_id           uuid        NOT NULL UNIQUE REFERENCES files ON DELETE CASCADE,
    user_id           uuid        NOT NULL REFERENCES users,
    state             text        NOT NULL DEFAULT 'open' CHECK (state IN ('open', 'completed')),
    hold_microcredits bigint      NOT NULL CHECK (hold_microcredits >= 0),
    -- A client's Idempotency-Key, and a digest of what it asked for under it.
    idempotency_key   text        CHECK (octet_length(idempotency_key) BETWEEN 1 AND 255),
    request_digest    bytea       NOT NULL CHECK (octet_length(request_digest) = 32),
    created_at        timestamptz NOT NULL DEFAULT now(),
    expires_at        timestamptz NOT NULL
);

CREATE UNIQUE INDEX uploads_idempotency ON uploads (user_id, idempotency_key)
    WHERE idempotency_key IS NOT NULL;
CREATE INDEX uploads_expiry ON uploads (expires_at);

-- A chunk stands here only when all its receipts do.
CREATE TABLE chunks (
    file_id     uuid    NOT NULL REFERENCES files ON DELETE CASCADE,
    chunk_index integer NOT NULL CHECK (chunk_index >= 0),
    -- Grows each time the chunk is sent; the highest wins. Unix milliseconds of the write.
    version     bigint  NOT NULL,
    size_bytes  integer NOT NULL CHECK (size_bytes > 0),
    -- Of the plaintext; null for files that came in one request, which are never resumed.
    sha256      bytea   CHECK (octet_length(sha256) = 32),
    PRIMARY KEY (file_id, chunk_index)
);

-- One sealed copy of a chunk on one node. A blob goes to one node only, so (node, blob) names it.
-- No foreign key to nodes: rows there are never deleted, and a key-share lock on a handful of node
-- rows for every insert would make them the hottest rows of the database.
CREATE TABLE replicas (
    node_id      uuid    NOT NULL,
    blob_id      bytea   NOT NULL CHECK (octet_length(blob_id) = 32),
    file_id      uuid    NOT NULL,
    chunk_index  integer NOT NULL,
    -- The node's receipt: its clock in Unix milliseconds, and its signature.
    stored_at_ms bigint  NOT NULL,
    signature    bytea   NOT NULL CHECK (octet_length(signature) = 64),
    -- Set when a read found it missing or damaged; the audit looks at these first.
    suspect_since  timestamptz,
    suspect_reason text,
    PRIMARY KEY (node_id, blob_id),
    FOREIGN KEY (file_id, chunk_index) REFERENCES chunks ON DELETE CASCADE
);

CREATE INDEX replicas_by_chunk ON replicas (file_id, chunk_index);
CREATE INDEX replicas_suspect ON replicas (suspect_since) WHERE suspect_since IS NOT NULL;

-- Outbox: what nodes still have to be told about their blobs. A row leaves when the node has
-- acknowledged it, however long that takes.
CREATE TABLE purges (
    node_id    uuid        NOT NULL,
    blob_id    bytea       NOT NULL CHECK (octet_length(blob_id) = 32),
    mode       text        NOT NULL CHECK (mode IN ('purge', 'trash')),
    created_at timestamptz NOT NULL DEFAULT now(),
    attempts   integer     NOT NULL DEFAULT 0,
    not_before timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (node_id, blob_id)
);

CREATE INDEX purges_due ON purges (node_id, not_before);
