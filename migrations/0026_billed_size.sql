-- What a file costs is no longer its bytes alone. A file without content and with a long name cost nothing and was kept
-- for a century, and a byte cost a micro-credit in 22 years. From `billing_terms.since` on, new files are billed by the
-- bytes of content and name, and 64 KiB at least. A file keeps the terms that it was sold under: NULL in
-- `billed_name_bytes` are the old ones. The number stands in the row, so that no later change of a name could change
-- what was charged before.
--
-- A coordinator of the release before meters every file by its content. So that none of them settles a file of the new
-- terms, these begin an hour after this migration where there are files already: by then a rolling upgrade is over.
--
-- Trial credit goes from `income` into what is held for an upload, and what is not used up of it returns there. Rows
-- remember how much of what was held and paid it is. It never becomes `available`, which may be worth money.

-- Not validated: a scan of all files would keep everybody out. Old rows have the default, for which the checks hold.
ALTER TABLE files
    ADD COLUMN billed_name_bytes  integer,
    ADD COLUMN trial_microcredits bigint NOT NULL DEFAULT 0, -- part of paid_microcredits
    ADD CONSTRAINT files_billed_name_bytes CHECK (billed_name_bytes BETWEEN 1 AND 4096) NOT VALID,
    ADD CONSTRAINT files_trial CHECK (trial_microcredits >= 0) NOT VALID;

ALTER TABLE uploads
    ADD COLUMN trial_microcredits bigint  NOT NULL DEFAULT 0, -- part of hold_microcredits
    -- Chunks that were sent once more with other content: bounded, and charged.
    ADD COLUMN resent_chunks      integer NOT NULL DEFAULT 0,
    ADD CONSTRAINT uploads_trial CHECK (trial_microcredits >= 0) NOT VALID,
    ADD CONSTRAINT uploads_resent CHECK (resent_chunks >= 0) NOT VALID;

-- Set by the first purchase. For accounts that bought before, the ledger is looked at when it matters.
ALTER TABLE users ADD COLUMN has_bought boolean NOT NULL DEFAULT false;

CREATE TABLE billing_terms (
    terms text        PRIMARY KEY,
    since timestamptz NOT NULL
);

INSERT INTO billing_terms (terms, since)
SELECT 'content_and_name',
       CASE WHEN EXISTS (SELECT FROM files) THEN now() + interval '1 hour' ELSE 'epoch' END;
