-- Orders to delete are signed, and nodes put off what goes beyond a day's removals. What coordinators keep of it:
-- whose signature is to be believed, which node says that it has put purges off, which nodes are to bring back what
-- they threw away, and the orders that nodes have shown for blobs that they lack. Only new tables, so coordinators of
-- the release before go on beside it.

-- Coordinators that were taken out of the network document: what they ordered before still excuses.
CREATE TABLE former_coordinators (
    peer_id    text        PRIMARY KEY,
    removed_at timestamptz NOT NULL DEFAULT now()
);

-- A trigger, since a coordinator of the release before may be the one that removes it.
CREATE FUNCTION remember_former_coordinator() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO former_coordinators (peer_id) VALUES (OLD.peer_id) ON CONFLICT (peer_id) DO NOTHING;
    RETURN NULL;
END $$;

CREATE TRIGGER coordinator_removed AFTER DELETE ON coordinators
    FOR EACH ROW EXECUTE FUNCTION remember_former_coordinator();

-- Nodes whose brake is on, as they said last. One that has nothing put off any more has no row.
CREATE TABLE braked_nodes (
    node_id   uuid        PRIMARY KEY,
    blobs     bigint      NOT NULL CHECK (blobs > 0),
    -- When the first of them is gone for good, by the node's clock; null: it does not say.
    until     timestamptz,
    since     timestamptz NOT NULL DEFAULT now(),
    told_at   timestamptz NOT NULL DEFAULT now()
);

-- What nodes have thrown away since a time is to be brought back: a row for each node, until the next undo.
CREATE TABLE purge_undos (
    node_id      uuid        PRIMARY KEY,
    since        timestamptz NOT NULL,
    requested_at timestamptz NOT NULL DEFAULT now(),
    -- Everything up to this blob has been gone through.
    upto         bytea       CHECK (octet_length(upto) = 32),
    restored     bigint      NOT NULL DEFAULT 0,
    leased_until timestamptz NOT NULL DEFAULT now(),
    attempts     integer     NOT NULL DEFAULT 0,
    done_at      timestamptz
);

CREATE INDEX purge_undos_open ON purge_undos (leased_until) WHERE done_at IS NULL;

-- Orders that a node showed in its answer to a challenge, and that were found good. Kept as long as the statements.
CREATE TABLE shown_orders (
    challenge_id uuid        NOT NULL,
    number       smallint    NOT NULL,
    node_id      uuid        NOT NULL,
    at           timestamptz NOT NULL,
    -- The bytes that the coordinator signed.
    statement    bytea       NOT NULL,
    signature    bytea       NOT NULL CHECK (octet_length(signature) = 64),
    PRIMARY KEY (challenge_id, number)
);

CREATE INDEX shown_orders_by_age ON shown_orders (at);
