-- Sessions: each login as its owner sees it. An access token names its session, and is good as long as that is there; the
-- refresh tokens of a session are a family. Coordinators of the release before go on beside this: they make families
-- without a session, which gets one when its token is exchanged here, and they end one by taking its tokens away.

CREATE TABLE sessions (
    session_id   uuid        PRIMARY KEY,
    -- Of its refresh tokens. Shown to nobody: whoever knows it can end the login.
    family_id    uuid        NOT NULL UNIQUE,
    user_id      uuid        NOT NULL REFERENCES users ON DELETE CASCADE,
    created_at   timestamptz NOT NULL DEFAULT now(),
    -- About a minute behind.
    last_seen_at timestamptz NOT NULL DEFAULT now(),
    user_agent   text        NOT NULL DEFAULT '' CHECK (length(user_agent) <= 200),
    -- From where it was used last. Null: not since sessions are kept.
    address      text,
    -- However often it is renewed.
    expires_at   timestamptz NOT NULL
);
CREATE INDEX sessions_by_user ON sessions (user_id);

INSERT INTO sessions (session_id, family_id, user_id, created_at, last_seen_at, expires_at)
SELECT gen_random_uuid(), family_id, (array_agg(user_id))[1], min(created_at), max(created_at), now() + interval '90 days'
FROM refresh_tokens GROUP BY family_id;

-- A login ends with its last refresh token, whoever takes it away.
CREATE FUNCTION end_session_without_tokens() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    DELETE FROM sessions WHERE family_id = OLD.family_id
        AND NOT EXISTS (SELECT 1 FROM refresh_tokens WHERE family_id = OLD.family_id);
    RETURN NULL;
END $$;
CREATE TRIGGER refresh_token_deleted AFTER DELETE ON refresh_tokens
    FOR EACH ROW EXECUTE FUNCTION end_session_without_tokens();

CREATE TRIGGER session_changed AFTER UPDATE OF user_id, expires_at OR DELETE ON sessions
    FOR EACH ROW EXECUTE FUNCTION tell_credentials_changed();
