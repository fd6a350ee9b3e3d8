//! The way from an older schema: the steps, and how they are gone.

use redb::{Database, ReadableDatabase, WriteTransaction};

use super::{
    StoreError,
    cells::{Cells, Sealer},
    hot::{self, COMMITS},
    tables::{HOT, META, encode, marked_schema, put_schema},
};

/// One step of the way to a newer schema, within the one transaction of the way.
pub(super) type Step = for<'t> fn(&'t WriteTransaction, Option<Sealer<'t>>) -> Result<(), redb::Error>;

/// The steps: the first leads from schema 1 to 2, and so on.
pub(super) const STEPS: &[Step] = &[gather_hot];

/// The schema that `steps` lead to.
pub(super) const fn newest(steps: &[Step]) -> u32 {
    steps.len() as u32 + 1
}

/// Takes a file of schema `found` through `steps` to the newest one in one transaction, after `copy`
/// has put the old one aside. After an error the file is as it was.
pub(super) fn migrate(
    database: &Database,
    found: u32,
    steps: &[Step],
    sealer: Option<Sealer<'_>>,
    copy: impl FnOnce() -> Result<(), StoreError>,
) -> Result<(), StoreError> {
    let known = newest(steps);
    if found > known {
        return Err(StoreError::Newer { found, known });
    }
    if found == known {
        return Ok(());
    }
    let done = found.checked_sub(1).ok_or_else(|| StoreError::Corrupt("schema 0 never was".to_owned()))?;
    copy()?;
    tracing::info!(schema = found, "the profile is of an earlier version and is migrated");
    let mut transaction = database.begin_write().map_err(StoreError::from_redb)?;
    transaction.set_quick_repair(true);
    for step in steps.iter().skip(done as usize) {
        step(&transaction, sealer).map_err(StoreError::from_redb)?;
    }
    let marked = marked_schema(&database.begin_read().map_err(StoreError::from_redb)?)?;
    put_schema(&transaction, known, marked).map_err(StoreError::from_redb)?;
    transaction.commit().map_err(StoreError::from_redb)
}

/// 1 to 2: what most commits change comes into one table, and the index goes. What is damaged is left behind, as lost as it was.
fn gather_hot(transaction: &WriteTransaction, sealer: Option<Sealer<'_>>) -> Result<(), redb::Error> {
    const COUNTERS: Cells<u32, &[u8]> = Cells::new("counters");
    const OLD_WORDS: Cells<(u64, u32), &[u8]> = Cells::new("words");
    const UNREAD: Cells<u32, (u64, u64)> = Cells::new("unread");
    {
        let mut hot = HOT.open(transaction, sealer);
        if let Some(commits) = META.open(transaction, sealer).remove("commits")? {
            hot.insert(COMMITS, commits.as_slice())?;
        }
        for row in COUNTERS.open(transaction, sealer).range(..)? {
            if let Ok((number, counters)) = row?.open() {
                hot.insert(hot::counters(number.value()), counters.value())?;
            }
        }
        for row in UNREAD.open(transaction, sealer).range(..)? {
            if let Ok((number, counts)) = row?.open() {
                hot.insert(hot::unread(number.value()), encode(&counts.value()).as_slice())?;
            }
        }
    }
    COUNTERS.delete(transaction, sealer)?;
    UNREAD.delete(transaction, sealer)?;
    // Its keys were of another form; it is made anew.
    OLD_WORDS.delete(transaction, sealer)
}
