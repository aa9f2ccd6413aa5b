//! Asking in plain SQL that both databases read, and reading rows with errors that name what is wrong.
//!
//! Placeholders are `$1`, `$2`, …, which SQLite and PostgreSQL both take. Statements are made of literals: whatever comes
//! from outside is bound, never spliced.

use std::fmt::Display;
use std::str::FromStr;

use jiff::Timestamp;
use sea_orm::{ConnectionTrait, QueryResult, Statement, TryGetable, Value};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::database::{Source, Store, StoreError, Tx};

/// The values of a statement, in order.
macro_rules! values {
    ($($value:expr),* $(,)?) => { [$($crate::sql::Bind::bind($value)),*] };
}
pub(crate) use values;

/// What can be bound to a placeholder.
pub(crate) trait Bind {
    /// The value as the database takes it.
    fn bind(self) -> Value;
}

macro_rules! bind_as_is {
    ($($type:ty),*) => {$(impl Bind for $type { fn bind(self) -> Value { self.into() } })*};
}
bind_as_is!(&str, String, i64, bool, Option<String>, Option<i64>);

impl Bind for Value {
    fn bind(self) -> Value {
        self
    }
}

impl Bind for &String {
    fn bind(self) -> Value {
        self.as_str().into()
    }
}

impl Bind for Timestamp {
    fn bind(self) -> Value {
        self.as_microsecond().into()
    }
}

impl Bind for Option<Timestamp> {
    fn bind(self) -> Value {
        self.map(Timestamp::as_microsecond).into()
    }
}

/// A statement with its values. Text with the character NUL, which PostgreSQL takes for none, is refused for both databases
/// alike: nothing is called so.
fn statement(
    connection: &impl ConnectionTrait,
    sql: impl Into<String>,
    values: impl IntoIterator<Item = Value>,
) -> Result<Statement, StoreError> {
    let values: Vec<Value> = values.into_iter().collect();
    let has_nul = |value: &Value| matches!(value, Value::String(Some(text)) if text.contains('\0'));
    if values.iter().any(has_nul) {
        return Err(StoreError::Nul);
    }
    Ok(Statement::from_sql_and_values(connection.get_database_backend(), sql, values))
}

/// All rows of a query.
pub(crate) async fn rows(
    source: &impl Source,
    sql: &'static str,
    values: impl IntoIterator<Item = Value>,
) -> Result<Vec<Row>, StoreError> {
    let connection = source.connection();
    let query = statement(connection, sql, values)?;
    Ok(connection.query_all_raw(query).await?.into_iter().map(Row).collect())
}

/// The first row of a query, if it has one.
pub(crate) async fn row(
    source: &impl Source,
    sql: &'static str,
    values: impl IntoIterator<Item = Value>,
) -> Result<Option<Row>, StoreError> {
    let connection = source.connection();
    let query = statement(connection, sql, values)?;
    Ok(connection.query_one_raw(query).await?.map(Row))
}

/// Changes rows; tells how many.
pub(crate) async fn execute(
    tx: &Tx<'_>,
    sql: &'static str,
    values: impl IntoIterator<Item = Value>,
) -> Result<u64, StoreError> {
    let connection = tx.connection();
    let statement = statement(connection, sql, values)?;
    Ok(connection.execute_raw(statement).await?.rows_affected())
}

/// Does what no transaction can hold.
pub(crate) async fn execute_outside(
    store: &Store,
    sql: &'static str,
    values: impl IntoIterator<Item = Value>,
) -> Result<(), StoreError> {
    let connection = store.connection();
    let statement = statement(connection, sql, values)?;
    connection.execute_raw(statement).await?;
    Ok(())
}

/// A statement whose shape depends on what is asked for. Its text is put together from literals; whatever comes from
/// outside is bound.
pub(crate) struct Composed {
    sql: String,
    values: Vec<Value>,
}

impl Composed {
    /// Begins with this text.
    pub(crate) fn new(sql: &'static str) -> Self {
        Self { sql: sql.to_owned(), values: Vec::new() }
    }

    /// Goes on with this text.
    pub(crate) fn text(&mut self, sql: &'static str) -> &mut Self {
        self.sql.push_str(sql);
        self
    }

    /// Goes on with a placeholder for this value.
    pub(crate) fn value(&mut self, value: impl Bind) -> &mut Self {
        self.values.push(value.bind());
        self.sql.push('$');
        self.sql.push_str(&self.values.len().to_string());
        self
    }

