-- Append-only double-entry ledger, sealed into hash-chained blocks. All amounts are micro-credits.

-- Owner of a user's account: the user's id; of a node's: the node's id; of the platform's: all zeros.
CREATE TABLE accounts (
    owner_id             uuid   NOT NULL,
    account              text   NOT NULL,
    owner_kind           text   NOT NULL CHECK (owner_kind IN ('user', 'node', 'platform')),
    balance_microcredits bigint NOT NULL DEFAULT 0,
    PRIMARY KEY (owner_id, account),
    CHECK ((owner_kind, account) IN (
        ('user', 'available'), ('user', 'upload_hold'), ('user', 'escrow'),
        ('node', 'held'), ('node', 'available'),
        ('platform', 'income'), ('platform', 'penalties'), ('platform', 'rounding'),
        ('platform', 'outside'))),
    -- Only the platform may owe.
    CHECK (owner_kind = 'platform' OR balance_microcredits >= 0)
);

INSERT INTO accounts (owner_id, account, owner_kind)
SELECT '00000000-0000-0000-0000-000000000000', account, 'platform'
FROM unnest(ARRAY['income', 'penalties', 'rounding', 'outside']) AS account;

CREATE TABLE blocks (
    block_number   bigint      PRIMARY KEY CHECK (block_number > 0),
    previous_hash  bytea       NOT NULL CHECK (octet_length(previous_hash) = 32),
    hash           bytea       NOT NULL CHECK (octet_length(hash) = 32),
    transfer_count integer     NOT NULL CHECK (transfer_count > 0),
    sealed_at      timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE transfers (
    transfer_id     uuid        PRIMARY KEY, -- version 7: in order of time
    kind            text        NOT NULL CHECK (kind ~ '^[a-z_]{1,40}$'),
    idempotency_key text        NOT NULL UNIQUE CHECK (octet_length(idempotency_key) <= 512),
    at              timestamptz NOT NULL,    -- whole milliseconds
    cause           json        NOT NULL,    -- json keeps the text that was hashed; jsonb would not
    hash            bytea       NOT NULL CHECK (octet_length(hash) = 32),
    block           bigint      REFERENCES blocks
);

CREATE INDEX transfers_unsealed ON transfers (transfer_id) WHERE block IS NULL;
CREATE INDEX transfers_by_block ON transfers (block);

CREATE TABLE entries (
    transfer_id         uuid   NOT NULL REFERENCES transfers,
    owner_id            uuid   NOT NULL,
    account             text   NOT NULL,
    amount_microcredits bigint NOT NULL CHECK (amount_microcredits <> 0),
    PRIMARY KEY (transfer_id, owner_id, account),
    FOREIGN KEY (owner_id, account) REFERENCES accounts
);

CREATE INDEX entries_by_owner ON entries (owner_id, transfer_id);

-- What has been written stays: a transfer changes once, when it is sealed.
CREATE FUNCTION refuse_ledger_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'the ledger is append-only';
END
$$;

CREATE FUNCTION allow_sealing_only() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF OLD.block IS NOT NULL
       OR (OLD.transfer_id, OLD.kind, OLD.idempotency_key, OLD.at, OLD.cause::text, OLD.hash)
          IS DISTINCT FROM
          (NEW.transfer_id, NEW.kind, NEW.idempotency_key, NEW.at, NEW.cause::text, NEW.hash) THEN
        RAISE EXCEPTION 'the ledger is append-only';
    END IF;
    RETURN NEW;
END
$$;

CREATE TRIGGER entries_append_only BEFORE UPDATE OR DELETE ON entries
    FOR EACH ROW EXECUTE FUNCTION refuse_ledger_change();
CREATE TRIGGER blocks_append_only BEFORE UPDATE OR DELETE ON blocks
    FOR EACH ROW EXECUTE FUNCTION refuse_ledger_change();
CREATE TRIGGER transfers_append_only BEFORE UPDATE ON transfers
    FOR EACH ROW EXECUTE FUNCTION allow_sealing_only();
CREATE TRIGGER transfers_stay BEFORE DELETE ON transfers
    FOR EACH ROW EXECUTE FUNCTION refuse_ledger_change();
