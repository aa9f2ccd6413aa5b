//! One number for everything that decides who may do what: processes over one database tell by it whether what they
//! remember is still so.

use crate::database::{Source, StoreError, Tx};
use crate::sql::{self, values};

/// The number at this moment.
pub async fn current(source: &impl Source) -> Result<i64, StoreError> {
    let row = sql::row(source, "SELECT number FROM revision WHERE id = 1", values![]).await?;
    row.map_or(Ok(0), |row| row.get("number"))
}

/// Moves the number on, from the moment that the transaction commits. Call it last: on PostgreSQL others who move it
/// wait from here on.
pub async fn advance(tx: &Tx<'_>) -> Result<(), StoreError> {
    sql::execute(tx, "UPDATE revision SET number = number + 1 WHERE id = 1", values![]).await?;
    Ok(())
}
