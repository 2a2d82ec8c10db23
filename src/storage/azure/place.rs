//! Where a URL of Azure points: account, container, path, and the endpoint that requests go to.
//!
//! All requests go to the Blob endpoint, whichever of an account's two the URL names. Sovereign clouds need nothing of
//! their own where the URL has the account's host.

use url::Url;

/// A folder of a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    /// The storage account, if the URL names it.
    pub(super) account: Option<String>,
    /// The container (Hadoop's file system).
    pub(super) container: String,
    /// The account's Blob endpoint, if the URL tells it.
    pub(super) endpoint: Option<String>,
    /// The same folder with a URL whose path begins in the container, and ends with a slash.
    pub(super) url: Url,
}

impl Place {
    /// What `url` means; `None` if its scheme is not one of Azure's.
    ///
    /// # Errors
    /// A sentence that says what is wrong with it.
    pub(super) fn of(url: &Url) -> Option<Result<Place, String>> {
        match url.scheme() {
            "abfs" | "abfss" | "az" | "azure" | "adl" => Some(Place::of_container(url)),
            "https" => Some(Place::of_account(url)),
            _ => None,
        }
    }

    /// `abfss://CONTAINER@ACCOUNT.dfs.core.windows.net/PATH` or `az://CONTAINER/PATH`.
    fn of_container(url: &Url) -> Result<Place, String> {
        let host = url.host_str().unwrap_or_default();
        if url.username().is_empty() {
            if host.contains('.') {
                return Err(format!(
                    "it names a host and no container; write {}://CONTAINER@{host}/PATH",
                    url.scheme()
                ));
            }
            let container = checked_container(host)?;
            return Ok(Place { account: None, container, endpoint: None, url: with_slash(url.clone()) });
        }
        let Some((account, endpoint)) = account_of(host) else {
            return Err(format!(
                "{host} is not a storage account's host; write {}://CONTAINER@ACCOUNT.dfs.core.windows.net/PATH, or az://CONTAINER/PATH with storageOptions.azure_storage_endpoint",
                url.scheme()
            ));
        };
        let container = checked_container(url.username())?;
        Ok(Place {
            account: Some(account),
            container,
            endpoint: Some(endpoint),
            url: with_slash(url.clone()),
        })
    }

    /// `https://ACCOUNT.blob.core.windows.net/CONTAINER/PATH`.
    fn of_account(url: &Url) -> Result<Place, String> {
        let host = url.host_str().unwrap_or_default();
        let Some((account, endpoint)) = account_of(host) else {
            return Err(format!(
                "{host} is not a storage account's host; write https://ACCOUNT.blob.core.windows.net/CONTAINER/PATH, or az://CONTAINER/PATH with storageOptions.azure_storage_endpoint"
            ));
        };
        let path = url.path().trim_start_matches('/');
        let (container, path) = path.split_once('/').unwrap_or((path, ""));
        let container = checked_container(container)?;
        let dfs = endpoint.trim_start_matches("https://").replacen(".blob.", ".dfs.", 1);
        let inside = Url::parse(&format!("abfss://{container}@{dfs}/{path}"))
            .map_err(|e| format!("it is not a URL of a container: {e}"))?;
        Ok(Place { account: Some(account), container, endpoint: Some(endpoint), url: with_slash(inside) })
    }
}

/// The account that a host belongs to, and its Blob endpoint: `ACCOUNT.(blob|dfs).SUFFIX`.
fn account_of(host: &str) -> Option<(String, String)> {
    let (account, rest) = host.split_once('.')?;
    let suffix = rest.strip_prefix("blob.").or_else(|| rest.strip_prefix("dfs."))?;
    (!account.is_empty() && suffix.contains('.'))
        .then(|| (account.to_owned(), format!("https://{account}.blob.{suffix}")))
}

fn checked_container(name: &str) -> Result<String, String> {
    let right = (3..=63).contains(&name.len())
        && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        || name == "$root";
    match (right, name) {
        (true, _) => Ok(name.to_owned()),
        (false, "") => Err("it names no container".into()),
        (false, _) => Err(format!(
            "{name} is not a container's name: names have 3 to 63 lower-case letters, digits and hyphens"
        )),
    }
}

fn with_slash(mut url: Url) -> Url {
    if !url.path().ends_with('/') {
        url.set_path(&format!("{}/", url.path()));
    }
    url
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(text: &str) -> Result<Place, String> {
        Place::of(&Url::parse(text).unwrap()).unwrap()
    }

    #[test]
    fn every_way_of_writing_a_folder_names_account_container_endpoint_and_path() {
        let public = Some("https://acc.blob.core.windows.net");
        let china = Some("https://acc.blob.core.chinacloudapi.cn");
        let cases = [
            (
                "abfss://lake@acc.dfs.core.windows.net/a/b",
                Some("acc"),
                public,
                "abfss://lake@acc.dfs.core.windows.net/a/b/",
            ),
            (
                "abfs://lake@acc.blob.core.windows.net/a/",
                Some("acc"),
                public,
                "abfs://lake@acc.blob.core.windows.net/a/",
            ),
            (
                "abfss://lake@acc.dfs.core.chinacloudapi.cn/a",
                Some("acc"),
                china,
                "abfss://lake@acc.dfs.core.chinacloudapi.cn/a/",
            ),
            ("az://lake/a", None, None, "az://lake/a/"),
            (
                "https://acc.blob.core.windows.net/lake/a/b",
                Some("acc"),
                public,
                "abfss://lake@acc.dfs.core.windows.net/a/b/",
            ),
            (
                "https://acc.dfs.core.windows.net/lake",
                Some("acc"),
                public,
                "abfss://lake@acc.dfs.core.windows.net/",
            ),
        ];
        for (text, account, endpoint, url) in cases {
            let found = place(text).unwrap();
            assert_eq!(found.container, "lake", "{text}");
            assert_eq!((found.account.as_deref(), found.endpoint.as_deref()), (account, endpoint), "{text}");
            assert_eq!(found.url.as_str(), url, "{text}");
        }
        assert!(Place::of(&Url::parse("file:///x").unwrap()).is_none());
    }

    #[test]
    fn what_names_no_container_is_told_what_to_write() {
        for (text, says) in [
            ("abfss://acc.dfs.core.windows.net/a", "write abfss://CONTAINER@acc.dfs.core.windows.net/PATH"),
            ("abfss://lake@acc/a", "acc is not a storage account's host"),
            ("https://127.0.0.1:10000/devstoreaccount1/lake", "azure_storage_endpoint"),
            ("https://acc.blob.core.windows.net/", "no container"),
            ("az://La_ke/a", "3 to 63"),
        ] {
            let error = place(text).unwrap_err();
            assert!(error.contains(says), "{text}: {error}");
        }
    }
}
