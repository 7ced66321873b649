-- Names: buckets, and in each of them keys that point to stored bytes. Bytes stay what they are, files that never change
-- and go by their id; a name is a pointer that moves in one transaction.
--
-- Whoever writes a key locks in this order: the key (an advisory lock, since a key that is not there has no row), its
-- bucket against being deleted (FOR KEY SHARE), files in order of id, users, accounts, and last of all the bucket's row,
-- which counts the change. So many writers of one bucket wait for each other no longer than a few rows take.

-- A file is listed by itself, or belongs to an object and is seen only through it. Older coordinators make files of the
-- first kind, and list by completion and by name without an index until they are upgraded.
ALTER TABLE files
    ADD COLUMN role text NOT NULL DEFAULT 'file',
    ADD CONSTRAINT files_role CHECK (role IN ('file', 'part')) NOT VALID,
    -- Of an object key and metadata are billed.
    DROP CONSTRAINT files_billed_name_bytes,
    ADD CONSTRAINT files_billed_name_bytes CHECK (billed_name_bytes BETWEEN 1 AND 65536) NOT VALID;
DROP INDEX files_by_completion, files_by_name_prefix;
CREATE INDEX files_listed_by_completion ON files (user_id, completed_at DESC, file_id)
    WHERE state = 'ready' AND role = 'file';
CREATE INDEX files_listed_by_name ON files (user_id, left(filename, 256) COLLATE "C", file_id)
    WHERE state = 'ready' AND role = 'file';

