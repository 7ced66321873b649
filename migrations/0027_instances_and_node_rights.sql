-- Which copy of its data directory a node runs from, from where it was last connected, who may add nodes, and how a node
-- that never was one is forgotten.
--
-- A coordinator of the release before goes on working beside this one: it writes none of the new columns, and what it
-- leaves empty means what it meant.

-- The number that the node's data directory had when it was taken last. Null: it has said none since it registered, and the
-- next one counts. From last_address the node's handshakes have room of their own, whoever else fills the port.
ALTER TABLE nodes
    ADD COLUMN instance     uuid,
    ADD COLUMN last_address text CHECK (length(last_address) BETWEEN 2 AND 45);

-- So many nodes the account may have, tokens that wait for theirs included. Null: no administrator has said anything, and
-- the way of admission decides.
ALTER TABLE users ADD COLUMN node_quota integer CHECK (node_quota BETWEEN 0 AND 1000000);

-- Registered, and never seen since.
CREATE INDEX nodes_never_seen ON nodes (created_at) WHERE last_seen_at IS NULL;

-- What is noted of a node goes with it. Only nodes that never were here are removed: those that were have a history, and what
-- they are owed and were paid (payouts, entries) keeps them from going.
ALTER TABLE node_tokens
    DROP CONSTRAINT node_tokens_used_by_fkey,
    ADD CONSTRAINT node_tokens_used_by_fkey FOREIGN KEY (used_by) REFERENCES nodes ON DELETE CASCADE;
ALTER TABLE audit_schedule
    DROP CONSTRAINT audit_schedule_node_id_fkey,
    ADD CONSTRAINT audit_schedule_node_id_fkey FOREIGN KEY (node_id) REFERENCES nodes ON DELETE CASCADE;
ALTER TABLE node_demotions
    DROP CONSTRAINT node_demotions_node_id_fkey,
    ADD CONSTRAINT node_demotions_node_id_fkey FOREIGN KEY (node_id) REFERENCES nodes ON DELETE CASCADE;
ALTER TABLE repair_scans
    DROP CONSTRAINT repair_scans_node_id_fkey,
    ADD CONSTRAINT repair_scans_node_id_fkey FOREIGN KEY (node_id) REFERENCES nodes ON DELETE CASCADE;
ALTER TABLE drains
    DROP CONSTRAINT drains_node_id_fkey,
    ADD CONSTRAINT drains_node_id_fkey FOREIGN KEY (node_id) REFERENCES nodes ON DELETE CASCADE;
ALTER TABLE reconcile_schedule
    DROP CONSTRAINT reconcile_schedule_node_id_fkey,
    ADD CONSTRAINT reconcile_schedule_node_id_fkey FOREIGN KEY (node_id) REFERENCES nodes ON DELETE CASCADE;
ALTER TABLE adoption_nodes
    DROP CONSTRAINT adoption_nodes_node_id_fkey,
    ADD CONSTRAINT adoption_nodes_node_id_fkey FOREIGN KEY (node_id) REFERENCES nodes ON DELETE CASCADE;
