//! The door through which Azure's answers come: no error shows a secret, and a listing starts where it was asked to.
//!
//! A shared access signature is part of the URL, and object_store 0.13 prints the URL when a batch of deletions fails. Azurite
//! knows no `startFrom` and lists everything; so what lies before the offset is left out here, whoever lists.

use std::error::Error as StdError;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use futures::stream::BoxStream;
use futures::{FutureExt, StreamExt, TryStreamExt};
use object_store::path::Path;
use object_store::{
    CopyOptions, DynObjectStore, Error, GetOptions, GetResult, GetResultPayload, ListResult, MultipartUpload,
    ObjectMeta, ObjectStore, PutMultipartOptions, PutOptions, PutPayload, PutResult, RenameOptions, Result,
    UploadPart,
};

/// What stands for a secret in texts.
const MASK: &str = "REDACTED";

/// The secrets of one account that no text may show.
#[derive(Clone, Default)]
pub(super) struct Secrets {
    /// In every form in which they may stand in a text.
    known: Arc<[String]>,
}

impl Secrets {
    /// `secrets` in plain text and percent-encoded.
    pub(super) fn new<'s>(secrets: impl IntoIterator<Item = &'s str>) -> Secrets {
        let mut known = Vec::new();
        for secret in secrets.into_iter().filter(|secret| !secret.is_empty()) {
            known.push(secret.to_owned());
            known.push(url::form_urlencoded::byte_serialize(secret.as_bytes()).collect());
        }
        Secrets { known: known.into() }
    }

    /// `text` without secrets.
    pub(super) fn redact(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for secret in self.known.iter() {
            text = text.replace(secret.as_str(), MASK);
        }
        // A signature that is not ours, or is written in another way.
        let mut clean = String::with_capacity(text.len());
        let mut rest = text.as_str();
        while let Some(at) = rest.find("sig=") {
            let (before, after) = rest.split_at(at + "sig=".len());
            clean.push_str(before);
            clean.push_str(MASK);
            let end = after.find(|c: char| {
                c == '&' || c == '"' || c == '\'' || c == ')' || c == '>' || c.is_whitespace()
            });
            rest = &after[end.unwrap_or(after.len())..];
        }
        clean.push_str(rest);
        clean
    }

    /// The error and its causes in one line, without secrets: Azure's answers are XML over several lines.
    pub(super) fn text_of(&self, error: &(dyn StdError + 'static)) -> String {
        let mut texts: Vec<String> = Vec::new();
        let mut cause = Some(error);
        while let Some(error) = cause {
            let text = self.redact(&error.to_string());
            let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
            if texts.last().is_none_or(|said| !said.contains(&text)) {
                texts.push(text);
            }
            cause = error.source();
        }
        texts.join(": ")
    }

    /// Whether a text has secrets or line breaks in it.
    fn is_needed(&self, error: &(dyn StdError + 'static)) -> bool {
        let mut cause = Some(error);
        while let Some(error) = cause {
            let text = error.to_string();
            if self.redact(&text) != text || text.contains('\n') {
                return true;
            }
            cause = error.source();
        }
        false
    }

    /// The same error, of the same kind, without secrets and line breaks.
    fn clean(&self, error: Error) -> Error {
        if !self.is_needed(&error) {
            return error;
        }
        let plain = |source: Box<dyn StdError + Send + Sync>| -> Box<dyn StdError + Send + Sync> {
            self.text_of(source.as_ref()).into()
        };
        match error {
            Error::Generic { store, source } => Error::Generic { store, source: plain(source) },
            Error::NotFound { path, source } => Error::NotFound { path, source: plain(source) },
            Error::AlreadyExists { path, source } => Error::AlreadyExists { path, source: plain(source) },
            Error::Precondition { path, source } => Error::Precondition { path, source: plain(source) },
            Error::NotModified { path, source } => Error::NotModified { path, source: plain(source) },
            Error::PermissionDenied { path, source } => {
                Error::PermissionDenied { path, source: plain(source) }
            }
            Error::Unauthenticated { path, source } => Error::Unauthenticated { path, source: plain(source) },
            other => Error::Generic { store: "MicrosoftAzure", source: plain(Box::new(other)) },
        }
    }
}

/// Shows how many there are.
impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} secrets", self.known.len())
    }
}

/// The store behind the door.
#[derive(Debug)]
pub(super) struct RedactedStore {
    inner: Arc<DynObjectStore>,
    secrets: Secrets,
}

impl RedactedStore {
    pub(super) fn new(inner: Arc<DynObjectStore>, secrets: Secrets) -> RedactedStore {
        RedactedStore { inner, secrets }
    }

    fn clean_stream<T: 'static>(
        &self,
        stream: BoxStream<'static, Result<T>>,
    ) -> BoxStream<'static, Result<T>> {
        let secrets = self.secrets.clone();
        stream.map_err(move |error| secrets.clean(error)).boxed()
    }
}

impl fmt::Display for RedactedStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}

#[async_trait::async_trait]
impl ObjectStore for RedactedStore {
    async fn put_opts(&self, location: &Path, payload: PutPayload, opts: PutOptions) -> Result<PutResult> {
        self.inner.put_opts(location, payload, opts).await.map_err(|e| self.secrets.clean(e))
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        opts: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        let inner = self.inner.put_multipart_opts(location, opts).await.map_err(|e| self.secrets.clean(e))?;
        Ok(Box::new(RedactedUpload { inner, secrets: self.secrets.clone() }))
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        let mut found = self.inner.get_opts(location, options).await.map_err(|e| self.secrets.clean(e))?;
        found.payload = match found.payload {
            GetResultPayload::Stream(bytes) => GetResultPayload::Stream(self.clean_stream(bytes)),
            file => file,
        };
        Ok(found)
    }

