-- Where the bytes of a blob are. A volume keeps its blobs as one file each (then segment and position
-- are null: the file's name tells all) or as records in segment files.

ALTER TABLE blobs ADD COLUMN disk_bytes INTEGER NOT NULL DEFAULT 0 CHECK (disk_bytes >= 0); -- with trailer or header and padding; 0: nothing is left of it
ALTER TABLE blobs ADD COLUMN segment    INTEGER CHECK (segment >= 0);
ALTER TABLE blobs ADD COLUMN position   INTEGER CHECK (position >= 0 AND (segment IS NULL) = (position IS NULL)); -- where in the segment its record begins
ALTER TABLE counts ADD COLUMN disk_bytes INTEGER NOT NULL DEFAULT 0 CHECK (disk_bytes >= 0);

UPDATE blobs SET disk_bytes = length + 124 WHERE state <> 3;
UPDATE counts SET disk_bytes = bytes + 124 * blobs WHERE state <> 3;

CREATE TABLE segments (
  number    INTEGER NOT NULL PRIMARY KEY CHECK (number >= 0),
  committed INTEGER NOT NULL DEFAULT 0 CHECK (committed >= 0), -- what lies behind this is not entered yet
  held      INTEGER NOT NULL DEFAULT 0 CHECK (held >= 0)       -- bytes of records that belong to a blob
) STRICT;
CREATE INDEX segments_empty ON segments (number) WHERE held = 0;

-- Records that no blob needs any more and that are not wiped off the disk yet.
CREATE TABLE tombstones (
  segment  INTEGER NOT NULL,
  position INTEGER NOT NULL,
  id       BLOB    NOT NULL CHECK (length(id) = 32),
  length   INTEGER NOT NULL,
  PRIMARY KEY (segment, position)
) STRICT, WITHOUT ROWID;

-- As before, kept by triggers: counts, what segments hold, and the tombstones, so that no change of a
-- blob can forget its old record.
DROP TRIGGER blobs_inserted;
DROP TRIGGER blobs_deleted;
DROP TRIGGER blobs_changed;

CREATE TRIGGER blobs_inserted AFTER INSERT ON blobs BEGIN
  UPDATE counts SET blobs = blobs + 1, bytes = bytes + NEW.length, disk_bytes = disk_bytes + NEW.disk_bytes
    WHERE state = NEW.state;
END;
CREATE TRIGGER blobs_deleted AFTER DELETE ON blobs BEGIN
  UPDATE counts SET blobs = blobs - 1, bytes = bytes - OLD.length, disk_bytes = disk_bytes - OLD.disk_bytes
    WHERE state = OLD.state;
END;
CREATE TRIGGER blobs_changed AFTER UPDATE OF length, state, disk_bytes ON blobs BEGIN
  UPDATE counts SET blobs = blobs - 1, bytes = bytes - OLD.length, disk_bytes = disk_bytes - OLD.disk_bytes
    WHERE state = OLD.state;
  UPDATE counts SET blobs = blobs + 1, bytes = bytes + NEW.length, disk_bytes = disk_bytes + NEW.disk_bytes
    WHERE state = NEW.state;
END;

CREATE TRIGGER record_entered AFTER INSERT ON blobs WHEN NEW.segment IS NOT NULL BEGIN
  INSERT INTO segments (number, committed, held) VALUES (NEW.segment, NEW.position + NEW.disk_bytes, NEW.disk_bytes)
    ON CONFLICT (number) DO UPDATE SET committed = max(committed, excluded.committed), held = held + excluded.held;
END;
CREATE TRIGGER record_left AFTER DELETE ON blobs WHEN OLD.segment IS NOT NULL BEGIN
  UPDATE segments SET held = held - OLD.disk_bytes WHERE number = OLD.segment;
  INSERT OR REPLACE INTO tombstones VALUES (OLD.segment, OLD.position, OLD.id, OLD.length);
END;
CREATE TRIGGER record_replaced AFTER UPDATE OF segment, position ON blobs
  WHEN OLD.segment IS NOT NULL AND (NEW.segment, NEW.position) IS NOT (OLD.segment, OLD.position) BEGIN
  UPDATE segments SET held = held - OLD.disk_bytes WHERE number = OLD.segment;
  INSERT OR REPLACE INTO tombstones VALUES (OLD.segment, OLD.position, OLD.id, OLD.length);
END;
CREATE TRIGGER record_moved AFTER UPDATE OF segment, position ON blobs
  WHEN NEW.segment IS NOT NULL AND (NEW.segment, NEW.position) IS NOT (OLD.segment, OLD.position) BEGIN
  INSERT INTO segments (number, committed, held) VALUES (NEW.segment, NEW.position + NEW.disk_bytes, NEW.disk_bytes)
    ON CONFLICT (number) DO UPDATE SET committed = max(committed, excluded.committed), held = held + excluded.held;
END;
