-- Nodes that an adoption has ended without: what the database names on them is from before the restore. They are
-- kept out until another adoption has gone through them.
ALTER TABLE nodes ADD COLUMN awaits_adoption_since timestamptz;
