//! Robot accounts.

use super::column;
use super::pool::Session;
use crate::metadata::{Result, Robot};

pub(super) async fn put(session: &Session<'_>, robot: &Robot) -> Result<()> {
    let sql = "INSERT INTO robot VALUES ($1, $2, $3, $4, $5) ON CONFLICT (name) DO UPDATE
               SET secret = excluded.secret, scopes = excluded.scopes, created = excluded.created,
                   expires = excluded.expires";
    let Robot { name, secret, scopes, created, expires } = robot;
    session.execute(sql, &[name, secret, scopes, created, expires]).await.map(drop)
}

pub(super) async fn list(session: &Session<'_>, name: Option<&str>) -> Result<Vec<Robot>> {
    let sql = "SELECT name, secret, scopes, created, expires FROM robot
               WHERE $1::text IS NULL OR name = $1 ORDER BY name";
    let read = |row: &tokio_postgres::Row| {
        Ok(Robot {
            name: column(row, 0)?,
            secret: column(row, 1)?,
            scopes: column(row, 2)?,
            created: column(row, 3)?,
            expires: column(row, 4)?,
        })
    };
    session.all(sql, &[&name]).await?.iter().map(read).collect()
}
