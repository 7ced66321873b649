-- Blobs that were found damaged or gone and that no coordinator has been told of yet. Kept by triggers,
-- in the transaction that changes the blob: whoever finds a loss, none is forgotten.
CREATE TABLE losses (
  state INTEGER NOT NULL CHECK (state IN (2, 3)), -- of the blob: corrupt, lost
  id    BLOB    NOT NULL CHECK (length(id) = 32),
  PRIMARY KEY (state, id)
) STRICT, WITHOUT ROWID;

INSERT INTO losses SELECT state, id FROM blobs WHERE state IN (2, 3);

CREATE TRIGGER loss_entered AFTER INSERT ON blobs WHEN NEW.state IN (2, 3) BEGIN
  INSERT OR IGNORE INTO losses VALUES (NEW.state, NEW.id);
END;
-- A blob that is back, or whose row goes, is no loss any more.
CREATE TRIGGER loss_ended AFTER UPDATE OF state ON blobs WHEN OLD.state IN (2, 3) AND NEW.state <> OLD.state BEGIN
  DELETE FROM losses WHERE state = OLD.state AND id = OLD.id;
END;
CREATE TRIGGER loss_found AFTER UPDATE OF state ON blobs WHEN NEW.state IN (2, 3) AND NEW.state <> OLD.state BEGIN
  INSERT OR IGNORE INTO losses VALUES (NEW.state, NEW.id);
END;
CREATE TRIGGER loss_forgotten AFTER DELETE ON blobs WHEN OLD.state IN (2, 3) BEGIN
  DELETE FROM losses WHERE state = OLD.state AND id = OLD.id;
END;
