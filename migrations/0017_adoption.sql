-- Adopt mode: after a restore of the database the rows of replicas are rebuilt from what nodes hold. While
-- it stands, every coordinator leaves alone whatever could take a blob, a replica or money away.

CREATE TABLE adoptions (
    adoption_id     uuid        PRIMARY KEY, -- version 7: in order of time
    began_at        timestamptz NOT NULL DEFAULT now(),
    -- What coordinators had begun before they noticed is over by then.
    scans_from      timestamptz NOT NULL DEFAULT now(),
    -- Every node has been gone through, or an administrator does not wait for the others: what was found
    -- is settled, and then everything goes on.
    finishing_since timestamptz,
    -- Chunks of which no node holds a copy: of files that were deleted after the backup, or lost.
    lost_chunks     bigint      NOT NULL DEFAULT 0 CHECK (lost_chunks >= 0),
    ended_at        timestamptz,
    CHECK (ended_at IS NULL OR finishing_since IS NOT NULL)
);

-- One at a time.
CREATE UNIQUE INDEX adoptions_standing ON adoptions ((ended_at IS NULL)) WHERE ended_at IS NULL;

-- How far each node has been gone through. A coordinator leases the row meanwhile, and writes only under
-- its own lease; a crash loses no more than a page.
CREATE TABLE adoption_nodes (
    adoption_id  uuid        NOT NULL REFERENCES adoptions,
    node_id      uuid        NOT NULL REFERENCES nodes,
    due_at       timestamptz NOT NULL DEFAULT now(),
    lease_id     uuid,
    leased_until timestamptz,
    -- Everything up to this blob; all of it once adopted_at is set.
    scanned_upto bytea       NOT NULL DEFAULT '',
    pages        bigint      NOT NULL DEFAULT 0 CHECK (pages >= 0),
    -- In vain since the last page, and why, for people.
    attempts     integer     NOT NULL DEFAULT 0 CHECK (attempts >= 0),
    detail       text        NOT NULL DEFAULT '',
    adopted_at   timestamptz,
    -- Blobs that the node holds, its trash included: each is one of the next five.
    held         bigint      NOT NULL DEFAULT 0 CHECK (held >= 0),
    -- A row of before the restore names it.
    known        bigint      NOT NULL DEFAULT 0 CHECK (known >= 0),
    -- It is a copy of a stored chunk, and has a row now.
    adopted      bigint      NOT NULL DEFAULT 0 CHECK (adopted >= 0),
    -- Of a file, or of a content, that the database does not know.
    unknown      bigint      NOT NULL DEFAULT 0 CHECK (unknown >= 0),
    -- No master key opens its locator.
    unreadable   bigint      NOT NULL DEFAULT 0 CHECK (unreadable >= 0),
    -- It is not what its locator says, or the node does not give it or sign for it.
    refused      bigint      NOT NULL DEFAULT 0 CHECK (refused >= 0),
    -- Of the known ones, those that were in the node's trash.
    restored     bigint      NOT NULL DEFAULT 0 CHECK (restored >= 0),
    -- Rows whose blobs the node does not hold.
    missing      bigint      NOT NULL DEFAULT 0 CHECK (missing >= 0),
    PRIMARY KEY (adoption_id, node_id)
);

-- Replicas whose chunks are settled at the end.
CREATE TABLE adoption_findings (
    adoption_id uuid  NOT NULL REFERENCES adoptions,
    node_id     uuid  NOT NULL,
    blob_id     bytea NOT NULL CHECK (octet_length(blob_id) = 32),
    finding     text  NOT NULL CHECK (finding IN ('adopted', 'missing')),
    PRIMARY KEY (adoption_id, node_id, blob_id)
);
