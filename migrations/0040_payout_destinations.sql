-- Payouts go to somebody: a user says whom the provider pays for his nodes. And they are paid when the provider has
-- confirmed it, not when it was asked.

CREATE TABLE payout_destinations (
    user_id        uuid        PRIMARY KEY REFERENCES users ON DELETE CASCADE,
    destination_id uuid        NOT NULL UNIQUE, -- a new one each time that the user sets one; the provider is asked under it
    provider       text        NOT NULL CHECK (provider ~ '^[a-z]{1,20}$'),
    -- ISO 3166; null: the provider's own.
    country        text        CHECK (country ~ '^[A-Z]{2}$'),
    -- The provider's name for it; null: it has not answered yet.
    account        text,
    -- Whether the provider said, when it was asked last, that transfers arrive.
    ready          boolean     NOT NULL DEFAULT false,
    created_at     timestamptz NOT NULL DEFAULT now()
);

-- A coordinator of the release before calls any payout paid that is pending and due by `try_at`, for it knows a mock only.
-- So `try_at` of new ones never comes, and `look_at` says when they are due. Where `provider` is null the row is of such a
-- coordinator: of the mock.
ALTER TABLE payouts
    ADD COLUMN provider     text,
    -- Under which the provider does it once.
    ADD COLUMN provider_key text,
    ADD COLUMN destination  text,
    ADD COLUMN amount_cents bigint CHECK (amount_cents >= 0),
    -- How often the provider was asked, the question that is under way included.
    ADD COLUMN attempts     integer NOT NULL DEFAULT 0,
    -- Why it was refused, or what the provider said last.
    ADD COLUMN reason       text,
    ADD COLUMN look_at      timestamptz;

CREATE INDEX payouts_due ON payouts (look_at) WHERE state = 'pending';
CREATE INDEX payouts_payment ON payouts (payment) WHERE payment IS NOT NULL;
