//! What a session with Postgres has to be like. Set and checked when it begins, each time.
//!
//! Rejected: start-up options of the connection. PgBouncer drops them without a word, and what was acknowledged would
//! not be on disk.

use std::fmt;

use sqlx::PgConnection;

/// Postgres 15.
const OLDEST: i32 = 150_000;

/// Whoever stands still in a transaction longer than this loses it: the others wait for its locks.
const STANDS_STILL_FOR: &str = "10s";

/// Why nothing can be kept in this database, or through this connection, and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct Unfit(String);

impl fmt::Display for Unfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<Unfit> for sqlx::Error {
    fn from(unfit: Unfit) -> Self {
        Self::Configuration(unfit.into())
    }
}

#[derive(sqlx::FromRow)]
struct Session {
    backend: i32,
    version: i32,
    version_text: String,
    encoding: String,
    client_encoding: String,
    synchronous_commit: String,
    idle_timeout: String,
    isolation: String,
    is_standby: bool,
    read_only: String,
}

/// What is acknowledged has to be on disk, whatever the settings of server, role and database are; somebody who asks for
/// more than that has it.
pub(super) async fn prepare(connection: &mut PgConnection) -> sqlx::Result<()> {
    let set_by: i32 = sqlx::query_scalar(
        "SELECT pg_backend_pid() FROM (SELECT
             set_config('synchronous_commit', CASE current_setting('synchronous_commit')
                 WHEN 'remote_apply' THEN 'remote_apply' ELSE 'on' END, false),
             set_config('idle_in_transaction_session_timeout', $1, false),
             set_config('default_transaction_isolation', 'read committed', false)) AS settings",
    )
    .bind(STANDS_STILL_FOR)
    .fetch_one(&mut *connection)
    .await?;
    let session: Session = sqlx::query_as(
        "SELECT pg_backend_pid() AS backend, current_setting('server_version_num')::integer AS version,
                current_setting('server_version') AS version_text,
                current_setting('server_encoding') AS encoding,
                current_setting('client_encoding') AS client_encoding,
                current_setting('synchronous_commit') AS synchronous_commit,
                current_setting('idle_in_transaction_session_timeout') AS idle_timeout,
                current_setting('default_transaction_isolation') AS isolation,
                pg_is_in_recovery() AS is_standby,
                current_setting('transaction_read_only') AS read_only",
    )
    .fetch_one(connection)
    .await?;
    session.check(set_by).map_err(Into::into)
}

impl Session {
    fn check(&self, set_by: i32) -> Result<(), Unfit> {
        let Self {
            version_text,
            encoding,
            ..
        } = self;
        let refuse = |why: String| Err(Unfit(why));
        if self.version < OLDEST {
            return refuse(format!(
                "it is Postgres {version_text}, and 15 is the oldest that will do: upgrade it"
            ));
        }
        if encoding != "UTF8" {
            return refuse(format!(
                "its encoding is {encoding}, which cannot hold every name of a file: make one with `createdb \
                 --encoding UTF8 --template template0`, and mend database.url"
            ));
        }
        if self.is_standby || self.read_only == "on" {
            return refuse(
                "it can only be read (a standby, or default_transaction_read_only): point database.url to the server \
                 that takes writes"
                    .to_owned(),
            );
        }
        if self.backend != set_by {
            return refuse(
                "a pooler gives each statement another session: set its pool_mode to session"
                    .to_owned(),
            );
        }
        let held = [
            ("client_encoding", &self.client_encoding, "UTF8"),
            (
                "idle_in_transaction_session_timeout",
                &self.idle_timeout,
                STANDS_STILL_FOR,
            ),
            (
                "default_transaction_isolation",
                &self.isolation,
                "read committed",
            ),
        ];
        let differs = held.iter().find(|(_, is, wanted)| is != wanted);
        if let Some((name, is, wanted)) = differs {
            return refuse(format!(
                "{name} is {is} for this session and does not become {wanted}: is there a pooler in between that keeps \
                 it?"
            ));
        }
        if !matches!(&*self.synchronous_commit, "on" | "remote_apply") {
            return refuse(format!(
                "synchronous_commit stays {}: what is acknowledged could be lost",
                self.synchronous_commit
            ));
        }
        Ok(())
    }
}

