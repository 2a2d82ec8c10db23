//! Azure's listings without the names that object_store has no path for.
//!
//! A name in Azure may have empty parts (`a//b`) and control characters. object_store 0.13 fails with a whole listing for one of
//! them. Nothing of ours has such a name, so such entries are taken out of the answer, and whoever lists is told. Line
//! separators (U+0085, U+2028) are in the names of others' partitions; a reader of XML takes them for line feeds unless they
//! are written as references.

use std::borrow::Cow;
use std::ops::Range;

use bytes::Bytes;
use object_store::ClientOptions;
use object_store::client::{
    HttpClient, HttpConnector, HttpError, HttpRequest, HttpResponse, HttpService, ReqwestConnector,
};
use object_store::path::Path;

use crate::storage::left_out::LeftOut;

/// Connects to Azure as object_store does, and looks through its listings.
#[derive(Debug)]
pub(super) struct Connector;

impl HttpConnector for Connector {
    fn connect(&self, options: &ClientOptions) -> object_store::Result<HttpClient> {
        Ok(HttpClient::new(Listings(ReqwestConnector::default().connect(options)?)))
    }
}

#[derive(Debug)]
struct Listings(HttpClient);

#[async_trait::async_trait]
impl HttpService for Listings {
    async fn call(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let query = request.uri().query().unwrap_or_default();
        let is_listing = query.split('&').any(|pair| pair == "comp=list");
        let response = self.0.execute(request).await?;
        if !is_listing || !response.status().is_success() {
            return Ok(response);
        }
        let (head, body) = response.into_parts();
        Ok(HttpResponse::from_parts(head, nameable(body.bytes().await?, &LeftOut::of_task()).into()))
    }
}

/// The elements of a listing that have a name, by which they are left out as a whole.
const ENTRIES: [(&str, &str); 2] = [("<Blob>", "</Blob>"), ("<BlobPrefix>", "</BlobPrefix>")];

/// What a reader of XML takes for line feeds, and how it is told that they are none.
const SEPARATORS: [(char, &str); 2] = [('\u{85}', "&#x85;"), ('\u{2028}', "&#x2028;")];

/// A listing without the entries whose names are no paths.
fn nameable(listing: Bytes, left_out: &LeftOut) -> Bytes {
    // What is not UTF-8 is for object_store to refuse.
    match std::str::from_utf8(&listing).ok().and_then(|text| mended(text, left_out)) {
        Some(mended) => mended.into(),
        None => listing,
    }
}

/// The listing as object_store can read it; `None` if it is so already. Pages are long, so each is gone through once.
fn mended(text: &str, left_out: &LeftOut) -> Option<String> {
    let text = SEPARATORS.iter().fold(Cow::Borrowed(text), |text, (separator, reference)| {
        // The marker of the next page may have them as well.
        if text.contains(*separator) { text.replace(*separator, reference).into() } else { text }
    });
    let (mut left, mut kept) = (String::new(), 0);
    for entry in entries(&text) {
        if let Some(name) = unnameable(&text[entry.clone()]) {
            left_out.tell(&name, "a name that is not a path is left out of listings of the container");
            left.push_str(&text[kept..entry.start]);
            kept = entry.end;
        }
    }
    match text {
        Cow::Borrowed(_) if kept == 0 => None,
        text => {
            left.push_str(&text[kept..]);
            Some(left)
        }
    }
}

/// Where the entries of a listing are.
fn entries(text: &str) -> impl Iterator<Item = Range<usize>> {
    // Both openings begin so.
    const OPENING: &str = "<Blob";
    let mut at = 0;
    std::iter::from_fn(move || {
        loop {
            let start = at + text[at..].find(OPENING)?;
            let rest = &text[start..];
            match ENTRIES.iter().find(|(opening, _)| rest.starts_with(opening)) {
                Some((_, closing)) => {
                    at = start + rest.find(closing)? + closing.len();
                    return Some(start..at);
                }
                None => at = start + OPENING.len(),
            }
        }
    })
}

/// The name of an entry, if it is no path.
fn unnameable(entry: &str) -> Option<&str> {
    let (_, rest) = entry.split_once("<Name")?;
    let (attributes, rest) = rest.split_once('>')?;
    let (name, _) = rest.split_once("</Name>")?;
    // Azure encodes a name that XML has no letters for.
    let is_path = attributes.is_empty() && Path::parse(unescaped(name).as_ref()).is_ok();
    (!is_path).then_some(name)
}

/// The text that stands for itself in XML, as far as it decides on a name.
fn unescaped(name: &str) -> Cow<'_, str> {
    let Some(first) = name.find("&#") else { return name.into() };
    let (mut text, mut rest) = (name[..first].to_owned(), &name[first..]);
    while let Some(at) = rest.find("&#") {
        text.push_str(&rest[..at]);
        let reference = &rest[at + 2..];
        let Some((number, after)) = reference.split_once(';') else { break };
        let code = match number.strip_prefix(['x', 'X']) {
            Some(hexadecimal) => u32::from_str_radix(hexadecimal, 16),
            None => number.parse(),
        };
        text.extend(code.ok().and_then(char::from_u32));
        rest = after;
    }
    text.push_str(rest);
    text.into()
}

#[cfg(test)]
mod tests {
    use futures::TryStreamExt;
    use object_store::azure::MicrosoftAzureBuilder;
    use object_store::{ObjectMeta, ObjectStore};

    use super::*;
    use crate::storage::left_out::noting;

    fn nameable(listing: Bytes) -> Bytes {
        super::nameable(listing, &LeftOut::default())
    }

