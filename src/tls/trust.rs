//! The certificates that are accepted from upstreams: those of one CA, and no others.

use std::{error::Error, fs::File, io::Read, path::Path, sync::Arc};

use tokio_rustls::rustls::{
    CertificateError, ClientConfig, Error as RustlsError, RootCertStore,
    pki_types::{CertificateDer, pem::PemObject},
};

use super::{MAX_PEM, TlsError, cause, provider};
use crate::atomic_file::FileError;

/// The CA of the upstreams. By default there is none, and no certificate is accepted. Flower's certificates are private, so
/// the platform's CAs are never used.
#[derive(Clone, Debug)]
pub(crate) struct Trust {
    roots: Arc<RootCertStore>,
}

impl Default for Trust {
    fn default() -> Self {
        Self { roots: Arc::new(RootCertStore::empty()) }
    }
}

impl Trust {
    /// Reads the certificates of one or more CAs, in PEM.
    pub(crate) fn read(path: &Path) -> Result<Self, TlsError> {
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(authorities(path)?);
        Ok(Self { roots: Arc::new(roots) })
    }

    pub(crate) fn client_config(&self) -> ClientConfig {
        ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .expect("ring has cipher suites for TLS 1.2 and 1.3")
            .with_root_certificates(Arc::clone(&self.roots))
            .with_no_client_auth()
    }

    /// Explains what is wrong with an upstream's TLS and what to do about it, if that is why a call failed.
    pub(crate) fn explain(error: &(dyn Error + 'static)) -> Option<String> {
        use CertificateError::{
            BadSignature, Expired, ExpiredContext, NotValidForName, NotValidForNameContext, NotValidYet,
            NotValidYetContext, UnknownIssuer,
        };
        let error = cause(error)?;
        Some(match error {
            // A CA with the same name and another key causes the second.
            RustlsError::InvalidCertificate(UnknownIssuer | BadSignature) => {
                "the CA given here did not sign its certificate; give the one that did with --superlink-ca".to_owned()
            }
            RustlsError::InvalidCertificate(NotValidForName | NotValidForNameContext { .. }) => {
                format!(
                    "its certificate is for other names ({error}); dial it by one of them, or have one issued for this name"
                )
            }
            RustlsError::InvalidCertificate(Expired | ExpiredContext { .. }) => {
                format!("its certificate has expired ({error}); renew it, or correct this machine's clock")
            }
            RustlsError::InvalidCertificate(NotValidYet | NotValidYetContext { .. }) => {
                format!("its certificate is not valid yet ({error}); correct this machine's clock")
            }
            RustlsError::InvalidMessage(_) => {
                "it does not speak TLS; if that is intended, give its address with http:// or grpc://".to_owned()
            }
            error => format!("TLS failed: {error}"),
        })
    }
}

/// Reads the certificates of CAs from a PEM file: at least one, and each usable.
pub(crate) fn authorities(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let mut pem = Vec::new();
    let read = File::open(path).and_then(|file| file.take(MAX_PEM).read_to_end(&mut pem));
    read.map_err(|error| FileError::io("the CA file", path, error))?;
    let mut authorities = Vec::new();
    for certificate in CertificateDer::pem_slice_iter(&pem) {
        let certificate = certificate.map_err(|error| TlsError::unusable(path, error))?;
        let added = RootCertStore::empty().add(certificate.clone());
        added.map_err(|error| TlsError::unusable(path, error))?;
        authorities.push(certificate);
    }
    if authorities.is_empty() {
        return Err(TlsError::NoCertificates { path: path.to_owned() });
    }
    Ok(authorities)
}

#[cfg(test)]
mod tests {
    use std::{fs, io};

    use super::*;

    #[test]
    fn a_file_without_a_certificate_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ca.pem");
        assert!(Trust::read(&path).unwrap_err().to_string().contains("cannot use the CA file"));
        for (content, part) in [
            ("", "does not contain a certificate"),
            ("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", "does not contain a certificate"),
            ("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "cannot be used"),
            ("-----BEGIN CERTIFICATE-----\nAAAA\n", "cannot be used"),
        ] {
            fs::write(&path, content).unwrap();
            let error = Trust::read(&path).unwrap_err().to_string();
            assert!(error.contains(part), "{content:?}: {error}");
        }
    }

    #[test]
    fn every_cause_says_what_to_do_however_deep_it_is_in_the_chain() {
        use CertificateError::{BadSignature, Expired, NotValidForName, NotValidYet, UnknownIssuer};
        for (reason, part) in [
            (RustlsError::InvalidCertificate(UnknownIssuer), "--superlink-ca"),
            (RustlsError::InvalidCertificate(BadSignature), "--superlink-ca"),
            (RustlsError::InvalidCertificate(NotValidForName), "other names"),
            (RustlsError::InvalidCertificate(Expired), "renew it"),
            (RustlsError::InvalidCertificate(NotValidYet), "clock"),
            (RustlsError::InvalidMessage(tokio_rustls::rustls::InvalidMessage::InvalidContentType), "http://"),
            (RustlsError::DecryptError, "TLS failed"),
        ] {
            let error = io::Error::other(io::Error::other(reason));
            let explained = Trust::explain(&error).unwrap();
            assert!(explained.contains(part), "{explained}");
        }
        assert_eq!(Trust::explain(&io::Error::from(io::ErrorKind::ConnectionRefused)), None);
    }
}
