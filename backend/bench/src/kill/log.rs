//! The log as it lies in the database once the server is gone.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context as _, ensure};
use sqlx::Row as _;
use sqlx::sqlite::{SqliteConnectOptions, SqlitePoolOptions};

/// Every document's log, live rows and history segments together, has every number from 1 to its last once, in one
/// epoch; returns how many.
pub(crate) async fn check(folder: &Path) -> anyhow::Result<i64> {
    let file = database(folder)?;
    let options = SqliteConnectOptions::new().filename(file).read_only(true);
    let pool = SqlitePoolOptions::new().max_connections(1).connect_with(options).await?;
    let rows = sqlx::query(
        "select d.id as document, d.epoch as current, d.last_seq as newest, l.epoch, l.lowest, l.highest \
         from documents d join (\
           select document, epoch, seq as lowest, seq as highest from updates \
           union all select document, epoch, first_seq, last_seq from segments\
         ) l on l.document = d.id order by d.id, l.lowest",
    )
    .fetch_all(&pool)
    .await?;
    pool.close().await;
    let mut ends: BTreeMap<Vec<u8>, (i64, i64)> = BTreeMap::new();
    for row in rows {
        let number = |name| row.try_get::<i64, _>(name);
        let (newest, lowest, highest) = (number("newest")?, number("lowest")?, number("highest")?);
        ensure!(number("epoch")? == number("current")?, "a log has rows of another epoch");
        let (end, _) = ends.entry(row.try_get("document")?).or_insert((0, newest));
        ensure!(lowest == *end + 1, "after update {end} of a document comes {lowest}");
        *end = highest;
    }
    for (end, newest) in ends.values() {
        ensure!(end == newest, "a document is at {newest} and its log ends at {end}");
    }
    Ok(ends.values().map(|(end, _)| end).sum())
}

fn database(folder: &Path) -> anyhow::Result<std::path::PathBuf> {
    let data = folder.join("data");
    let found = std::fs::read_dir(&data)?.filter_map(Result::ok).map(|entry| entry.path()).find(|path| {
        path.extension().is_some_and(|end| ["db", "sqlite", "sqlite3"].iter().any(|known| end == *known))
    });
    found.with_context(|| format!("there is no database in `{}`", data.display()))
}
