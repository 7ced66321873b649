-- The brake: purges beyond what may be removed in a day put blobs into the trash, with a time until which they
-- stay there whatever the retention is. Here, and not in memory, so that a restart neither forgets what was
-- removed today nor removes what is to stay.

ALTER TABLE blobs ADD COLUMN deferred_until INTEGER CHECK (deferred_until IS NULL OR state = 1); -- Unix ms; null: its removal was not put off
CREATE INDEX blobs_deferred ON blobs (deferred_until) WHERE deferred_until IS NOT NULL;

-- One row: how much has been put off. Kept by triggers, as the other counts.
CREATE TABLE deferred (
  only       INTEGER NOT NULL PRIMARY KEY CHECK (only = 1),
  blobs      INTEGER NOT NULL DEFAULT 0 CHECK (blobs >= 0),
  bytes      INTEGER NOT NULL DEFAULT 0 CHECK (bytes >= 0),
  disk_bytes INTEGER NOT NULL DEFAULT 0 CHECK (disk_bytes >= 0)
) STRICT;
INSERT INTO deferred (only) VALUES (1);

CREATE TRIGGER deferred_entered AFTER INSERT ON blobs WHEN NEW.deferred_until IS NOT NULL BEGIN
  UPDATE deferred SET blobs = blobs + 1, bytes = bytes + NEW.length, disk_bytes = disk_bytes + NEW.disk_bytes;
END;
CREATE TRIGGER deferred_left AFTER DELETE ON blobs WHEN OLD.deferred_until IS NOT NULL BEGIN
  UPDATE deferred SET blobs = blobs - 1, bytes = bytes - OLD.length, disk_bytes = disk_bytes - OLD.disk_bytes;
END;
CREATE TRIGGER deferred_ended AFTER UPDATE OF deferred_until, length, disk_bytes ON blobs WHEN OLD.deferred_until IS NOT NULL BEGIN
  UPDATE deferred SET blobs = blobs - 1, bytes = bytes - OLD.length, disk_bytes = disk_bytes - OLD.disk_bytes;
END;
CREATE TRIGGER deferred_begun AFTER UPDATE OF deferred_until, length, disk_bytes ON blobs WHEN NEW.deferred_until IS NOT NULL BEGIN
  UPDATE deferred SET blobs = blobs + 1, bytes = bytes + NEW.length, disk_bytes = disk_bytes + NEW.disk_bytes;
END;

-- Blobs that were removed for good because somebody ordered it, by the minute; those of the last day.
CREATE TABLE removals (
  minute INTEGER NOT NULL PRIMARY KEY, -- Unix time / 60
  blobs  INTEGER NOT NULL CHECK (blobs > 0)
) STRICT;

-- The most blobs that were held, by the hour in which some were removed; those of the last week.
CREATE TABLE highest (
  hour  INTEGER NOT NULL PRIMARY KEY, -- Unix time / 3600
  blobs INTEGER NOT NULL CHECK (blobs >= 0)
) STRICT;