    fn blob(name: &str) -> String {
        format!("<Blob>{name}<Properties><Etag>x</Etag></Properties></Blob>")
    }

    fn name(name: &str) -> String {
        format!("<Name>{name}</Name>")
    }

    fn listing(entries: &[String]) -> String {
        format!("\u{feff}<List><Blobs>{}</Blobs><NextMarker>m</NextMarker></List>", entries.concat())
    }

    #[test]
    fn entries_whose_names_are_no_paths_are_taken_out_of_a_listing() {
        let prefix = |prefix: &str| format!("<BlobPrefix>{}</BlobPrefix>", name(prefix));
        let stay = [
            blob(&name("a/b")),
            prefix("a/"),
            blob(&name("d&amp;e")),
            blob(&name("f&#x20;&#65;")),
            blob(&name("/leading/and/trailing/")),
            blob(&name("ü 日本 %20")),
            blob(&name("next&#x85;line&#x2028;separator")),
            prefix("z/"),
        ];
        let go = [
            blob(&name("a//b")),
            prefix("a//"),
            blob(&name("a/../b")),
            blob(&name("feed&#xA;")),
            blob(&name("bell&#7;&#65")),
            blob(&name("tab\t")),
            blob(r#"<Name Encoded="true">%EF%BF%BF</Name>"#),
        ];
        let only = listing(&stay);
        assert_eq!(nameable(only.clone().into()), only);
        // Before, between and behind the others.
        for at in 0..=stay.len() {
            let (before, after) = stay.split_at(at);
            let all = listing(&[before, &go, after].concat());
            assert_eq!(nameable(all.into()), only, "{at}");
        }
        assert_eq!(nameable(listing(&go).into()), listing(&[]));
        for damaged in ["", "<Blob>", "<Blob><Name>a//b", "\u{fffd}"] {
            assert_eq!(nameable(damaged.into()), damaged);
        }
        let latin = Bytes::from_static(b"<Blob><Name>\xFC//</Name></Blob>");
        assert_eq!(nameable(latin.clone()), latin);
    }

    #[test]
    fn a_long_page_is_gone_through_once_and_left_as_it_is_if_nothing_in_it_is_odd() {
        const LENGTH: usize = 5_000;
        // No prefixes, and something that begins as an entry does in every one.
        let entry = |at: usize| {
            format!(
                "<Blob>{}<Properties><BlobType>BlockBlob</BlobType></Properties></Blob>",
                name(&format!("t/{at}"))
            )
        };
        let mut page: Vec<String> = (0..LENGTH).map(entry).collect();
        let text = listing(&page);
        let found: Vec<Range<usize>> = entries(&text).collect();
        assert_eq!(found.len(), LENGTH);
        assert!(
            found.windows(2).all(|pair| pair[0].end == pair[1].start),
            "each begins where the last has ended"
        );
        assert!(page.iter().zip(&found).all(|(entry, at)| text[at.clone()] == *entry));
        let bytes = Bytes::from(text);
        assert_eq!(nameable(bytes.clone()).as_ptr(), bytes.as_ptr(), "it was copied");
        let without = page.iter().skip(1).step_by(2).cloned().collect::<Vec<String>>();
        page.iter_mut().step_by(2).for_each(|entry| *entry = entry.replace("t/", "t//"));
        assert_eq!(nameable(listing(&page).into()), listing(&without));
    }

    /// Answers every request with one page.
    #[derive(Debug, Clone)]
    struct Page(String);

    #[async_trait::async_trait]
    impl HttpService for Page {
        async fn call(&self, _: HttpRequest) -> Result<HttpResponse, HttpError> {
            Ok(HttpResponse::new(self.0.clone().into()))
        }
    }

    impl HttpConnector for Page {
        fn connect(&self, _: &ClientOptions) -> object_store::Result<HttpClient> {
            Ok(HttpClient::new(Listings(HttpClient::new(self.clone()))))
        }
    }

    #[tokio::test]
    async fn names_with_line_separators_are_listed_and_whoever_needs_all_names_is_told_of_those_that_are_not()
    {
        const PROPERTIES: &str = "<Properties><Last-Modified>Thu, 01 Jan 2026 00:00:00 GMT</Last-Modified><Content-Length>1</Content-Length><Content-Type>x</Content-Type><Etag>x</Etag></Properties>";
        let stay = ["p=next\u{85}line/a", "p=\u{2028}/b", "paragraph\u{2028}"];
        let page = |names: &[&str]| {
            let blobs: String =
                names.iter().map(|at| format!("<Blob>{}{PROPERTIES}</Blob>", name(at))).collect();
            Page(format!("<EnumerationResults><Blobs>{blobs}</Blobs><NextMarker /></EnumerationResults>"))
        };
        let listed = async |page: Page| {
            let store = MicrosoftAzureBuilder::new()
                .with_account("account")
                .with_container_name("container")
                .with_config(object_store::azure::AzureConfigKey::SkipSignature, "true")
                .with_http_connector(page)
                .build()
                .unwrap();
            let (found, left_out) = noting(store.list(None).try_collect::<Vec<ObjectMeta>>()).await;
            let names: Vec<String> = found.unwrap().into_iter().map(|at| at.location.into()).collect();
            (names, left_out)
        };
        assert_eq!(listed(page(&stay)).await, (stay.map(str::to_owned).to_vec(), None));
        let (names, left_out) = listed(page(&[&stay[..], &["a//b", "c\td"]].concat())).await;
        assert_eq!((&names[..], left_out.as_deref()), (&stay.map(str::to_owned)[..], Some(r#""a//b""#)));
    }
}
