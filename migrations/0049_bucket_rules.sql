-- What the owner of a bucket has set for it: which web pages may ask for its objects, how long objects are kept, and what
-- of it anybody may read.

CREATE TABLE bucket_rules (
    bucket_id      uuid        PRIMARY KEY REFERENCES buckets ON DELETE CASCADE,
    cors           jsonb       NOT NULL DEFAULT '[]' CHECK (octet_length(cors::text) <= 262144),
    lifecycle      jsonb       NOT NULL DEFAULT '[]' CHECK (octet_length(lifecycle::text) <= 262144),
    -- Anybody may read keys that begin with one of these.
    public_read    text[]      NOT NULL DEFAULT '{}' CHECK (cardinality(public_read) <= 16),
    -- What is read where a public key would end with a slash.
    index_document text        CHECK (octet_length(index_document) BETWEEN 1 AND 255),
    -- When the bucket's keys are looked through for what is to go; null where nothing is.
    walk_at        timestamptz,
    -- How far that has come.
    walked_to      text        COLLATE "C" NOT NULL DEFAULT ''
);
CREATE INDEX bucket_rules_walk ON bucket_rules (walk_at) WHERE walk_at IS NOT NULL;