    /// Goes on with ` AND `, this text, and a placeholder for the value, if there is one.
    pub(crate) fn and(&mut self, sql: &'static str, value: Option<impl Bind>) -> &mut Self {
        match value {
            Some(value) => self.text(" AND ").text(sql).value(value),
            None => self,
        }
    }

    /// Goes on with these texts, with a comma between any two.
    pub(crate) fn listed(&mut self, texts: impl IntoIterator<Item = &'static str>) -> &mut Self {
        for (place, text) in texts.into_iter().enumerate() {
            if place > 0 {
                self.text(", ");
            }
            self.text(text);
        }
        self
    }

    /// Goes on with placeholders for all of these, of which there is at least one, in parentheses.
    pub(crate) fn values(&mut self, values: impl IntoIterator<Item = impl Bind>) -> &mut Self {
        self.text("(");
        for (place, value) in values.into_iter().enumerate() {
            if place > 0 {
                self.text(", ");
            }
            self.value(value);
        }
        self.text(")")
    }

    /// Goes on with a row of placeholders, in parentheses.
    pub(crate) fn row<const N: usize>(&mut self, values: [Value; N]) -> &mut Self {
        self.values(values)
    }

    /// All rows of it as a query.
    pub(crate) async fn rows(self, source: &impl Source) -> Result<Vec<Row>, StoreError> {
        let connection = source.connection();
        let query = statement(connection, self.sql, self.values)?;
        Ok(connection.query_all_raw(query).await?.into_iter().map(Row).collect())
    }

    /// Changes rows; tells how many.
    pub(crate) async fn execute(self, tx: &Tx<'_>) -> Result<u64, StoreError> {
        let connection = tx.connection();
        let statement = statement(connection, self.sql, self.values)?;
        Ok(connection.execute_raw(statement).await?.rows_affected())
    }
}

/// One row of an answer.
pub(crate) struct Row(pub(crate) QueryResult);

impl Row {
    /// The column as the database holds it.
    pub(crate) fn get<T: TryGetable>(&self, column: &'static str) -> Result<T, StoreError> {
        self.0.try_get("", column).map_err(|why| corrupt(column, why))
    }

    /// The column's text, read as what it stands for.
    pub(crate) fn parsed<T: FromStr<Err: Display>>(&self, column: &'static str) -> Result<T, StoreError> {
        self.get::<String>(column)?.parse().map_err(|why| corrupt(column, why))
    }

    /// The same of a column that may be absent.
    pub(crate) fn parsed_opt<T: FromStr<Err: Display>>(
        &self,
        column: &'static str,
    ) -> Result<Option<T>, StoreError> {
        let text: Option<String> = self.get(column)?;
        text.map(|text| text.parse().map_err(|why| corrupt(column, why))).transpose()
    }

    /// The column's time.
    pub(crate) fn time(&self, column: &'static str) -> Result<Timestamp, StoreError> {
        Timestamp::from_microsecond(self.get(column)?).map_err(|why| corrupt(column, why))
    }

    /// The same of a column that may be absent.
    pub(crate) fn time_opt(&self, column: &'static str) -> Result<Option<Timestamp>, StoreError> {
        let micros: Option<i64> = self.get(column)?;
        micros
            .map(|micros| Timestamp::from_microsecond(micros).map_err(|why| corrupt(column, why)))
            .transpose()
    }

    /// The column's document.
    pub(crate) fn document<T: DeserializeOwned>(&self, column: &'static str) -> Result<T, StoreError> {
        serde_json::from_str(&self.get::<String>(column)?).map_err(|why| corrupt(column, why))
    }

    /// The same of a column that may be absent.
    pub(crate) fn document_opt<T: DeserializeOwned>(
        &self,
        column: &'static str,
    ) -> Result<Option<T>, StoreError> {
        let text: Option<String> = self.get(column)?;
        text.map(|text| serde_json::from_str(&text).map_err(|why| corrupt(column, why))).transpose()
    }
}

/// A document as it is stored.
pub(crate) fn document(value: &impl Serialize) -> Result<String, StoreError> {
    serde_json::to_string(value).map_err(|why| corrupt("document", why))
}

fn corrupt(what: &'static str, why: impl Display) -> StoreError {
    StoreError::Corrupt { what, why: why.to_string() }
}
