-- A file that was deleted, or whose upload was given up, is gone for its owner in one short
-- transaction, however large it is: key and session go, the row is marked. A worker then takes the
-- chunks away batch by batch, each with the purges of its blobs.

ALTER TABLE files ADD COLUMN deleted_at timestamptz;
ALTER TABLE files DROP CONSTRAINT files_state_check;
ALTER TABLE files ADD CONSTRAINT files_state_check CHECK (state IN ('uploading', 'ready', 'deleted'));
ALTER TABLE files DROP CONSTRAINT files_check;
ALTER TABLE files ADD CONSTRAINT files_ready_check CHECK (
    state <> 'ready' OR (size_bytes IS NOT NULL AND chunk_count IS NOT NULL
                         AND completed_at IS NOT NULL AND paid_until IS NOT NULL));
ALTER TABLE files ADD CONSTRAINT files_deleted_check CHECK ((state = 'deleted') = (deleted_at IS NOT NULL));

DROP INDEX files_by_time, files_by_name;
CREATE INDEX files_by_time ON files (user_id, created_at DESC, file_id) WHERE state = 'ready';
CREATE INDEX files_by_name ON files (user_id, filename COLLATE "C", file_id) WHERE state = 'ready';
CREATE INDEX files_deleted ON files (deleted_at) WHERE state = 'deleted';
