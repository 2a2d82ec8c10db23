//! One blob as Azure's own client sees it, signed with the credential of the store: for leases, which object_store has none of.

use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;

use azure_core::error::ErrorKind;
use azure_core::http::headers::HeaderName;
use azure_core::http::policies::{Policy, PolicyResult};
use azure_core::http::{ClientOptions, Context, Request, RetryOptions};
use azure_storage_blob::{BlobClient, BlobClientOptions};
use object_store::azure::{AzureAuthorizer, AzureCredentialProvider};
use object_store::client::{HttpRequest, HttpRequestBody};
use object_store::path::Path;
use url::Url;

use super::redact::Secrets;
use crate::model::{Error, Result};

/// The container that a folder of Azure is in, and how requests to it are signed.
#[derive(Clone)]
pub struct Container {
    pub(super) account: String,
    /// `ENDPOINT/CONTAINER`.
    pub(super) url: Url,
    /// `None`: requests are not signed.
    pub(super) credentials: Option<AzureCredentialProvider>,
    pub(super) secrets: Secrets,
}

impl fmt::Debug for Container {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Container({})", self.url)
    }
}

impl Container {
    /// A client of the blob at `path`, which starts at the container's root. It tries each request once, without a
    /// timeout of its own.
    ///
    /// # Errors
    /// `Config` if the path makes no URL.
    pub fn blob(&self, path: &Path) -> Result<BlobClient> {
        let mut url = self.url.clone();
        let failed = || Error::config(format!("{} is not a URL of a container", self.url));
        url.path_segments_mut().map_err(|()| failed())?.pop_if_empty().extend(path.parts());
        let sign = Sign { account: self.account.clone(), credentials: self.credentials.clone() };
        let client_options = ClientOptions {
            per_try_policies: vec![Arc::new(sign)],
            retry: RetryOptions::none(),
            ..ClientOptions::default()
        };
        let options = BlobClientOptions { client_options, ..BlobClientOptions::default() };
        BlobClient::new(url, None, Some(options)).map_err(|e| failed().source(e))
    }

    /// The text of an error and its causes, without secrets.
    pub fn text_of(&self, error: &(dyn StdError + 'static)) -> String {
        self.secrets.text_of(error)
    }
}

/// Signs requests as object_store signs its own.
struct Sign {
    account: String,
    credentials: Option<AzureCredentialProvider>,
}

impl fmt::Debug for Sign {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Sign({})", self.account)
    }
}

#[async_trait::async_trait]
impl Policy for Sign {
    async fn send(&self, ctx: &Context, request: &mut Request, next: &[Arc<dyn Policy>]) -> PolicyResult {
        if let Some(credentials) = &self.credentials {
            let failed =
                |e| azure_core::Error::with_error(ErrorKind::Credential, e, "no credential for storage");
            let credential = credentials.get_credential().await.map_err(failed)?;
            let mut copy = copy_of(request)?;
            AzureAuthorizer::new(&credential, &self.account).authorize(&mut copy);
            take_over(request, &copy)?;
        }
        next[0].send(ctx, request, &next[1..]).await
    }
}

/// The request as object_store has them: address and headers, which are all that is signed.
fn copy_of(request: &Request) -> azure_core::Result<HttpRequest> {
    let failed = |what: String| azure_core::Error::with_message(ErrorKind::DataConversion, what);
    let mut copy = HttpRequest::new(HttpRequestBody::empty());
    *copy.method_mut() = request.method().as_ref().parse().map_err(|e| failed(format!("method: {e}")))?;
    *copy.uri_mut() = request.url().as_str().parse().map_err(|e| failed(format!("address: {e}")))?;
    for (name, value) in request.headers().iter() {
        let name: http::HeaderName = name.as_str().parse().map_err(|e| failed(format!("header: {e}")))?;
        let value: http::HeaderValue = value.as_str().parse().map_err(|e| failed(format!("header: {e}")))?;
        copy.headers_mut().insert(name, value);
    }
    // The length is signed too, and the client below tells it only when it sends.
    copy.headers_mut().insert(http::header::CONTENT_LENGTH, request.body().len().unwrap_or(0).into());
    Ok(copy)
}

fn take_over(request: &mut Request, signed: &HttpRequest) -> azure_core::Result<()> {
    let failed = |what: String| azure_core::Error::with_message(ErrorKind::DataConversion, what);
    for (name, value) in signed.headers() {
        let value = value.to_str().map_err(|e| failed(format!("header {name}: {e}")))?;
        request.insert_header(HeaderName::from(name.as_str().to_owned()), value.to_owned());
    }
    *request.url_mut() = signed.uri().to_string().parse().map_err(|e| failed(format!("address: {e}")))?;
    Ok(())
}
