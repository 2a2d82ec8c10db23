//! Azure's listings without the names that object_store has no path for.
//!
//! A name in Azure may have empty parts (`a//b`), control characters, and line separators (U+0085, U+2028), which a reader of
//! XML takes for line feeds. object_store 0.13 fails with a whole listing for one of them. Nothing of ours has such a name, so
//! such entries are taken out of the answer, which is said once.

use std::borrow::Cow;

use bytes::Bytes;
use object_store::ClientOptions;
use object_store::client::{
    HttpClient, HttpConnector, HttpError, HttpRequest, HttpResponse, HttpService, ReqwestConnector,
};
use object_store::path::Path;

use crate::storage::left_out::say_once;

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
        Ok(HttpResponse::from_parts(head, nameable(body.bytes().await?).into()))
    }
}

/// The elements of a listing that have a name, by which they are left out as a whole.
const ENTRIES: [(&str, &str); 2] = [("<Blob>", "</Blob>"), ("<BlobPrefix>", "</BlobPrefix>")];

/// A listing without the entries whose names are no paths.
fn nameable(listing: Bytes) -> Bytes {
    // What is not UTF-8 is for object_store to refuse.
    let Ok(text) = std::str::from_utf8(&listing) else { return listing };
    let mut left = String::new();
    let (mut rest, mut kept) = (text, 0);
    while let Some((start, end)) = next_entry(rest) {
        let at = text.len() - rest.len();
        if let Some(name) = unnameable(&rest[start..end]) {
            say_once(&name, "a name that is no path is left out of every listing of the container");
            left.push_str(&text[kept..at + start]);
            kept = at + end;
        }
        rest = &rest[end..];
    }
    if kept == 0 {
        return listing;
    }
    left.push_str(&text[kept..]);
    left.into()
}

/// Where the next entry begins and ends.
fn next_entry(text: &str) -> Option<(usize, usize)> {
    let starts = ENTRIES.iter().filter_map(|(opening, closing)| Some((text.find(opening)?, *closing)));
    let (start, closing) = starts.min()?;
    let end = start + text[start..].find(closing)? + closing.len();
    Some((start, end))
}

/// The name of an entry, if it is no path.
fn unnameable(entry: &str) -> Option<&str> {
    let (_, rest) = entry.split_once("<Name")?;
    let (attributes, rest) = rest.split_once('>')?;
    let (name, _) = rest.split_once("</Name>")?;
    // Azure encodes a name that XML has no letters for.
    let is_path = attributes.is_empty() && Path::parse(unescaped(name).as_ref()).is_ok();
    (!is_path || name.contains(['\u{85}', '\u{2028}'])).then_some(name)
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
    use super::*;

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
            prefix("z/"),
        ];
        let go = [
            blob(&name("a//b")),
            prefix("a//"),
            blob(&name("a/../b")),
            blob(&name("next\u{85}line")),
            blob(&name("line\u{2028}separator")),
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
}
