-- Evidence that is bound to the file.
--
-- How a file's chunks are sealed: 1 all under its data key, 2 each under a key of its own, derived from that. What opens
-- one chunk of a file of version 2 opens no other, so an owner can be shown it. Files that are there, and those of
-- coordinators of the release before, are of version 1 and stay so.
ALTER TABLE files ADD COLUMN sealing smallint NOT NULL DEFAULT 1 CHECK (sealing >= 1);

-- Which versions a coordinator can read. Coordinators of the release before do not say so, and new files are of
-- version 1 as long as one of them runs.
ALTER TABLE running_coordinators ADD COLUMN sealing smallint NOT NULL DEFAULT 1 CHECK (sealing >= 1);

-- Chunks whose keys their owners were shown, and since when. Only so many of a file are opened in a day
-- (evidence.open_share); one that is open stays open. Rows go with their file.
CREATE TABLE opened_chunks (
    file_id     uuid        NOT NULL REFERENCES files ON DELETE CASCADE,
    chunk_index integer     NOT NULL CHECK (chunk_index >= 0),
    opened_at   timestamptz NOT NULL DEFAULT database_clock(),
    PRIMARY KEY (file_id, chunk_index)
);

CREATE INDEX opened_chunks_by_time ON opened_chunks (file_id, opened_at);

-- What a node sent when it failed, by the challenge: with the statement, evidence for the node and its operator.
CREATE INDEX audit_failures_by_challenge ON audit_failures (challenge_id, position);
