//! What a store promises, on a local disk and in memory.

use super::*;

fn at(folder: &std::path::Path) -> Store {
    let url = Url::from_directory_path(folder).unwrap();
    Store::open(&url, &BTreeMap::new(), test_runtime()).unwrap()
}

#[test]
fn put_if_absent_has_one_winner_and_knows_its_own_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let store = at(folder.path());
    assert_eq!(store.put_if_absent("a/b", Bytes::from_static(b"mine")).unwrap(), Put::Created);
    assert_eq!(store.put_if_absent("a/b", Bytes::from_static(b"mine")).unwrap(), Put::Created);
    assert_eq!(store.put_if_absent("a/b", Bytes::from_static(b"other")).unwrap(), Put::Exists);
    assert_eq!(store.get("a/b").unwrap().unwrap(), Bytes::from_static(b"mine"));
    assert_eq!(store.names("a").unwrap(), ["b"]);
}

#[test]
fn what_is_listed_can_be_read_and_deleted_whatever_letters_its_name_has() {
    let folder = tempfile::tempdir().unwrap();
    let memory = Url::parse("memory:///t%20%C3%BC/").unwrap();
    let in_memory = Store::open(&memory, &BTreeMap::new(), test_runtime()).unwrap();
    // As Spark names the folders of partitions.
    let mut paths = [
        "p=Zürich",
        "p=a%20b",
        "p=100%25",
        "p= a ",
        "p=..",
        "p=~%5E`|",
        "p=%5Bx%5D%7By}",
        "p=%2A<>",
        "日本#1",
    ]
    .map(|name| format!("{name}/part-0.parquet"));
    paths.sort();
    for store in [at(&folder.path().join("t ü%20")), in_memory] {
        for path in &paths {
            store.put(path, Bytes::from(path.clone())).unwrap();
            if store.url().scheme() == "file" {
                let folder = store.url().to_file_path().unwrap();
                assert!(folder.join(path).is_file(), "{path}");
            }
        }
        assert_eq!(store.all_paths().unwrap(), paths);
        let mut listed: Vec<String> =
            store.listing().unwrap().into_iter().map(|object| object.path).collect();
        listed.sort();
        assert_eq!(listed, paths);
        for path in &paths {
            assert_eq!(store.get(path).unwrap().as_deref(), Some(path.as_bytes()), "{path}");
            assert!(store.written_at(path).unwrap().is_some());
            store.sync(path).unwrap();
            store.delete(path).unwrap();
            assert_eq!(store.get(path).unwrap(), None, "{path}");
        }
        // What can be no name leads nowhere else.
        assert_eq!(store.path("a/../b"), store.path("a").join("..").join("b"));
    }
}

#[test]
fn a_local_disk_passes_the_probe_and_is_left_empty() {
    let folder = tempfile::tempdir().unwrap();
    let store = at(folder.path());
    store.probe_put_if_absent("probe-1").unwrap();
    assert!(store.is_empty().unwrap());
}

#[test]
fn a_folder_in_a_files_place_is_damage_and_a_file_in_a_folders_place_is_a_wrong_path() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(folder.path().join("offsets/5")).unwrap();
    let error = at(folder.path()).put_if_absent("offsets/5", Bytes::from_static(b"x")).unwrap_err();
    assert!(error.kind() == Kind::Corrupt && error.to_string().contains("offsets/5"), "{error}");
    let file = folder.path().join("file");
    std::fs::write(&file, "").unwrap();
    let error = at(&file).names("_delta_log").unwrap_err();
    assert!(error.kind() == Kind::Config && error.to_string().contains("a file is in its way"), "{error}");
}

#[test]
fn rights_are_asked_for_by_what_could_not_be_done() {
    let denied = || {
        let source = std::io::Error::from(std::io::ErrorKind::PermissionDenied).into();
        object_store::Error::Generic { store: "local disk", source }
    };
    let url = Url::parse("file:///t/").unwrap();
    let said = |verb: &str| error(denied(), verb, &url, "x").to_string();
    assert!(said("read").ends_with("the right to read there)"), "{}", said("read"));
    assert!(said("write").ends_with("the right to write there)"), "{}", said("write"));
    assert_eq!(said("read").matches("permission denied").count(), 1, "{}", said("read"));
}

#[test]
fn a_folder_that_cannot_be_made_is_a_path_to_correct() {
    let missing = std::io::Error::from(std::io::ErrorKind::NotFound).into();
    let missing = object_store::Error::Generic { store: "local disk", source: missing };
    let said = error(missing, "write", &Url::parse("file:///proc/x/").unwrap(), "offsets/0").to_string();
    assert!(said.ends_with("cannot be made: correct the path)"), "{said}");
}

#[test]
fn an_unknown_scheme_is_refused_by_name() {
    let error =
        Store::open(&Url::parse("ftp://host/x").unwrap(), &BTreeMap::new(), test_runtime()).unwrap_err();
    assert_eq!(error.kind(), Kind::Config);
    assert!(error.to_string().contains("ftp://host/x"), "{error}");
}
