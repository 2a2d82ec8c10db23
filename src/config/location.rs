//! Where tables and checkpoints are: a URL, or a path that becomes one.

use std::path::{Component, Path, PathBuf};

use url::Url;

use super::secrets;

/// Schemes that this build can open.
const SCHEMES: [&str; 7] = ["file", "abfss", "abfs", "az", "azure", "adl", "https"];

/// Turns a URL or a path (relative ones start at `base`) into an absolute URL without a final slash.
///
/// # Errors
/// A sentence that says what is wrong, without the text itself: a URL may hold a secret.
pub fn parse(text: &str, base: &Path) -> Result<Url, String> {
    let text = text.trim();
    if text.is_empty() {
        return Err("the location is empty".into());
    }
    if let Some(why) = home_or_variable(text) {
        return Err(why);
    }
    let mut url = match scheme(text) {
        None => return from_path(Path::new(text), base),
        Some("file") => match text.strip_prefix("file:").filter(|rest| !rest.starts_with("//")) {
            Some(path) => return from_path(Path::new(path), base),
            None => Url::parse(text).map_err(|e| format!("this is not a URL: {e}"))?,
        },
        Some(scheme) => {
            check_scheme(scheme)?;
            Url::parse(text).map_err(|e| format!("this is not a URL: {e}"))?
        }
    };
    if url.password().is_some() || url.query().is_some() || url.fragment().is_some() {
        return Err(
            "a location has no password, query or fragment; put keys and tokens under storageOptions".into(),
        );
    }
    if url.scheme() == "file" && url.host_str().is_some_and(|host| !host.is_empty()) {
        return Err("a file URL names no host; write file:///path".into());
    }
    if url.scheme() != "file" && url.host_str().is_none_or(str::is_empty) {
        return Err("the URL names no container or account".into());
    }
    let path = url.path().trim_end_matches('/').to_owned();
    url.set_path(&path);
    Ok(url)
}

/// What is wrong with a path that only a shell would understand: it would become a folder of that name.
pub(super) fn home_or_variable(text: &str) -> Option<String> {
    let first = text.trim().split('/').next().unwrap_or_default();
    if first == "~" {
        return Some("~ is not the home folder here; write ${env:HOME}".into());
    }
    let name = secrets::shell_variable(first)?;
    Some(format!("${name} is not looked up; write ${{env:{name}}}"))
}

/// `name` under `parent`, which may hold references: raw text in, raw text out.
pub(super) fn under(parent: &str, name: &str) -> String {
    format!("{}/{name}", parent.trim_end_matches('/'))
}

fn scheme(text: &str) -> Option<&str> {
    let (scheme, rest) = text.split_once(':')?;
    let named = scheme.len() > 1
        && scheme.starts_with(|c: char| c.is_ascii_alphabetic())
        && scheme.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'-' | b'.'));
    (named && rest.starts_with('/')).then_some(scheme)
}

fn check_scheme(scheme: &str) -> Result<(), String> {
    let lower = scheme.to_lowercase();
    if SCHEMES.contains(&lower.as_str()) {
        return Ok(());
    }
    Err(match lower.as_str() {
        "wasb" | "wasbs" => {
            "wasbs is not available; use abfss://CONTAINER@ACCOUNT.dfs.core.windows.net/PATH".into()
        }
        "dbfs" => "dbfs works in Databricks only; use the abfss URL behind it".into(),
        "hdfs" => "hdfs is not available; use a local path or an abfss URL".into(),
        "s3" | "s3a" | "gs" => {
            format!("{lower} is not available in this version; use a local path or an abfss URL")
        }
        _ => format!("the scheme {lower} is unknown; use a local path or an abfss URL"),
    })
}

/// `.` and `..` are taken out of the text alone: nothing need exist yet.
fn from_path(path: &Path, base: &Path) -> Result<Url, String> {
    let mut clean = PathBuf::new();
    for part in base.join(path).components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir => {
                clean.pop();
            }
            other => clean.push(other),
        }
    }
    Url::from_file_path(&clean).map_err(|()| "the path is not absolute, nor is the current directory".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_become_absolute_file_urls_and_urls_lose_their_final_slash() {
        let cases = [
            ("./lake/events/", "file:///work/lake/events"),
            ("../lake/a b", "file:///lake/a%20b"),
            ("/tmp/x", "file:///tmp/x"),
            ("file:/tmp/x", "file:///tmp/x"),
            ("file:///tmp/x/", "file:///tmp/x"),
            ("abfss://lake@acc.dfs.core.windows.net/t/", "abfss://lake@acc.dfs.core.windows.net/t"),
            ("a:b", "file:///work/a:b"),
            ("./~/$t", "file:///work/~/$t"),
        ];
        for (text, url) in cases {
            assert_eq!(parse(text, Path::new("/work")).map(String::from).as_deref(), Ok(url), "{text}");
        }
    }

    #[test]
    fn what_cannot_be_opened_is_refused_with_what_to_use() {
        let cases = [
            ("s3://bucket/t", "s3 is not available in this version; use a local path or an abfss URL"),
            ("dbfs:/t", "dbfs works in Databricks only; use the abfss URL behind it"),
            ("ftp://host/t", "the scheme ftp is unknown; use a local path or an abfss URL"),
            (
                "https://a.blob.core.windows.net/c/t?sig=x",
                "a location has no password, query or fragment; put keys and tokens under storageOptions",
            ),
            ("abfss:///t", "the URL names no container or account"),
            ("  ", "the location is empty"),
            ("~/lake", "~ is not the home folder here; write ${env:HOME}"),
            ("~", "~ is not the home folder here; write ${env:HOME}"),
            ("$LAKE/t", "$LAKE is not looked up; write ${env:LAKE}"),
        ];
        for (text, message) in cases {
            assert_eq!(parse(text, Path::new("/work")), Err(message.to_owned()), "{text}");
        }
    }
}
