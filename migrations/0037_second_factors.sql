-- Second factors: authenticator apps (TOTP), recovery codes, and logins that wait for one.
--
-- A coordinator of the release before asks nobody for a second factor until it is replaced.

-- One app for an account. Its secret stands in wrapped_secrets ('totp', user_id), under a master key.
CREATE TABLE second_factors (
    user_id        uuid        PRIMARY KEY REFERENCES users ON DELETE CASCADE,
    created_at     timestamptz NOT NULL DEFAULT now(),
    -- Null: the app has not shown a code yet, and nobody is asked for one.
    confirmed_at   timestamptz,
    -- Of the last code that was taken: each is good once, and none before it.
    last_step      bigint,
    -- Wrong codes since then, wherever they came from.
    failures       integer     NOT NULL DEFAULT 0 CHECK (failures >= 0),
    failures_since timestamptz NOT NULL DEFAULT now()
);

-- BLAKE3 of each code: 80 bits of chance. A row goes when its code is used.
CREATE TABLE recovery_codes (
    user_id   uuid  NOT NULL REFERENCES users ON DELETE CASCADE,
    code_hash bytea NOT NULL CHECK (octet_length(code_hash) = 32),
    PRIMARY KEY (user_id, code_hash)
);

-- Logins whose password was right. A few minutes, a few tries.
CREATE TABLE login_challenges (
    token_hash bytea       PRIMARY KEY CHECK (octet_length(token_hash) = 32),
    user_id    uuid        NOT NULL REFERENCES users ON DELETE CASCADE,
    created_at timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz NOT NULL,
    tries      integer     NOT NULL DEFAULT 0 CHECK (tries >= 0)
);
CREATE INDEX login_challenges_by_user ON login_challenges (user_id, created_at);
CREATE INDEX login_challenges_expiry ON login_challenges (expires_at);
