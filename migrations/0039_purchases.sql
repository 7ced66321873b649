-- Purchases were written down when they were paid. Now they are before the payment provider is asked, and settle when it
-- says so: a coordinator that dies between any two steps leaves a row from which the next one goes on. Purchases of before
-- stand in the ledger alone, under the same keys (`purchase:<user>:<key>`).
--
-- A coordinator of the release before sells on, beside this one, from its mock, and without rows here.
--
-- No foreign keys to users: the books outlive an account.

CREATE TABLE purchases (
    purchase_id     uuid        PRIMARY KEY, -- version 7
    user_id         uuid        NOT NULL,
    idempotency_key text        NOT NULL,    -- the client's
    provider        text        NOT NULL CHECK (provider ~ '^[a-z]{1,20}$'),
    -- Under which the provider does it once.
    provider_key    text        NOT NULL UNIQUE,
    amount_cents    bigint      NOT NULL CHECK (amount_cents > 0),
    credits_microcredits bigint NOT NULL CHECK (credits_microcredits > 0),
    state           text        NOT NULL DEFAULT 'pending'
                                CHECK (state IN ('pending', 'paid', 'failed', 'reversed')),
    -- The provider's own name for the payment; null: it has not answered yet.
    payment         text,
    -- Why it failed.
    reason          text,
    -- Null until it is paid, and then the one that moved the credits.
    transfer_id     uuid        REFERENCES transfers,
    created_at      timestamptz NOT NULL DEFAULT now(),
    -- When a pending one is looked at again.
    try_at          timestamptz NOT NULL,
    settled_at      timestamptz,
    UNIQUE (user_id, idempotency_key),
    CHECK ((transfer_id IS NOT NULL) = (state IN ('paid', 'reversed')))
);

CREATE UNIQUE INDEX purchases_payment ON purchases (provider, payment) WHERE payment IS NOT NULL;
CREATE INDEX purchases_pending ON purchases (provider, try_at) WHERE state = 'pending';
CREATE INDEX purchases_open ON purchases (user_id) WHERE state = 'pending';

-- Payments that a bank has called back. What is done goes by how a dispute stands with the provider, not by what an event
-- says: events come twice and in any order.
CREATE TABLE disputes (
    provider     text        NOT NULL,
    dispute      text        NOT NULL,       -- the provider's name for it
    purchase_id  uuid        NOT NULL REFERENCES purchases,
    state        text        NOT NULL DEFAULT 'noted'
                             CHECK (state IN ('noted', 'taken', 'given_back', 'closed')),
    amount_cents bigint,
    -- What was taken from `available`, and what the platform lost. Both go back where they came from when it is won.
    taken_microcredits bigint NOT NULL DEFAULT 0 CHECK (taken_microcredits >= 0),
    lost_microcredits  bigint NOT NULL DEFAULT 0 CHECK (lost_microcredits >= 0),
    created_at   timestamptz NOT NULL DEFAULT now(),
    -- When it is looked at again; null: nothing more is expected of it.
    try_at       timestamptz,
    PRIMARY KEY (provider, dispute)
);

CREATE INDEX disputes_open ON disputes (provider, try_at) WHERE try_at IS NOT NULL;
CREATE INDEX disputes_by_purchase ON disputes (purchase_id);

-- What chargebacks took that accounts did not have any more.
INSERT INTO account_kinds (owner_kind, account, may_be) VALUES ('platform', 'losses', 'any')
    ON CONFLICT DO NOTHING;
INSERT INTO accounts (owner_id, account, owner_kind)
    VALUES ('00000000-0000-0000-0000-000000000000', 'losses', 'platform')
    ON CONFLICT DO NOTHING;

-- Who has called a payment back buys nothing more, and is paid nothing. Administrators suspend for other reasons.
ALTER TABLE users
    ADD COLUMN IF NOT EXISTS suspended_at     timestamptz,
    ADD COLUMN IF NOT EXISTS suspended_reason text;
