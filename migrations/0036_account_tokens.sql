-- Tokens that stand in letters and in links of administrators: to set another password, to show that an address is one's own.
--
-- Kept hashed. A token is good once: used_at says when, and the row stays until the token would have expired, so that
-- whoever lost the answer can send the same again.

CREATE TABLE account_tokens (
    token_hash bytea       PRIMARY KEY CHECK (octet_length(token_hash) = 32),
    user_id    uuid        NOT NULL REFERENCES users ON DELETE CASCADE,
    purpose    text        NOT NULL CHECK (purpose IN ('reset_password', 'verify_address')),
    -- It was sent to the account's address: who has it can read what is sent there.
    by_mail    boolean     NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz NOT NULL,
    used_at    timestamptz
);
CREATE INDEX account_tokens_by_user ON account_tokens (user_id, purpose, created_at);
CREATE INDEX account_tokens_expiry ON account_tokens (expires_at);

-- Since when it is known that the owner reads what is sent to his address.
ALTER TABLE users ADD COLUMN email_verified_at timestamptz;
