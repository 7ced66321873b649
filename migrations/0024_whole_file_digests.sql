-- Digests of whole files, and indices that take any name and list by completion.
--
-- A B-tree entry has at most a third of a page. `files_by_name` held whole names, so that a name of more than
-- some 2,650 bytes that do not compress failed the transaction that it shared with others. What takes its place
-- holds 256 characters, 1024 bytes at most, of whatever name an older coordinator still writes; order by prefix,
-- then name, is order by name. Older coordinators list by name without an index until they are upgraded.
-- `files_by_time` stays for them, until the next release.

-- SHA-256 of the whole content; null for files of older releases, and until it has been computed.
ALTER TABLE files ADD COLUMN sha256 bytea CHECK (octet_length(sha256) = 32);

CREATE INDEX files_by_name_prefix
    ON files (user_id, left(filename, 256) COLLATE "C", file_id) WHERE state = 'ready';
DROP INDEX files_by_name;
CREATE INDEX files_by_completion ON files (user_id, completed_at DESC, file_id) WHERE state = 'ready';

-- Files whose chunks came one by one, in any order: their digest is computed by reading them back, a part at a
-- time. A row leaves when `files.sha256` is set.
CREATE TABLE file_digests (
    file_id    uuid        PRIMARY KEY REFERENCES files ON DELETE CASCADE,
    -- The first chunk that is not in `state` yet.
    next_index integer     NOT NULL DEFAULT 0 CHECK (next_index >= 0),
    -- SHA-256 over the chunks before; null before the first.
    state      bytea       CHECK (octet_length(state) <= 256),
    -- Sum of the chunks' versions when it was begun: a chunk that is sent again makes it another one.
    versions   numeric     NOT NULL DEFAULT 0,
    -- When it is gone on with: somebody works on it, or it could not be read.
    not_before timestamptz NOT NULL DEFAULT now()
);

CREATE INDEX file_digests_due ON file_digests (not_before);
