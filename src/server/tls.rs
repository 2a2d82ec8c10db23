//! TLS of the control listener: a certificate and its key from two files, which are read again when they change.
//!
//! A handshake runs beside the others and is given up after some seconds, so a client that says nothing holds nobody up.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use axum::serve::Listener;
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::model::{Error, Result};

/// How long a client may take for the handshake.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// Handshakes at once; further connections wait.
const HANDSHAKES_MAX: usize = 64;
/// How long the listener waits after a connection could not be accepted, for instance for want of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(500);

/// The files of a server's identity, in PEM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFiles {
    /// The certificate, and those of its issuers behind it.
    pub certificate: PathBuf,
    /// The private key.
    pub key: PathBuf,
}

impl TlsFiles {
    fn read(&self) -> Result<Arc<ServerConfig>> {
        let unreadable = |what: &str, path: &Path| {
            Error::config(format!("cannot read {what} of the control listener from {}", path.display()))
                .hint("--control-tls-certificate and --control-tls-key must be PEM files")
        };
        let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_file_iter(&self.certificate)
            .and_then(Iterator::collect)
            .map_err(|e| unreadable("the certificate", &self.certificate).source(e))?;
        if chain.is_empty() {
            return Err(unreadable("the certificate", &self.certificate));
        }
        let key = PrivateKeyDer::from_pem_file(&self.key)
            .map_err(|e| unreadable("the private key", &self.key).source(e))?;
        let refused = |e: rustls::Error| {
            let files = (self.certificate.display(), self.key.display());
            Error::config(format!("cannot start TLS with certificate {} and key {}", files.0, files.1))
                .source(e)
                .hint("the key must be that of the first certificate in the file")
        };
        let mut config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(refused)?
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .map_err(refused)?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Arc::new(config))
    }

    /// When the files were written.
    fn modified(&self) -> Option<(SystemTime, SystemTime)> {
        let of = |path: &Path| std::fs::metadata(path)?.modified();
        Some((of(&self.certificate).ok()?, of(&self.key).ok()?))
    }
}

/// The server's identity as the files have it.
struct Certificates {
    files: TlsFiles,
    modified: Option<(SystemTime, SystemTime)>,
    config: Arc<ServerConfig>,
}

impl Certificates {
    /// The identity for a new connection; the one before if the files have changed to what can't be used.
    fn current(&mut self) -> Arc<ServerConfig> {
        let modified = self.files.modified();
        if modified != self.modified {
            self.modified = modified;
            match self.files.read() {
                Ok(config) => {
                    self.config = config;
                    tracing::info!("the certificate of the control listener was reloaded");
                }
                Err(error) => {
                    tracing::warn!(%error, "the control listener keeps its current certificate")
                }
            }
        }
        Arc::clone(&self.config)
    }
}

/// Connections whose handshake is done.
pub(super) struct TlsListener {
    address: SocketAddr,
    ready: mpsc::Receiver<(TlsStream<TcpStream>, SocketAddr)>,
}

impl TlsListener {
    /// Takes over the connections of `listener`.
    ///
    /// # Errors
    /// `Config` if the files make no identity; `Unavailable` if the listener has no address.
    pub(super) fn over(listener: TcpListener, files: TlsFiles) -> Result<TlsListener> {
        let address =
            listener.local_addr().map_err(|e| Error::unavailable("a listener has no address").source(e))?;
        let certificates = Certificates { modified: files.modified(), config: files.read()?, files };
        let (sender, ready) = mpsc::channel(HANDSHAKES_MAX);
        tokio::spawn(accept_all(listener, certificates, sender));
        Ok(TlsListener { address, ready })
    }
}

async fn accept_all(
    listener: TcpListener,
    mut certificates: Certificates,
    sender: mpsc::Sender<(TlsStream<TcpStream>, SocketAddr)>,
) {
    let places = Arc::new(Semaphore::new(HANDSHAKES_MAX));
    while !sender.is_closed() {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
        let (stream, peer) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::debug!(%error, "a connection to the control listener was not accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let (acceptor, sender) = (TlsAcceptor::from(certificates.current()), sender.clone());
        tokio::spawn(async move {
            match tokio::time::timeout(HANDSHAKE_TIMEOUT, acceptor.accept(stream)).await {
                Ok(Ok(stream)) => {
                    let _ = sender.send((stream, peer)).await;
                }
                Ok(Err(error)) => {
                    tracing::debug!(%peer, %error, "the TLS handshake with the control listener failed")
                }
                Err(_) => tracing::debug!(%peer, "the TLS handshake with the control listener timed out"),
            }
            drop(place);
        });
    }
}

impl Listener for TlsListener {
    type Io = TlsStream<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (TlsStream<TcpStream>, SocketAddr) {
        match self.ready.recv().await {
            Some(accepted) => accepted,
            // The task that accepts ends only with the runtime.
            None => std::future::pending().await,
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.address)
    }
}
