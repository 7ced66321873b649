-- What administrators and owners do to whole accounts: suspend, credit, take a file down, close; and why.
--
-- A coordinator of the release before goes on working beside this one: it lets suspended accounts in until it is replaced.

-- Suspended: nobody can log in or renew a login; files stay, and are paid for. The owner is told the reason when he logs in.
-- Closed: the row stays for the books, which name accounts by their id, and says nothing of a person any more: the address
-- is replaced, the password is no hash. emptied_at: its files have ended, and what it had was forfeited.
ALTER TABLE users
    ADD COLUMN IF NOT EXISTS suspended_at     timestamptz,
    ADD COLUMN IF NOT EXISTS suspended_reason text,
    ADD COLUMN closed_at  timestamptz,
    ADD COLUMN emptied_at timestamptz,
    ADD CONSTRAINT users_suspended_check CHECK (
        (suspended_at IS NULL) = (suspended_reason IS NULL) AND length(suspended_reason) BETWEEN 1 AND 500),
    ADD CONSTRAINT users_emptied_check CHECK (emptied_at IS NULL OR closed_at IS NOT NULL);
CREATE INDEX users_to_empty ON users (closed_at) WHERE closed_at IS NOT NULL AND emptied_at IS NULL;

-- Append-only: who reads it later is to know what was decided, and why. A row is kept for 400 days.
-- No foreign key: it tells of files that are gone.
CREATE TABLE account_decisions (
    decision_id uuid        PRIMARY KEY, -- version 7: in order of time
    user_id     uuid        NOT NULL,
    at          timestamptz NOT NULL,
    decision    text        NOT NULL CHECK (decision ~ '^[a-z_]{1,40}$'),
    file_id     uuid,
    transfer_id uuid,
    -- What the administrator wrote, or who decided.
    reason      text        NOT NULL CHECK (length(reason) BETWEEN 1 AND 500)
);
CREATE INDEX account_decisions_by_user ON account_decisions (user_id, decision_id);
CREATE INDEX account_decisions_by_file ON account_decisions (file_id, decision_id) WHERE file_id IS NOT NULL;
CREATE INDEX account_decisions_by_time ON account_decisions (at);