    async fn get_ranges(&self, location: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        self.inner.get_ranges(location, ranges).await.map_err(|e| self.secrets.clean(e))
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        self.clean_stream(self.inner.delete_stream(locations))
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.clean_stream(self.inner.list(prefix))
    }

    fn list_with_offset(
        &self,
        prefix: Option<&Path>,
        offset: &Path,
    ) -> BoxStream<'static, Result<ObjectMeta>> {
        let from = offset.clone();
        let listed = self.inner.list_with_offset(prefix, offset);
        self.clean_stream(
            listed.try_filter(move |object| futures::future::ready(object.location > from)).boxed(),
        )
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.inner.list_with_delimiter(prefix).await.map_err(|e| self.secrets.clean(e))
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.inner.copy_opts(from, to, options).await.map_err(|e| self.secrets.clean(e))
    }

    async fn rename_opts(&self, from: &Path, to: &Path, options: RenameOptions) -> Result<()> {
        self.inner.rename_opts(from, to, options).await.map_err(|e| self.secrets.clean(e))
    }
}

/// An upload behind the door.
#[derive(Debug)]
struct RedactedUpload {
    inner: Box<dyn MultipartUpload>,
    secrets: Secrets,
}

#[async_trait::async_trait]
impl MultipartUpload for RedactedUpload {
    fn put_part(&mut self, data: PutPayload) -> UploadPart {
        let (put, secrets) = (self.inner.put_part(data), self.secrets.clone());
        async move { put.await.map_err(|e| secrets.clean(e)) }.boxed()
    }

    async fn complete(&mut self) -> Result<PutResult> {
        self.inner.complete().await.map_err(|e| self.secrets.clean(e))
    }

    async fn abort(&mut self) -> Result<()> {
        self.inner.abort().await.map_err(|e| self.secrets.clean(e))
    }
}

#[cfg(test)]
mod tests {
    use object_store::ObjectStoreExt;
    use object_store::memory::InMemory;

    use super::*;

    #[test]
    fn a_signature_is_masked_in_every_form_and_the_rest_is_kept() {
        let secrets = Secrets::new(["ab+c/d="]);
        for (text, clean) in [
            (
                "PUT https://h/c?sp=r&sig=ab%2Bc%2Fd%3D&se=1 in 3s",
                "PUT https://h/c?sp=r&sig=REDACTED&se=1 in 3s",
            ),
            ("sig=other \"sig=more\" end", "sig=REDACTED \"sig=REDACTED\" end"),
            ("the key ab+c/d= is wrong", "the key REDACTED is wrong"),
            ("nothing here", "nothing here"),
        ] {
            assert_eq!(secrets.redact(text), clean);
        }
    }

    #[test]
    fn an_error_keeps_its_kind_and_loses_the_signature_wherever_it_stands() {
        let secrets = Secrets::new(["hunter2"]);
        let inner = std::io::Error::other("GET https://h/c?sig=hunter2\n<Code>X</Code>");
        let error =
            Error::PermissionDenied { path: "p".into(), source: Box::new(std::io::Error::other(inner)) };
        let clean = secrets.clean(error);
        assert!(matches!(clean, Error::PermissionDenied { .. }));
        let shown = format!("{clean} {clean:?}");
        assert!(shown.contains("sig=REDACTED <Code>X</Code>") && !shown.contains("hunter2"), "{shown}");
    }

    #[tokio::test]
    async fn a_listing_from_an_offset_has_nothing_before_it_though_the_store_lists_all() {
        #[derive(Debug)]
        struct ListsAll(InMemory);
        impl fmt::Display for ListsAll {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
        #[async_trait::async_trait]
        impl ObjectStore for ListsAll {
            async fn put_opts(&self, at: &Path, data: PutPayload, opts: PutOptions) -> Result<PutResult> {
                self.0.put_opts(at, data, opts).await
            }
            async fn put_multipart_opts(
                &self,
                at: &Path,
                opts: PutMultipartOptions,
            ) -> Result<Box<dyn MultipartUpload>> {
                self.0.put_multipart_opts(at, opts).await
            }
            async fn get_opts(&self, at: &Path, options: GetOptions) -> Result<GetResult> {
                self.0.get_opts(at, options).await
            }
            fn delete_stream(
                &self,
                at: BoxStream<'static, Result<Path>>,
            ) -> BoxStream<'static, Result<Path>> {
                self.0.delete_stream(at)
            }
            fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
                self.0.list(prefix)
            }
            fn list_with_offset(
                &self,
                prefix: Option<&Path>,
                _: &Path,
            ) -> BoxStream<'static, Result<ObjectMeta>> {
                self.0.list(prefix)
            }
            async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
                self.0.list_with_delimiter(prefix).await
            }
            async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
                self.0.copy_opts(from, to, options).await
            }
        }
        let store = RedactedStore::new(Arc::new(ListsAll(InMemory::new())), Secrets::default());
        for name in ["log/1", "log/2", "log/3"] {
            store.put(&Path::from(name), name.into()).await.unwrap();
        }
        let listed = store.list_with_offset(Some(&Path::from("log")), &Path::from("log/2"));
        let found: Vec<ObjectMeta> = listed.try_collect().await.unwrap();
        assert_eq!(found.iter().map(|o| o.location.as_ref()).collect::<Vec<_>>(), ["log/3"]);
    }
}
