-- What a node's score is made of, what keeps it from new data, and uptime by samples.
--
-- Proofs that do not come in time and losses that a node reports move the score now, so it has to be known which
-- part of beta is theirs; vetting counts time and bytes; a node can be on hold for more than a round that failed by
-- half. Coordinators of the release before leave the new columns alone.

ALTER TABLE nodes
    -- The part of score_beta that is owed to proofs which did not come in time. It suspends, and never disqualifies.
    ADD COLUMN score_missed    bigint NOT NULL DEFAULT 0 CHECK (score_missed >= 0),
    -- Plaintext bytes of the challenges that were passed in time.
    ADD COLUMN passed_bytes    bigint NOT NULL DEFAULT 0 CHECK (passed_bytes >= 0),
    -- Since when nodes.vetting_time runs; null: since it registered.
    ADD COLUMN probation_since timestamptz,
    -- Replicas that were found or reported lost within a day that begins there.
    ADD COLUMN losses_since    timestamptz,
    ADD COLUMN losses          bigint NOT NULL DEFAULT 0 CHECK (losses >= 0),
    -- Until then it gets no new data; what for.
    ADD COLUMN hold_until      timestamptz,
    ADD COLUMN hold_cause      text CHECK (hold_cause IN ('losses', 'unanswered', 'receipts')),
    ADD CHECK ((hold_until IS NULL) = (hold_cause IS NULL));

-- Whoever has passed a hundred challenges was vetted by the rule before this one, and stays so.
UPDATE nodes SET passed_bytes = passed_challenges * CASE WHEN passed_challenges >= 100 THEN 4194304 ELSE 4096 END
WHERE passed_challenges > 0;

-- Beside round_passed and round_failed: drawn replicas whose proof did not come in time, and those that the node
-- had reported lost by itself.
ALTER TABLE audit_schedule
    ADD COLUMN round_missed   bigint NOT NULL DEFAULT 0 CHECK (round_missed >= 0),
    ADD COLUMN round_reported bigint NOT NULL DEFAULT 0 CHECK (round_reported >= 0);

-- Uptime by samples: one row holds what one coordinator has sampled of a node in 64 windows of 10 s, a byte for each:
-- samples taken in the high half, those that were answered in the low one. uptime_windows is written no more; what
-- coordinators of the release before write there counts where no samples are.
CREATE TABLE uptime_samples (
    slot        bigint NOT NULL,
    node_id     uuid   NOT NULL,
    -- Its peer id.
    coordinator text   NOT NULL,
    windows     bytea  NOT NULL CHECK (octet_length(windows) = 64),
    PRIMARY KEY (slot, node_id, coordinator)
);
ALTER TABLE uptime_samples SET (fillfactor = 70);

-- By which rule the day's uptime was worked out: null and 1 from uptime_windows alone, 2 from samples where there are
-- any.
ALTER TABLE node_days ADD COLUMN uptime_rule smallint;
