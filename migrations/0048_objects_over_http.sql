-- Objects over the REST API: names that only their owner can read, what an end-to-end client keeps with an object, when an
-- object is deleted, and uploads in steps that become one.

-- In a bucket whose names are sealed, keys and envelopes are ciphertext: keys may be twice as long there.
ALTER TABLE buckets ADD COLUMN names text NOT NULL DEFAULT 'plain' CHECK (names IN ('plain', 'sealed'));

-- An envelope has at most 16 KiB, and 64 bytes more for each part; what is looked at here is the most that can be.
ALTER TABLE objects
    ADD COLUMN expires_at timestamptz,
    ADD COLUMN envelope   bytea,
    ADD CONSTRAINT objects_envelope CHECK (octet_length(envelope) <= 656384) NOT VALID;
CREATE INDEX objects_expiry ON objects (expires_at) WHERE expires_at IS NOT NULL;

-- Of an object key, metadata and envelope are billed besides 64 KiB, or its content, if that is more.
ALTER TABLE files
    DROP CONSTRAINT files_billed_name_bytes,
    ADD CONSTRAINT files_billed_name_bytes CHECK (billed_name_bytes BETWEEN 1 AND 1048576) NOT VALID;

-- What an upload in steps becomes when it is completed. No foreign key to the bucket: whether that is there is looked at
-- then, under the bucket's lock.
CREATE TABLE upload_targets (
    upload_id     uuid        PRIMARY KEY REFERENCES uploads ON DELETE CASCADE,
    bucket_id     uuid        NOT NULL,
    key           text        COLLATE "C" NOT NULL CHECK (octet_length(key) BETWEEN 1 AND 2048),
    version_id    uuid        NOT NULL,
    content_type  text        NOT NULL CHECK (octet_length(content_type) BETWEEN 1 AND 255),
    metadata      jsonb       NOT NULL CHECK (octet_length(metadata::text) <= 65536),
    envelope      bytea       CHECK (octet_length(envelope) <= 656384),
    expires_at    timestamptz,
    -- The key's latest version has this ETag, or there is no such key: or it is not written.
    if_match      text        CHECK (octet_length(if_match) BETWEEN 1 AND 64),
    if_absent     boolean     NOT NULL
);
