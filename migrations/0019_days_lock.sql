-- The lock that ledger_now() shares, and that whoever cuts a day off takes alone. Each had written its key by hand,
-- and not the same one, so that neither waited for the other: what was dated before the end of a day and committed
-- after the day was counted was missing in it.
CREATE FUNCTION days_lock() RETURNS bigint LANGUAGE sql IMMUTABLE AS 'SELECT 7382365570175433075'; -- "fsn_days"

CREATE OR REPLACE FUNCTION ledger_now() RETURNS timestamptz LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    cut timestamptz;
BEGIN
    PERFORM pg_advisory_xact_lock_shared(days_lock());
    SELECT max(ends_at) INTO cut FROM settlement_days;
    RETURN date_trunc('milliseconds', greatest(database_clock(), cut));
END
$$;
