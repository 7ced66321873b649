-- Which piece of its chunk a replica is: 0 for a whole copy.
--
-- How a chunk is kept is a scheme (copies, 1 of n, or coded pieces, k of n). Copies are all alike; of coded pieces each
-- node holds another one, and a reader has to know which. Existing rows are copies, and so is what is written today:
-- the default stands in the catalogue and rewrites no row.
ALTER TABLE replicas ADD COLUMN piece smallint NOT NULL DEFAULT 0 CHECK (piece >= 0);
