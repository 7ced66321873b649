-- Passkeys (WebAuthn): keys in people's devices that let an account's owner in without a password, and count as a second
-- factor beside one. A coordinator of the release before asks accounts that have passkeys alone for no second factor until
-- it is replaced.

CREATE TABLE passkeys (
    passkey_id    uuid        PRIMARY KEY, -- version 7
    user_id       uuid        NOT NULL REFERENCES users ON DELETE CASCADE,
    -- The device's own name for it; one key is one account's.
    credential_id bytea       NOT NULL UNIQUE CHECK (octet_length(credential_id) BETWEEN 1 AND 1023),
    name          text        NOT NULL CHECK (octet_length(name) BETWEEN 1 AND 256),
    -- Public key, counter and flags, as the crate webauthn-rs writes them. Nothing in it lets anybody in.
    passkey       text        NOT NULL CHECK (octet_length(passkey) <= 16384),
    created_at    timestamptz NOT NULL DEFAULT now(),
    last_used_at  timestamptz
);
CREATE INDEX passkeys_by_user ON passkeys (user_id, passkey_id);

-- What browsers were asked and have not answered yet. A row goes with the answer that it is taken for, or after its time.
CREATE TABLE passkey_challenges (
    token_hash bytea       PRIMARY KEY CHECK (octet_length(token_hash) = 32),
    -- Whose passkey is to be made, or shown; null: whoever has one.
    user_id    uuid        REFERENCES users ON DELETE CASCADE,
    purpose    text        NOT NULL CHECK (purpose IN ('make', 'show')),
    -- Who asked, as a network: each has room for so many.
    network    text        NOT NULL,
    state      text        NOT NULL CHECK (octet_length(state) <= 65536),
    created_at timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz NOT NULL
);
CREATE INDEX passkey_challenges_by_user ON passkey_challenges (user_id, created_at) WHERE user_id IS NOT NULL;
CREATE INDEX passkey_challenges_by_network ON passkey_challenges (network, created_at) WHERE user_id IS NULL;
CREATE INDEX passkey_challenges_expiry ON passkey_challenges (expires_at);
