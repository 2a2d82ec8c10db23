//! What an error of the Delta kernel means. Which file of the log it is about is found in `damage`.

use arrow::error::ArrowError;

use crate::model::{Error, Kind};
use crate::storage::{self, Store};

/// What mends a damaged log.
pub(super) const RESTORE: &str = "restore the file from a backup of the table; if there is none, start the stream on a new sink.path (or deadLetter.path) and a new checkpointLocation; nothing was changed";
/// The kernel's words are cut after this many characters: some hold whole structures.
const CAUSE_CHARS: usize = 200;

/// Gives a kernel's error its kind.
pub(crate) fn kernel_error(error: delta_kernel::Error, doing: &str, store: &Store) -> Error {
    use delta_kernel::Error as Kernel;
    let text = format!("cannot {doing} of table {}", store.url());
    match error {
        Kernel::Backtraced { source, .. } => kernel_error(*source, doing, store),
        Kernel::ObjectStore(source) => storage::error(source, "reach", store.url(), "").context(text),
        Kernel::IOError(source) => Error::unavailable(text).source(source),
        Kernel::Unsupported(_) => Error::config(text).source(in_short(&error)),
        Kernel::MaxCatalogVersion(_) => {
            Error::config(format!("{text}: it has catalogManaged, its commits go through a catalog"))
                .hint("choose another sink.path; docs/reference/tables.md lists every table feature")
        }
        Kernel::InvalidProtocol(_)
        | Kernel::InvalidCheckpoint(_)
        | Kernel::MissingMetadata
        | Kernel::MissingProtocol
        | Kernel::MissingMetadataAndProtocol
        | Kernel::MissingVersion
        | Kernel::MalformedJson(_)
        | Kernel::FileNotFound(_) => Error::corrupt(text).source(in_short(&error)).hint(RESTORE),
        other => match kind_underneath(&other) {
            Kind::Corrupt => Error::corrupt(text).source(in_short(&other)).hint(RESTORE),
            kind => Error::new(kind, text).source(in_short(&other)),
        },
    }
}

/// The kind of an error that the kernel passed on in a wrapper: storage that failed while a log file was
/// read is no defect of ours.
fn kind_underneath(error: &delta_kernel::Error) -> Kind {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(inner) = cause {
        if let Some(store) = inner.downcast_ref::<object_store::Error>() {
            return storage::kind(store);
        }
        if inner.is::<std::io::Error>() {
            return Kind::Unavailable;
        }
        cause = inner.source();
    }
    match error {
        // What was read is there, but no JSON or Parquet.
        delta_kernel::Error::Arrow(ArrowError::JsonError(_)) | delta_kernel::Error::Parquet(_) => {
            Kind::Corrupt
        }
        _ => Kind::Internal,
    }
}

/// What a kernel's error says, without the backtrace that may follow it and not much longer than a line.
fn in_short(error: &delta_kernel::Error) -> String {
    let text = error.to_string();
    let line = text.lines().next().unwrap_or_default();
    match line.char_indices().nth(CAUSE_CHARS) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn storage_that_fails_underneath_is_no_damage_and_backtraces_are_left_out() {
        let folder = tempfile::tempdir().unwrap();
        let url = url::Url::from_directory_path(folder.path()).unwrap();
        let store = Store::open(&url, &BTreeMap::new(), storage::test_runtime()).unwrap();
        let lost = object_store::Error::Generic { store: "x", source: "connection reset".into() };
        let wrapped = delta_kernel::Error::generic_err(lost);
        assert_eq!(kernel_error(wrapped, "read the Delta log", &store).kind(), Kind::Unavailable);
        let long = delta_kernel::Error::generic(format!("one\nbacktrace {}", "x".repeat(999)));
        let text = kernel_error(long, "read the Delta log", &store).to_string();
        assert!(text.ends_with("one"), "{text}");
    }
}
