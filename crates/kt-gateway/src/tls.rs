//! TLS for clients of the gateway.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::TlsAcceptor;

/// Where the certificate chain and its key are, in PEM.
#[derive(Clone, Debug)]
pub struct TlsFiles {
    /// The certificate, then those that lead from it to the root.
    pub certificate: PathBuf,
    /// Its private key.
    pub key: PathBuf,
}

impl TlsFiles {
    /// Reads both files. HTTP/2 and HTTP/1.1 are offered, TLS 1.2 and 1.3 spoken.
    pub(crate) fn acceptor(&self) -> io::Result<TlsAcceptor> {
        let chain = self.chain().map_err(|error| unreadable(&self.certificate, "certificate", &error))?;
        let key = PrivateKeyDer::from_pem_file(&self.key)
            .map_err(|error| unreadable(&self.key, "private key", &error))?;
        let mut config = ServerConfig::builder()
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .map_err(|error| io::Error::other(format!("{}: {error}", self.certificate.display())))?;
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(TlsAcceptor::from(Arc::new(config)))
    }

    /// The certificates, of which there has to be one.
    fn chain(&self) -> Result<Vec<CertificateDer<'static>>, pem::Error> {
        let chain: Vec<_> = CertificateDer::pem_file_iter(&self.certificate)?.collect::<Result<_, _>>()?;
        if chain.is_empty() { Err(pem::Error::NoItemsFound) } else { Ok(chain) }
    }
}

/// Why a file that was to hold `what` does not give it.
fn unreadable(path: &Path, what: &str, error: &pem::Error) -> io::Error {
    let path = path.display();
    io::Error::other(match error {
        pem::Error::NoItemsFound => format!("{path} holds no {what} in PEM"),
        pem::Error::Io(error) => format!("{path} cannot be read: {error}"),
        error => format!("{path}: {error}"),
    })
}
