-- Evidence is dropped by the database's clock: a coordinator whose own is ahead must not take the others' with it. It
-- may have partitions made for the days that it believes in.
CREATE OR REPLACE FUNCTION audit_keep_partitions(at timestamptz) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    today date := (at AT TIME ZONE 'UTC')::date;
    kept_from date := least(today, (now() AT TIME ZONE 'UTC')::date) - 91;
    parent text;
    day date;
    old record;
BEGIN
    PERFORM pg_advisory_xact_lock(hashtext('audit_keep_partitions'));
    FOREACH parent IN ARRAY ARRAY['audit_statements', 'audit_failures'] LOOP
        FOR day IN SELECT today + n FROM generate_series(0, 2) AS n LOOP
            IF to_regclass(format('%I', parent || to_char(day, '_YYYYMMDD'))) IS NULL THEN
                EXECUTE format('CREATE TABLE %I PARTITION OF %I FOR VALUES FROM (%L) TO (%L)',
                    parent || to_char(day, '_YYYYMMDD'), parent,
                    day::timestamp AT TIME ZONE 'UTC', (day + 1)::timestamp AT TIME ZONE 'UTC');
            END IF;
        END LOOP;
        FOR old IN
            SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
            WHERE i.inhparent = parent::regclass
              AND c.relname < parent || to_char(kept_from, '_YYYYMMDD')
        LOOP
            EXECUTE format('DROP TABLE %I', old.relname);
        END LOOP;
    END LOOP;
END
$$;
