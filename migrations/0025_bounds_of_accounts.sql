-- What strangers can make is bounded: by a quota of each account, and by somebody who sweeps up. And the same address
-- in another spelling is the same account, whatever the database's locale believes of letters.
--
-- A coordinator of the release before goes on working beside this one: every new column has a default or may be null,
-- and the index on lower(email), by whose locale it still looks accounts up, stays for it.

-- An address in the one form that the program makes of all its spellings. Null: the account was opened by an older
-- coordinator (the next one fills it in), or another account has had this form for longer, which the second column
-- tells; such an account is known by its exact spelling alone. The collation is part of it: equal is equal in bytes.
ALTER TABLE users
    ADD COLUMN email_form       text    COLLATE "C",
    ADD COLUMN email_form_taken boolean NOT NULL DEFAULT false;
CREATE UNIQUE INDEX users_email_form ON users (email_form);
CREATE INDEX users_without_email_form ON users (user_id) WHERE email_form IS NULL AND NOT email_form_taken;

-- A token of this form tells by itself to which login it belongs, so that a used one need not be kept to be recognised.
-- Of those that do not, the last hundred of each login are, until they expire.
ALTER TABLE refresh_tokens ADD COLUMN names_login boolean NOT NULL DEFAULT false;
CREATE INDEX refresh_tokens_user ON refresh_tokens (user_id);
DELETE FROM refresh_tokens WHERE token_hash IN (
    SELECT token_hash FROM (
        SELECT token_hash, row_number() OVER (PARTITION BY family_id ORDER BY used_at DESC) AS age
        FROM refresh_tokens WHERE used_at IS NOT NULL) AS used
    WHERE age > 100);

-- How often each account bought on a day (UTC); kept for that day. The purchases themselves stand in the ledger, for ever.
CREATE TABLE purchase_days (
    user_id   uuid    NOT NULL REFERENCES users ON DELETE CASCADE,
    day       date    NOT NULL,
    purchases integer NOT NULL CHECK (purchases > 0),
    PRIMARY KEY (user_id, day)
);
CREATE INDEX purchase_days_by_day ON purchase_days (day);

-- Open sessions of an account are counted when it begins another one.
CREATE INDEX uploads_open_by_user ON uploads (user_id) WHERE state = 'open';

-- Admission tokens that wait for their node are counted when another one is made, and swept when they expire.
CREATE INDEX node_tokens_unused ON node_tokens (operator_id) WHERE used_by IS NULL;
CREATE INDEX node_tokens_expiry ON node_tokens (expires_at) WHERE used_by IS NULL;
CREATE INDEX node_tokens_by_node ON node_tokens (used_by) WHERE used_by IS NOT NULL;

-- The process that serves under this identity. Two with the same keys would each send nodes to the other's place;
-- seen_at is the lease of the one that is named here.
ALTER TABLE running_coordinators ADD COLUMN instance_id uuid;