CREATE TABLE buckets (
    bucket_id  uuid        PRIMARY KEY,
    user_id    uuid        NOT NULL REFERENCES users,
    -- Unique in the network, as host names are.
    name       text        COLLATE "C" NOT NULL UNIQUE
                           CHECK (name ~ '^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$' AND name !~ '\.\.'),
    versioning text        NOT NULL DEFAULT 'off' CHECK (versioning IN ('off', 'enabled', 'suspended')),
    -- Grows with every change of a key: what a client has seen up to here it need not ask for again.
    change_seq bigint      NOT NULL DEFAULT 0,
    created_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX buckets_by_user ON buckets (user_id, name);

-- A name whose bucket is gone: for 30 days only who had it may take it, so that nobody is sent what was meant for another.
CREATE TABLE resting_bucket_names (
    name    text        COLLATE "C" PRIMARY KEY,
    user_id uuid        NOT NULL REFERENCES users ON DELETE CASCADE,
    until   timestamptz NOT NULL
);
CREATE INDEX resting_bucket_names_until ON resting_bucket_names (until);

-- One row for each version of a key that is there, delete markers included; with versioning off there is one.
CREATE TABLE objects (
    bucket_id    uuid        NOT NULL REFERENCES buckets,
    -- Byte order is the order of S3.
    key          text        COLLATE "C" NOT NULL CHECK (octet_length(key) BETWEEN 1 AND 2048),
    version_id   uuid        NOT NULL UNIQUE,
    is_latest    boolean     NOT NULL,
    is_marker    boolean     NOT NULL DEFAULT false,
    -- Written while versions were not kept: what is written so next takes its place.
    is_null      boolean     NOT NULL,
    size_bytes   bigint      NOT NULL DEFAULT 0 CHECK (size_bytes >= 0),
    etag         text        CHECK (octet_length(etag) BETWEEN 1 AND 64),
    -- {"algorithm":"CRC64NVME","value":"…"}: as the client sent it, and as it was checked.
    checksum     jsonb       CHECK (octet_length(checksum::text) <= 512),
    content_type text        NOT NULL CHECK (octet_length(content_type) BETWEEN 1 AND 255),
    -- cache-control and the like, and x-amz-meta-*
    metadata     jsonb       NOT NULL DEFAULT '{}' CHECK (octet_length(metadata::text) <= 65536),
    -- Its place among the bucket's changes; of two versions of a key the later one has the higher.
    change_seq   bigint      NOT NULL,
    created_at   timestamptz NOT NULL,
    PRIMARY KEY (bucket_id, key, version_id),
    CHECK (is_marker = (etag IS NULL))
);
CREATE UNIQUE INDEX objects_latest ON objects (bucket_id, key) WHERE is_latest;
CREATE UNIQUE INDEX objects_null ON objects (bucket_id, key) WHERE is_null;
-- Lists go over these: markers are not walked.
CREATE INDEX objects_listed ON objects (bucket_id, key) WHERE is_latest AND NOT is_marker;
CREATE INDEX objects_versions ON objects (bucket_id, key, change_seq DESC);

-- The bytes of a version: one file, or several in order. A file may belong to several versions, and ends with the last of
-- them. Part 0 has no bytes: it is what a version is billed by that has no file of its own, a copy or a delete marker.
CREATE TABLE object_parts (
    version_id uuid    NOT NULL REFERENCES objects (version_id) ON DELETE CASCADE,
    part       integer NOT NULL CHECK (part BETWEEN 0 AND 10000),
    file_id    uuid    NOT NULL REFERENCES files,
    size_bytes bigint  NOT NULL CHECK (size_bytes >= 0),
    md5        bytea   CHECK (octet_length(md5) = 16),
    PRIMARY KEY (version_id, part)
);
CREATE INDEX object_parts_by_file ON object_parts (file_id);

-- What has happened to keys, for clients that keep an index of their own; kept for 90 days. No foreign key: it goes with
-- its time, and by a bucket's deletion nobody looks for it any more.
CREATE TABLE object_changes (
    bucket_id  uuid        NOT NULL,
    change_seq bigint      NOT NULL,
    key        text        NOT NULL,
    version_id uuid        NOT NULL,
    what       text        NOT NULL CHECK (what IN ('put', 'marker', 'removed')),
    at         timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (bucket_id, change_seq)
);
CREATE INDEX object_changes_by_time ON object_changes (at);

-- Files that no version names any more and that are too many for the transaction that let them go.
CREATE TABLE released_files (
    file_id uuid PRIMARY KEY REFERENCES files ON DELETE CASCADE
);

-- The least text behind everything that begins so; null when there is none. UTF-8 keeps the order of code points, and
-- between U+D7FF and U+E000 there are no characters.
CREATE FUNCTION text_behind(prefix text) RETURNS text LANGUAGE plpgsql IMMUTABLE AS $$
DECLARE
    rest text := prefix;
    code integer;
BEGIN
    WHILE rest <> '' LOOP
        code := ascii(right(rest, 1));
        rest := left(rest, -1);
        IF code < 1114111 THEN
            RETURN rest || chr(CASE code WHEN 55295 THEN 57344 ELSE code + 1 END);
        END IF;
    END LOOP;
    RETURN NULL;
END
$$;

-- A page of a list with a delimiter: one probe of the index for each entry, whatever lies below a common prefix.
CREATE FUNCTION list_objects(
    of_bucket uuid, prefix text, delimiter text, start text, excludes_start boolean, before text, most integer)
RETURNS TABLE (entry text, is_prefix boolean) LANGUAGE plpgsql STABLE AS $$
DECLARE
    -- Keys below this are done, and this one too if it is excluded.
    at text := start;
    excluded boolean := excludes_start;
    found text;
    cut integer;
    left_over integer := most;
BEGIN
    WHILE left_over > 0 AND at IS NOT NULL LOOP
        -- Where the page ends is looked at afterwards: a bound that may be null would have the index walked to its end.
        SELECT o.key INTO found FROM objects o
        WHERE o.bucket_id = of_bucket AND o.is_latest AND NOT o.is_marker
          AND o.key >= at AND (NOT excluded OR o.key <> at)
        ORDER BY o.key LIMIT 1;
        EXIT WHEN found IS NULL OR found COLLATE "C" >= before;
        cut := position(delimiter IN substr(found, length(prefix) + 1));
        is_prefix := cut > 0;
        IF is_prefix THEN
            entry := left(found, length(prefix) + cut - 1 + length(delimiter));
            at := text_behind(entry);
            excluded := false;
        ELSE
            entry := found;
            at := found;
            excluded := true;
        END IF;
        left_over := left_over - 1;
        RETURN NEXT;
    END LOOP;
END
$$;
