-- Access keys: what programs sign in with in place of a password. And secrets that a coordinator has to read again, which
-- are wrapped as data keys are. Only new tables and columns, so coordinators of the release before go on beside it; a
-- master key that wraps nothing but secrets is kept from being forgotten by the reference.

-- Secrets under a master key, for whatever purpose: signatures with access keys need them in the clear (SigV4).
CREATE TABLE wrapped_secrets (
    -- 'access key': subject is its id.
    purpose       text  NOT NULL CHECK (length(purpose) BETWEEN 1 AND 64),
    subject       text  NOT NULL CHECK (length(subject) BETWEEN 1 AND 64),
    master_key_id text  NOT NULL REFERENCES keys (key_id),
    -- nonce ‖ AES-256-GCM(secret) ‖ tag under HKDF-SHA256(master key, info = 'fsn v1 ' ‖ purpose ‖ subject), AAD = master-key id
    wrapped       bytea NOT NULL CHECK (octet_length(wrapped) BETWEEN 29 AND 1024),
    PRIMARY KEY (purpose, subject)
);
CREATE INDEX wrapped_secrets_by_master ON wrapped_secrets (master_key_id);

CREATE TABLE access_keys (
    access_key_id text        PRIMARY KEY COLLATE "C" CHECK (access_key_id ~ '^FSN[A-Z2-7]{17}$'),
    user_id       uuid        NOT NULL REFERENCES users ON DELETE CASCADE,
    name          text        NOT NULL CHECK (length(name) BETWEEN 1 AND 100),
    -- BLAKE3 derive_key("fsn access key v1", secret): the secret has 256 bits of chance.
    secret_hash   bytea       NOT NULL CHECK (octet_length(secret_hash) = 32),
    scopes        text[]      NOT NULL CHECK (scopes <@ '{read,write,list,delete,account}' AND cardinality(scopes) > 0),
    -- Only this bucket, and in it only what begins with this.
    bucket        text        CHECK (length(bucket) BETWEEN 3 AND 63),
    prefix        text        CHECK (prefix IS NULL OR (octet_length(prefix) <= 1024 AND bucket IS NOT NULL)),
    -- Addresses and networks that it may be used from; none: all.
    allowed_addresses text[]  NOT NULL DEFAULT '{}' CHECK (cardinality(allowed_addresses) <= 32),
    -- What is sent and fetched with it, and what it spends, on one day (UTC).
    bytes_per_day        bigint CHECK (bytes_per_day > 0),
    microcredits_per_day bigint CHECK (microcredits_per_day > 0),
    created_at    timestamptz NOT NULL DEFAULT now(),
    expires_at    timestamptz,
    -- Kept for a day, so that revoking it can be repeated.
    revoked_at    timestamptz,
    -- About a minute behind.
    last_used_at      timestamptz,
    last_used_address text,
    -- Of a key that was made with an Idempotency-Key: the secret is made of this, of that and of a key that is not here, so
    -- that an answer that was lost can be given again for an hour. Then this is wiped.
    salt          bytea       CHECK (octet_length(salt) = 16),
    idempotency   bytea       CHECK (octet_length(idempotency) = 32),
    request_hash  bytea       NOT NULL CHECK (octet_length(request_hash) = 32)
);
CREATE INDEX access_keys_by_user ON access_keys (user_id, created_at DESC, access_key_id);
CREATE UNIQUE INDEX access_keys_idempotency ON access_keys (user_id, idempotency) WHERE idempotency IS NOT NULL;
CREATE INDEX access_keys_salted ON access_keys (created_at) WHERE salt IS NOT NULL;
CREATE INDEX access_keys_revoked ON access_keys (revoked_at) WHERE revoked_at IS NOT NULL;

-- What keys with a cap have used on a day (UTC); kept for that day.
CREATE TABLE access_key_days (
    access_key_id text   NOT NULL COLLATE "C" REFERENCES access_keys ON DELETE CASCADE,
    day           date   NOT NULL,
    bytes         bigint NOT NULL DEFAULT 0 CHECK (bytes >= 0),
    microcredits  bigint NOT NULL DEFAULT 0 CHECK (microcredits >= 0),
    PRIMARY KEY (access_key_id, day)
);
CREATE INDEX access_key_days_by_day ON access_key_days (day);

-- Its secret goes with a key, also where the account goes that has it.
CREATE FUNCTION forget_access_key_secret() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    DELETE FROM wrapped_secrets WHERE purpose = 'access key' AND subject = OLD.access_key_id;
    RETURN NULL;
END $$;
CREATE TRIGGER access_key_deleted AFTER DELETE ON access_keys
    FOR EACH ROW EXECUTE FUNCTION forget_access_key_secret();

-- An account that may do nothing; why is told to whoever signs in to it.
ALTER TABLE users
    ADD COLUMN suspended_at     timestamptz,
    ADD COLUMN suspended_reason text;

-- Coordinators keep for a few seconds what they know of those who ask. Whatever changes that is told to all of them when it is
-- committed, by whomever: a trigger, since also people and coordinators of other releases change rows.
CREATE FUNCTION tell_credentials_changed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'INSERT' THEN
        PERFORM pg_notify('credentials_changed', NEW.user_id::text);
    ELSE
        PERFORM pg_notify('credentials_changed', OLD.user_id::text);
    END IF;
    RETURN NULL;
END $$;

CREATE TRIGGER access_key_changed
    AFTER UPDATE OF secret_hash, scopes, bucket, prefix, allowed_addresses, expires_at, revoked_at, bytes_per_day,
                    microcredits_per_day OR DELETE ON access_keys
    FOR EACH ROW EXECUTE FUNCTION tell_credentials_changed();
CREATE TRIGGER user_changed AFTER UPDATE OF role, suspended_at, suspended_reason OR DELETE ON users
    FOR EACH ROW EXECUTE FUNCTION tell_credentials_changed();
