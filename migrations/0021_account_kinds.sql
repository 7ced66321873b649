-- Kinds of accounts as data. Which accounts an owner may have, and which of them may owe, stood in three CHECKs
-- of `accounts`, and each new capability would have had to make them again, with the table locked against everybody.
-- From here on it inserts rows. What was refused before is refused still: a kind that is no row by the foreign key,
-- a balance that may not be negative by the trigger. Its function runs for negative balances only, so that posting
-- pays nothing for it.
--
-- Kinds of transfers are no table: only their form was ever checked, nothing depends on them, and a foreign key would
-- have every transfer of a kind lock the same row.

CREATE TABLE account_kinds (
    owner_kind text NOT NULL CHECK (owner_kind ~ '^[a-z_]{1,40}$'),
    account    text NOT NULL CHECK (account ~ '^[a-z_]{1,40}$'),
    may_be     text NOT NULL CHECK (may_be IN ('non_negative', 'any')), -- balances
    PRIMARY KEY (owner_kind, account)
);

INSERT INTO account_kinds (owner_kind, account, may_be) VALUES
    ('user', 'available', 'non_negative'),
    ('user', 'upload_hold', 'non_negative'),
    ('user', 'escrow', 'non_negative'),
    ('node', 'held', 'non_negative'),
    ('node', 'available', 'non_negative'),
    -- Only the platform may owe.
    ('platform', 'income', 'any'),
    ('platform', 'penalties', 'any'),
    ('platform', 'rounding', 'any'),
    ('platform', 'outside', 'any');

-- What a kind may be holds for all balances that were written under it.
CREATE TRIGGER account_kinds_append_only BEFORE UPDATE OR DELETE ON account_kinds
    FOR EACH ROW EXECUTE FUNCTION refuse_ledger_change();

ALTER TABLE accounts
    ADD CONSTRAINT accounts_kind FOREIGN KEY (owner_kind, account) REFERENCES account_kinds,
    DROP CONSTRAINT accounts_owner_kind_check,
    DROP CONSTRAINT accounts_check,
    DROP CONSTRAINT accounts_check1;

CREATE FUNCTION refuse_overdraft() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NOT EXISTS (SELECT 1 FROM account_kinds k
                   WHERE k.owner_kind = NEW.owner_kind AND k.account = NEW.account AND k.may_be = 'any') THEN
        RAISE EXCEPTION 'the account %/% may not be negative', NEW.owner_id, NEW.account
            USING ERRCODE = 'check_violation', TABLE = 'accounts', CONSTRAINT = 'accounts_overdraft';
    END IF;
    RETURN NULL;
END
$$;

CREATE TRIGGER accounts_overdraft AFTER INSERT OR UPDATE ON accounts
    FOR EACH ROW WHEN (NEW.balance_microcredits < 0) EXECUTE FUNCTION refuse_overdraft();
