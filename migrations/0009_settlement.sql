-- What users are charged and nodes are paid, day by day, and what it is derived from.

-- Everything that money depends on reads the time here, so that all coordinators share one clock.
-- Tests put another one in its place.
CREATE FUNCTION database_clock() RETURNS timestamptz LANGUAGE sql VOLATILE
    AS 'SELECT clock_timestamp()';

-- Days follow each other without gap or overlap, whatever the clock does: each begins where the one
-- before ended. A row stands here once its day has been cut off; it never changes what it says of time.
CREATE TABLE settlement_days (
    day_number bigint      PRIMARY KEY CHECK (day_number >= 0),
    -- The date (UTC); where days are shorter than 24 h, the time of the beginning.
    label      text        NOT NULL,
    starts_at  timestamptz NOT NULL,
    ends_at    timestamptz NOT NULL CHECK (ends_at > starts_at),
    -- What a node earns per GB and month on this day.
    pay_microcredits bigint NOT NULL CHECK (pay_microcredits >= 0),
    -- The ledger's last block when the day was cut off, signed with the network key; null before the
    -- first block.
    head_block bigint      REFERENCES blocks,
    head_hash  bytea       CHECK (octet_length(head_hash) = 32),
    signature  bytea       CHECK (octet_length(signature) = 64),
    -- When the day's events were counted into node_days and user_days.
    counted_at timestamptz,
    CHECK ((head_block IS NULL) = (head_hash IS NULL) AND (head_block IS NULL) = (signature IS NULL))
);

CREATE INDEX settlement_days_uncounted ON settlement_days (day_number) WHERE counted_at IS NULL;

-- Day 0 is all that was before.
INSERT INTO settlement_days (day_number, label, starts_at, ends_at, pay_microcredits, counted_at)
VALUES (0, 'before', 'epoch', date_trunc('milliseconds', clock_timestamp()), 0, clock_timestamp());

-- The time at which something happens to money, in whole milliseconds; never within a day that has
-- been cut off. Whoever cuts a day off takes the lock alone, so that every event of the day is then
-- committed and none can be added. Call it before locking users or accounts.
CREATE FUNCTION ledger_now() RETURNS timestamptz LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    cut timestamptz;
BEGIN
    PERFORM pg_advisory_xact_lock_shared(7379542118655714681); -- "fsn_days"
    SELECT max(ends_at) INTO cut FROM settlement_days;
    RETURN date_trunc('milliseconds', greatest(database_clock(), cut));
END
$$;

-- What a file has paid in, how it is metered, and when it is renewed.
ALTER TABLE files RENAME COLUMN escrow_microcredits TO paid_microcredits; -- first month and renewals
ALTER TABLE files
    -- Per GB and month, as long as the file is kept.
    ADD COLUMN price_microcredits bigint NOT NULL DEFAULT 0 CHECK (price_microcredits >= 0),
    -- When the next renewal is tried; null for what is paid for for good.
    ADD COLUMN renew_at    timestamptz,
    -- Since when it could not be renewed.
    ADD COLUMN grace_since timestamptz;
UPDATE files SET price_microcredits = 1250000, renew_at = paid_until - interval '14 days'
WHERE state = 'ready';
CREATE INDEX files_renewal ON files (renew_at) WHERE state = 'ready';
CREATE INDEX files_paid_until ON files (paid_until) WHERE state = 'ready';
CREATE INDEX files_metered ON files (user_id, file_id) WHERE state = 'ready';

-- Up to when the use of this user's files was taken out of escrow.
ALTER TABLE users ADD COLUMN charged_until timestamptz;

-- Where a replica is surplus or demoted, it does not earn.
ALTER TABLE replicas ADD COLUMN earns boolean NOT NULL DEFAULT true;

