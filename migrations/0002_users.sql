-- People, and the refresh tokens they hold.

CREATE TABLE users (
    user_id       uuid        PRIMARY KEY,
    email         text        NOT NULL CHECK (length(email) BETWEEN 3 AND 254),
    password_hash text        NOT NULL, -- argon2id, PHC string
    role          text        NOT NULL DEFAULT 'user' CHECK (role IN ('user', 'admin')),
    -- What the platform has given this account to try the network with.
    trial_used_microcredits bigint NOT NULL DEFAULT 0 CHECK (trial_used_microcredits >= 0),
    -- Uploads under way included.
    file_count    bigint      NOT NULL DEFAULT 0 CHECK (file_count >= 0),
    created_at    timestamptz NOT NULL DEFAULT now()
);

CREATE UNIQUE INDEX users_email ON users (lower(email));

-- Refresh tokens are random and kept hashed. Each is used once; a second use is theft, and takes
-- the whole family (everything that grew out of one login) with it.
CREATE TABLE refresh_tokens (
    token_hash bytea       PRIMARY KEY CHECK (octet_length(token_hash) = 32),
    family_id  uuid        NOT NULL,
    user_id    uuid        NOT NULL REFERENCES users ON DELETE CASCADE,
    created_at timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz NOT NULL,
    used_at    timestamptz
);

CREATE INDEX refresh_tokens_family ON refresh_tokens (family_id);
CREATE INDEX refresh_tokens_expiry ON refresh_tokens (expires_at);
