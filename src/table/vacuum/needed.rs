//! The files that a table needs: those of its newest version and those that left it a short while ago, with their deletion
//! vectors.
//!
//! By their places in the store, decoded, as a listing has them: the log spells a path URL-encoded, and more than one
//! spelling is the same file. On a local disk a folder has more than one name where links lead to it ([`super::links`]), and the
//! kernel calls the table's folder by another one than the listing does. In memory are 16 bytes for each file, and there the
//! names of folders.

use std::collections::HashSet;
use std::hash::Hasher;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use delta_kernel::FilteredEngineData;
use delta_kernel::schema::{DataType, StructField, StructType};
use object_store::path::Path;
use serde::Deserialize;
use siphasher::sip128::{Hasher128, SipHasher13};
use url::Url;

use super::links::Links;
use crate::model::{Error, Result};
use crate::storage::Store;
use crate::table::compact::place_of;
use crate::table::file_entry::Vector;
use crate::table::live_files::lines;
use crate::table::{DeltaTable, kernel_error};

/// Places of files.
pub(super) struct Needed {
    /// The table's folder as it is listed.
    root: Url,
    /// On a local disk.
    links: Option<Links>,
    places: HashSet<u128>,
}

/// A `remove` as far as it matters.
#[derive(Deserialize)]
struct RemoveLine {
    remove: Option<Removal>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Removal {
    path: String,
    deletion_timestamp: Option<i64>,
    deletion_vector: Option<Vector>,
}

impl Needed {
    /// Nothing yet of the table in a folder.
    ///
    /// # Errors
    /// `Unavailable` if a local disk does not tell where the folder is.
    fn of(store: &Store) -> Result<Needed> {
        Ok(Needed { root: store.url().clone(), links: Links::of(store)?, places: HashSet::new() })
    }

    /// What `table` needs as of its current version, and what it removed at or after `since`.
    ///
    /// # Errors
    /// As for [`DeltaTable::open`]; `Unavailable` too if a local disk does not tell where a file is.
    pub(super) fn read(table: &DeltaTable, since: DateTime<Utc>) -> Result<Needed> {
        let mut needed = Needed::of(&table.store)?;
        table.live_files(|file| needed.add(&file.path, file.vector()))?;
        let failed = |e| kernel_error(e, "read what has left the table", &table.store);
        let vector = [
            ("storageType", DataType::STRING),
            ("pathOrInlineDv", DataType::STRING),
            ("offset", DataType::INTEGER),
            ("sizeInBytes", DataType::INTEGER),
            ("cardinality", DataType::LONG),
        ];
        let vector = vector.map(|(name, data_type)| StructField::nullable(name, data_type));
        let remove = [
            StructField::nullable("path", DataType::STRING),
            StructField::nullable("deletionTimestamp", DataType::LONG),
            StructField::nullable("deletionVector", StructType::try_new(vector).map_err(failed)?),
        ];
        let remove = StructField::nullable("remove", StructType::try_new(remove).map_err(failed)?);
        let schema = Arc::new(StructType::try_new([remove]).map_err(failed)?);
        let log = table.snapshot.log_segment();
        for batch in log.read_actions(table.engine.as_ref(), schema).map_err(failed)? {
            let rows = batch.map(|batch| FilteredEngineData::with_all_rows_selected(batch.actions));
            for line in lines(rows).map_err(failed)? {
                let removal: RemoveLine = serde_json::from_slice(&line)
                    .map_err(|e| Error::internal("what the log says of a removal can't be read").source(e))?;
                let Some(removal) = removal.remove else { continue };
                if removal.deletion_timestamp.unwrap_or(0) >= since.timestamp_millis() {
                    needed.add(&removal.path, removal.deletion_vector.as_ref())?;
                }
            }
        }
        Ok(needed)
    }

    pub(super) fn contains(&self, place: &Path) -> bool {
        self.places.contains(&hash(place))
    }

    fn add(&mut self, path: &str, vector: Option<&Vector>) -> Result<()> {
        let vector = vector.map(|vector| vector.file(&self.root)).transpose()?.flatten();
        for name in [Some(path), vector.as_ref().map(Url::as_str)].into_iter().flatten() {
            let places = places_of(&self.root, name);
            if places.is_empty() {
                return Err(Error::corrupt(format!(
                    "the log of {} names {name}, which is not a path",
                    self.root
                ))
                .hint("nothing was deleted"));
            }
            for place in &places {
                self.places.insert(hash(place));
                if let Some(links) = &mut self.links {
                    self.places.extend(links.listed(place)?.iter().map(hash));
                }
            }
        }
        Ok(())
    }
}

/// Every place that a path of the log may mean: as the protocol has it, and as a writer may have put it that encodes less,
/// or that names this store by another address. What is too much here only stays.
fn places_of(root: &Url, name: &str) -> Vec<Path> {
    let folder = root.path();
    let mut places = vec![
        place_of(root, name),
        Path::from_url_path(format!("{folder}{name}")).ok(),
        Path::from_url_path(folder).ok().and_then(|folder| Path::parse(format!("{folder}/{name}")).ok()),
    ];
    if let Ok(url) = Url::parse(name) {
        let path = url.path().trim_start_matches('/');
        let below = path.split_once('/').map_or("", |(_, below)| below);
        places.extend([path, below].map(|path| Path::from_url_path(path).ok()));
    }
    let mut places: Vec<Path> = places.into_iter().flatten().collect();
    places.sort();
    places.dedup();
    places
}

fn hash(place: &Path) -> u128 {
    let mut hasher = SipHasher13::new();
    hasher.write(place.as_ref().as_bytes());
    hasher.finish128().as_u128()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_of_the_log_is_the_place_that_a_listing_shows() {
        let root = Url::parse("file:///lake/a%20table/").unwrap();
        let is = |name: &str, place: &str| places_of(&root, name).iter().any(|at| at.as_ref() == place);
        // A folder of Hive's is named `day=a%20b%2Fc%25`, and the log encodes that once more.
        assert!(is("day=a%2520b%252Fc%2525/x.parquet", "lake/a table/day=a%20b%2Fc%25/x.parquet"));
        assert!(is("day=%C3%BC%20b/x.parquet", "lake/a table/day=ü b/x.parquet"));
        assert!(is("file:///lake/a%20table/x.parquet", "lake/a table/x.parquet"));
        assert!(is("file:/lake/a%20table/x.parquet", "lake/a table/x.parquet"));
        assert!(is("https://account/container/lake/x.parquet", "lake/x.parquet"));
        // As they should not be written.
        assert!(is("t=10:30/x.parquet", "lake/a table/t=10:30/x.parquet"));
        assert!(is("a:b/x.parquet", "lake/a table/a:b/x.parquet"));
        assert!(is("day=a#b?c/x.parquet", "lake/a table/day=a#b?c/x.parquet"));
        assert!(is("day=100%/x.parquet", "lake/a table/day=100%/x.parquet"));
    }
}