/// Whether this role may do, in the schema that has been migrated, what has to be done: beside reading and writing, a
/// coordinator makes partitions of evidence each day and drops old ones.
pub(super) async fn check_rights(connection: &mut PgConnection) -> sqlx::Result<()> {
    let role: String = sqlx::query_scalar("SELECT current_user::text")
        .fetch_one(&mut *connection)
        .await?;
    let may_create: bool = sqlx::query_scalar(
        "SELECT has_schema_privilege(relnamespace, 'CREATE') FROM pg_class WHERE oid = 'users'::regclass",
    )
    .fetch_one(&mut *connection)
    .await?;
    if !may_create {
        return Err(Unfit(format!(
            "the role {role} may make no tables, and evidence needs some each day: GRANT CREATE ON SCHEMA, as its owner"
        ))
        .into());
    }
    let not_owned: Vec<String> = sqlx::query_scalar(
        "SELECT relname::text FROM pg_class
         WHERE oid IN ('audit_statements'::regclass, 'audit_failures'::regclass)
           AND NOT pg_has_role(relowner, 'USAGE') ORDER BY 1",
    )
    .fetch_all(&mut *connection)
    .await?;
    if !not_owned.is_empty() {
        let tables = not_owned.join(" and ");
        return Err(Unfit(format!(
            "the role {role} does not own {tables}, and makes and drops their partitions: connect as the role that \
             migrated the database, or GRANT that role to {role}"
        ))
        .into());
    }
    // Tables of others may stand in the same schema.
    let withheld: Vec<String> = sqlx::query_scalar(
        "SELECT relname::text FROM pg_class,
                (SELECT relnamespace AS schema, relowner AS owner FROM pg_class
                 WHERE oid = 'users'::regclass) AS ours
         WHERE relnamespace = ours.schema AND relowner = ours.owner AND relkind IN ('r', 'p')
           AND NOT (has_table_privilege(oid, 'SELECT') AND has_table_privilege(oid, 'INSERT')
                    AND has_table_privilege(oid, 'UPDATE') AND has_table_privilege(oid, 'DELETE'))
         ORDER BY 1",
    )
    .fetch_all(connection)
    .await?;
    if !withheld.is_empty() {
        let tables = withheld.join(", ");
        return Err(Unfit(format!(
            "the role {role} may not read and write all of {tables}: GRANT SELECT, INSERT, UPDATE, DELETE on them to \
             {role}"
        ))
        .into());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fit() -> Session {
        Session {
            backend: 7,
            version: 150_004,
            version_text: "15.4".to_owned(),
            encoding: "UTF8".to_owned(),
            client_encoding: "UTF8".to_owned(),
            synchronous_commit: "on".to_owned(),
            idle_timeout: STANDS_STILL_FOR.to_owned(),
            isolation: "read committed".to_owned(),
            is_standby: false,
            read_only: "off".to_owned(),
        }
    }

    #[test]
    fn a_session_that_would_lose_something_is_refused_with_what_to_do() {
        assert_eq!(fit().check(7), Ok(()));
        let unfit = [
            (
                Session {
                    version: 140_010,
                    version_text: "14.10".to_owned(),
                    ..fit()
                },
                "upgrade",
            ),
            (
                Session {
                    encoding: "LATIN1".to_owned(),
                    ..fit()
                },
                "createdb",
            ),
            (
                Session {
                    encoding: "SQL_ASCII".to_owned(),
                    ..fit()
                },
                "createdb",
            ),
            (
                Session {
                    is_standby: true,
                    ..fit()
                },
                "takes writes",
            ),
            (
                Session {
                    read_only: "on".to_owned(),
                    ..fit()
                },
                "takes writes",
            ),
            (
                Session {
                    backend: 8,
                    ..fit()
                },
                "pool_mode",
            ),
            (
                Session {
                    client_encoding: "LATIN1".to_owned(),
                    ..fit()
                },
                "client_encoding",
            ),
            (
                Session {
                    idle_timeout: "0".to_owned(),
                    ..fit()
                },
                "pooler",
            ),
            (
                Session {
                    isolation: "serializable".to_owned(),
                    ..fit()
                },
                "pooler",
            ),
            (
                Session {
                    synchronous_commit: "off".to_owned(),
                    ..fit()
                },
                "synchronous_commit",
            ),
        ];
        for (session, advice) in unfit {
            let refused = session.check(7).unwrap_err().to_string();
            assert!(refused.contains(advice), "{refused}");
        }
    }
}
