-- Shares: links to a file or to what a key points to, for whoever has the link.
--
-- The link's id is what lets somebody in, so here is its hash, and the id itself wrapped under a master key
-- (wrapped_secrets, purpose 'share'), for the owner to see it again. Whoever reads this table opens no link.
CREATE TABLE shares (
    -- BLAKE3 derive_key("fsn share v1", id)
    share_hash    bytea       PRIMARY KEY CHECK (octet_length(share_hash) = 32),
    user_id       uuid        NOT NULL REFERENCES users,
    -- One of the two. A key without a version leads to whatever is its latest.
    file_id       uuid        REFERENCES files ON DELETE CASCADE,
    bucket_id     uuid        REFERENCES buckets ON DELETE CASCADE,
    key           text        COLLATE "C" CHECK (octet_length(key) BETWEEN 1 AND 2048),
    version_id    uuid        REFERENCES objects (version_id) ON DELETE CASCADE,
    -- As those who open it see it.
    name          text        NOT NULL CHECK (octet_length(name) BETWEEN 1 AND 1024),
    -- A PHC string of argon2id.
    password_hash text        CHECK (octet_length(password_hash) BETWEEN 1 AND 512),
    -- Sealed by the owner's program for whoever has the secret behind the link's `#`; nobody here can read it.
    envelope      bytea       CHECK (octet_length(envelope) BETWEEN 29 AND 16384),
    -- Shows copies and proofs, and no content.
    evidence      boolean     NOT NULL,
    -- Digest of what was asked for: the same again is answered the same.
    request_hash  bytea       NOT NULL CHECK (octet_length(request_hash) = 32),
    created_at    timestamptz NOT NULL DEFAULT now(),
    expires_at    timestamptz,
    max_downloads integer     CHECK (max_downloads > 0),
    downloads     integer     NOT NULL DEFAULT 0 CHECK (downloads >= 0),
    sent_bytes    bigint      NOT NULL DEFAULT 0 CHECK (sent_bytes >= 0),
    CHECK ((file_id IS NULL) <> (bucket_id IS NULL)),
    CHECK ((bucket_id IS NULL) = (key IS NULL)),
    CHECK (version_id IS NULL OR bucket_id IS NOT NULL)
);
CREATE INDEX shares_by_user ON shares (user_id, created_at DESC, share_hash);
CREATE INDEX shares_by_file ON shares (file_id) WHERE file_id IS NOT NULL;
CREATE INDEX shares_by_bucket ON shares (bucket_id) WHERE bucket_id IS NOT NULL;
CREATE INDEX shares_by_version ON shares (version_id) WHERE version_id IS NOT NULL;
CREATE INDEX shares_expiry ON shares (expires_at) WHERE expires_at IS NOT NULL;

-- Who has downloaded within a day, so that a download that is read in pieces counts once: hashes under a key that only the
-- link's id gives, of cookies and of addresses. At most two thousand of each share.
CREATE TABLE share_visitors (
    share_hash bytea       NOT NULL REFERENCES shares ON DELETE CASCADE,
    visitor    bytea       NOT NULL CHECK (octet_length(visitor) = 32),
    until      timestamptz NOT NULL,
    PRIMARY KEY (share_hash, visitor)
);
CREATE INDEX share_visitors_until ON share_visitors (until);

-- Its id goes with a share, also where the file goes that it leads to.
CREATE FUNCTION forget_share_id() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    DELETE FROM wrapped_secrets WHERE purpose = 'share' AND subject = encode(OLD.share_hash, 'hex');
    RETURN NULL;
END $$;
CREATE TRIGGER share_deleted AFTER DELETE ON shares FOR EACH ROW EXECUTE FUNCTION forget_share_id();
