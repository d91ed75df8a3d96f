//! Robot accounts.

use rusqlite::{Connection, params};

use super::{all, execute};
use crate::metadata::{Result, Robot};

pub(super) fn put(c: &Connection, robot: &Robot) -> Result<()> {
    execute(
        c,
        "INSERT OR REPLACE INTO robot VALUES (?1, ?2, ?3, ?4, ?5)",
        params![robot.name, robot.secret, robot.scopes, robot.created, robot.expires],
    )
    .map(drop)
}

pub(super) fn list(c: &Connection, name: Option<&str>) -> Result<Vec<Robot>> {
    all(
        c,
        "SELECT name, secret, scopes, created, expires FROM robot WHERE ?1 IS NULL OR name = ?1 ORDER BY name",
        [name],
        |row| {
            Ok(Robot {
                name: row.get(0)?,
                secret: row.get(1)?,
                scopes: row.get(2)?,
                created: row.get(3)?,
                expires: row.get(4)?,
            })
        },
    )
}