-- When and where replicas begin and cease to earn: one row for what happens to a file at one time,
-- with the plaintext bytes that each node gains or loses by it. Append-only: settlement and its
-- verification both add these up.
CREATE TABLE earning_events (
    event_id bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    file_id  uuid        NOT NULL,
    at       timestamptz NOT NULL, -- from ledger_now()
    cause    text        NOT NULL CHECK (cause ~ '^[a-z_]{1,40}$'),
    node_ids uuid[]      NOT NULL,
    bytes    bigint[]    NOT NULL,
    CHECK (cardinality(node_ids) = cardinality(bytes))
);

CREATE INDEX earning_events_by_time ON earning_events (at);
CREATE INDEX earning_events_by_file ON earning_events (file_id);

CREATE TRIGGER earning_events_append_only BEFORE UPDATE OR DELETE ON earning_events
    FOR EACH ROW EXECUTE FUNCTION refuse_ledger_change();

-- Files from before this migration earn from now on.
INSERT INTO earning_events (file_id, at, cause, node_ids, bytes)
SELECT file_id, ledger_now(), 'complete', array_agg(node_id), array_agg(bytes)
FROM (SELECT file_id, node_id, sum(chunks.size_bytes)::bigint AS bytes
      FROM replicas JOIN chunks USING (file_id, chunk_index) JOIN files USING (file_id)
      WHERE files.state = 'ready' GROUP BY file_id, node_id) AS held
GROUP BY file_id;

-- Where each node's meter stands after the last day that was counted.
CREATE TABLE node_meters (
    node_id       uuid        PRIMARY KEY,
    -- Plaintext bytes that earn at the end of that day.
    bytes         bigint      NOT NULL DEFAULT 0,
    -- The first day on which it held something; the held share goes down from here.
    earning_since timestamptz,
    -- What the last settled day left over, in units of 1/(10^9 * 2592000000) micro-credits.
    carry         bigint      NOT NULL DEFAULT 0 CHECK (carry >= 0),
    uptime_ppm    integer     CHECK (uptime_ppm BETWEEN 0 AND 1000000)
);

-- What a node earned on a day, and of what. Counted once, then settled once.
CREATE TABLE node_days (
    node_id        uuid    NOT NULL,
    day_number     bigint  NOT NULL REFERENCES settlement_days,
    bytes_at_start bigint  NOT NULL,
    byte_ms        numeric NOT NULL CHECK (byte_ms >= 0),
    settled_at     timestamptz,
    -- All of these are null until it is settled. Amounts in micro-credits.
    carry_before   bigint,
    carry_after    bigint,
    uptime_ppm     integer,
    gross          bigint,   -- byte_ms times pay
    earned         bigint,   -- gross after the uptime multiplier
    penalties      bigint,   -- taken from earned, held and available, in this order
    given_back     bigint,
    uncollected    bigint,   -- forgiven
    held           bigint,   -- change of the held balance
    available      bigint,   -- change of the available balance
    transfer_id    uuid REFERENCES transfers,
    PRIMARY KEY (node_id, day_number)
);

CREATE INDEX node_days_unsettled ON node_days (day_number, node_id) WHERE settled_at IS NULL;

-- Users who have yet to be charged for a day. A row leaves when they are.
CREATE TABLE user_days (
    user_id    uuid   NOT NULL,
    day_number bigint NOT NULL REFERENCES settlement_days,
    PRIMARY KEY (day_number, user_id)
);

CREATE INDEX user_days_by_user ON user_days (user_id, day_number);

-- What each penalty came to, on the day with which it was settled.
CREATE TABLE settled_penalties (
    penalty_id uuid   PRIMARY KEY REFERENCES audit_penalties,
    node_id    uuid   NOT NULL,
    day_number bigint NOT NULL,
    -- What it costs, and how much of that the node could pay. Of a miss that is given back: what comes
    -- back, in both.
    amount     bigint NOT NULL CHECK (amount >= 0),
    collected  bigint NOT NULL CHECK (collected BETWEEN 0 AND amount),
    FOREIGN KEY (node_id, day_number) REFERENCES node_days
);

CREATE INDEX settled_penalties_by_day ON settled_penalties (node_id, day_number);
