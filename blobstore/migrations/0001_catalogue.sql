-- What the node holds. The files are the truth; this is the index over them, and can be made anew
-- from them (`storage-node chunks verify --rebuild`).

CREATE TABLE blobs (
  id        BLOB    NOT NULL PRIMARY KEY CHECK (length(id) = 32),
  length    INTEGER NOT NULL CHECK (length >= 0),          -- bytes of the blob, its trailer not counted
  stored_at INTEGER NOT NULL,                              -- Unix ms; what the receipt says
  locator   BLOB    NOT NULL CHECK (length(locator) = 64), -- opaque; only coordinators can read it
  state     INTEGER NOT NULL CHECK (state BETWEEN 0 AND 3),-- 0 live, 1 trashed, 2 corrupt, 3 lost
  state_at  INTEGER NOT NULL                               -- Unix ms; since when it is in that state
) STRICT, WITHOUT ROWID;

-- Trash that is due, and damage to show: both are few beside the live blobs.
CREATE INDEX blobs_not_live ON blobs (state, state_at, id) WHERE state <> 0;

-- Kept by the triggers below, within the transaction that changes a blob, so that they cannot drift.
CREATE TABLE counts (
  state INTEGER NOT NULL PRIMARY KEY,
  blobs INTEGER NOT NULL DEFAULT 0 CHECK (blobs >= 0),
  bytes INTEGER NOT NULL DEFAULT 0 CHECK (bytes >= 0)
) STRICT;
INSERT INTO counts (state) VALUES (0), (1), (2), (3);

CREATE TRIGGER blobs_inserted AFTER INSERT ON blobs BEGIN
  UPDATE counts SET blobs = blobs + 1, bytes = bytes + NEW.length WHERE state = NEW.state;
END;
CREATE TRIGGER blobs_deleted AFTER DELETE ON blobs BEGIN
  UPDATE counts SET blobs = blobs - 1, bytes = bytes - OLD.length WHERE state = OLD.state;
END;
CREATE TRIGGER blobs_changed AFTER UPDATE OF length, state ON blobs BEGIN
  UPDATE counts SET blobs = blobs - 1, bytes = bytes - OLD.length WHERE state = OLD.state;
  UPDATE counts SET blobs = blobs + 1, bytes = bytes + NEW.length WHERE state = NEW.state;
END;

-- One row.
CREATE TABLE progress (
  only         INTEGER NOT NULL PRIMARY KEY CHECK (only = 1),
  closed       INTEGER NOT NULL CHECK (closed IN (0, 1)), -- 0 while a node runs, or after a crash
  scrub_cursor BLOB CHECK (length(scrub_cursor) = 32)     -- the last blob that the scrub has read
) STRICT;
INSERT INTO progress (only, closed) VALUES (1, 0);
