-- The security log: who did, or tried, what of account and network, from where, with what outcome. Kept for 400 days, also
-- of accounts that are gone by then, so user_id refers to nothing.

CREATE TABLE security_events (
    event_id   bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    -- Of those that are counted, the first.
    at         timestamptz NOT NULL DEFAULT now(),
    kind       text        NOT NULL CHECK (length(kind) BETWEEN 1 AND 64),
    outcome    text        NOT NULL CHECK (outcome IN ('done', 'refused')),
    -- Whose account it is about.
    user_id    uuid,
    -- Who did it: 'session …', 'access key …', 'command line: …'; null: somebody who had shown nothing yet.
    actor      text        CHECK (length(actor) <= 200),
    address    text,
    -- What it was done to: a file, a key, a node, a command.
    subject    text        CHECK (length(subject) <= 500),
    request_id text        CHECK (length(request_id) <= 128),
    -- What can be repeated at will, by strangers above all, is counted: a row for each address, account and minute.
    count      bigint      NOT NULL DEFAULT 1 CHECK (count > 0),
    counted_as bytea       UNIQUE CHECK (octet_length(counted_as) = 32)
);
CREATE INDEX security_events_by_user ON security_events (user_id, event_id DESC) WHERE user_id IS NOT NULL;
CREATE INDEX security_events_by_age ON security_events (at);
