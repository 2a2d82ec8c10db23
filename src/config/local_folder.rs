//! Where what a stream keeps on a local disk lies: the index of a table's keys, the copy of a query's state.

use std::path::{Path, PathBuf};

use url::Url;
use uuid::Uuid;

use super::location;
use super::reader::{Fields, Reader};

/// What decides where a stream's folders are if the file does not say.
pub(super) struct LocalPlace<'a> {
    /// What relative paths start at.
    pub(super) base: &'a Path,
    /// The stream's checkpoint, if its location can be read.
    pub(super) checkpoint: Option<&'a Url>,
    /// The stream's name.
    pub(super) stream: &'a str,
}

/// The folder that `key` names, or else `name` inside a local checkpoint, or else one in the system's cache folder; `None` if
/// there is no cache folder either. Outside the checkpoint it has a name that no other stream and no other `of` has.
///
/// The outer `None`: what `key` says is refused, or `of` is needed and could not be read; the problem was added.
pub(super) fn read(
    reader: &mut Reader<'_>,
    fields: &Fields<'_>,
    key: &str,
    place: &LocalPlace<'_>,
    name: &str,
    of: Option<&Url>,
) -> Option<Option<PathBuf>> {
    if let Some(text) = fields.text(reader, key) {
        let folder = reader.parse(&text, |text| parse(text, place.base))?;
        return Some(Some(folder.join(own_name(place.stream, of?))));
    }
    let in_checkpoint = place.checkpoint.and_then(|url| url.to_file_path().ok());
    if let Some(checkpoint) = in_checkpoint {
        return Some(Some(checkpoint.join("alluvia").join(name)));
    }
    match cache_folder(reader) {
        Some(cache) => Some(Some(in_cache(&cache, name, place, of?))),
        None => Some(None),
    }
}

/// The folder `name` of a stream below `cache`.
pub(super) fn in_cache(cache: &Path, name: &str, place: &LocalPlace<'_>, of: &Url) -> PathBuf {
    cache.join("alluvia").join(name).join(own_name(place.stream, of))
}

fn parse(text: &str, base: &Path) -> Result<PathBuf, String> {
    if text.trim().is_empty() {
        return Err("the folder is empty".into());
    }
    if let Some(why) = location::home_or_variable(text) {
        return Err(why);
    }
    if text.contains("://") {
        return Err("this folder is on a local disk: give a path, not a URL".into());
    }
    Ok(base.join(text.trim()))
}

/// Where the system keeps caches, as the XDG base directories have it.
fn cache_folder(reader: &Reader<'_>) -> Option<PathBuf> {
    let set = |name| reader.lookup.env(name).filter(|value| !value.is_empty());
    let absolute = |path: PathBuf| path.is_absolute().then_some(path);
    let xdg = set("XDG_CACHE_HOME").map(PathBuf::from).and_then(absolute);
    xdg.or_else(|| set("HOME").map(|home| PathBuf::from(home).join(".cache")).and_then(absolute))
}

/// A folder's name that no other stream and no other `of` has.
fn own_name(stream: &str, of: &Url) -> String {
    let readable: String =
        stream.chars().filter(|c| c.is_ascii_alphanumeric() || "-_".contains(*c)).take(40).collect();
    let id = Uuid::new_v5(&Uuid::NAMESPACE_URL, format!("{stream}\n{of}").as_bytes());
    format!("{readable}-{}", id.simple())
}
