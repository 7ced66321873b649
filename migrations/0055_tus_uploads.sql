-- Uploads by the protocol tus: an upload session that takes its bytes in order, in pieces of any length. Nodes are sent whole
-- chunks; what lies behind the last of them waits here.
CREATE TABLE tus_uploads (
    upload_id  uuid        PRIMARY KEY REFERENCES uploads ON DELETE CASCADE,
    -- As the client sent it, to be handed back.
    metadata   text        NOT NULL CHECK (octet_length(metadata) <= 4096),
    -- Chunks that lie on nodes, from the first on.
    chunks     integer     NOT NULL DEFAULT 0 CHECK (chunks >= 0),
    -- What lies behind them, sealed with the file's key as a copy of its chunk is. Sessions of this kind have chunks of
    -- 256 KiB at most.
    tail       bytea       NOT NULL DEFAULT '' CHECK (octet_length(tail) < 262144 + 28),
    -- Whose request appends to it, and until when nobody else does.
    holder     uuid,
    held_until timestamptz,
    CHECK ((holder IS NULL) = (held_until IS NULL))
);
