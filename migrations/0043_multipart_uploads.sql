-- Objects that come in parts. Each part is a file that is charged from the moment on that it is stored; completing an
-- upload makes a version of them and moves no bytes.

CREATE TABLE multipart_uploads (
    upload_id    uuid        PRIMARY KEY,
    bucket_id    uuid        NOT NULL REFERENCES buckets,
    key          text        COLLATE "C" NOT NULL CHECK (octet_length(key) BETWEEN 1 AND 2048),
    content_type text        NOT NULL CHECK (octet_length(content_type) BETWEEN 1 AND 255),
    metadata     jsonb       NOT NULL DEFAULT '{}' CHECK (octet_length(metadata::text) <= 65536),
    -- The checksum that the client means to send with each part, like CRC64NVME.
    checksum_algorithm text  CHECK (octet_length(checksum_algorithm) BETWEEN 1 AND 16),
    created_at   timestamptz NOT NULL DEFAULT now(),
    -- Then it is given up, and its parts with it.
    expires_at   timestamptz NOT NULL,
    -- The version that it has become: remembered for a day, so that who asks again gets the same answer.
    completed_as uuid
);
CREATE INDEX multipart_uploads_by_key ON multipart_uploads (bucket_id, key, upload_id) WHERE completed_as IS NULL;
CREATE INDEX multipart_uploads_expiry ON multipart_uploads (expires_at);

CREATE TABLE multipart_parts (
    upload_id  uuid        NOT NULL REFERENCES multipart_uploads ON DELETE CASCADE,
    part       integer     NOT NULL CHECK (part BETWEEN 1 AND 10000),
    file_id    uuid        NOT NULL REFERENCES files,
    size_bytes bigint      NOT NULL CHECK (size_bytes >= 0),
    -- MD5 in hex
    etag       text        NOT NULL CHECK (octet_length(etag) = 32),
    checksum   jsonb       CHECK (octet_length(checksum::text) <= 512),
    stored_at  timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (upload_id, part)
);
CREATE INDEX multipart_parts_by_file ON multipart_parts (file_id);
