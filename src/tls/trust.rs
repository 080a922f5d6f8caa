//! The certificates that are accepted from upstreams: those of one CA, and no others.

use std::{error::Error, path::Path, sync::Arc};

use tokio_rustls::rustls::{
    AlertDescription, CertificateError, ClientConfig, Error as RustlsError, RootCertStore, client::WebPkiServerVerifier,
};

use super::{Server, TlsError, Verifier, authorities, cause, provider, refusal::SelfSigned, verifier::Refused};

/// The certificates that upstreams may have: signed by one of these CAs, or one of them itself. By default there is none, and no
/// certificate is accepted. Flower's certificates are private, so the platform's CAs are never used.
#[derive(Clone, Debug, Default)]
pub(crate) struct Trust {
    verifier: Option<Arc<Verifier>>,
}

impl Trust {
    /// Reads the certificates of one or more CAs, in PEM.
    pub(crate) fn read(path: &Path) -> Result<Self, TlsError> {
        let given = authorities(path)?;
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(given.iter().cloned());
        let inner = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider()).build();
        let inner = inner.map_err(|error| TlsError::unusable(path, error))?;
        Ok(Self { verifier: Some(Arc::new(Verifier::new(inner, given, Server::Superlink))) })
    }

    pub(crate) fn client_config(&self) -> ClientConfig {
        let builder = ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .expect("ring has cipher suites for TLS 1.2 and 1.3");
        match &self.verifier {
            Some(verifier) => builder.dangerous().with_custom_certificate_verifier(Arc::<Verifier>::clone(verifier)),
            None => builder.with_root_certificates(RootCertStore::empty()),
        }
        .with_no_client_auth()
    }

    /// Explains what is wrong with an upstream's TLS and what to do about it, if that is why a call failed.
    pub(crate) fn explain(error: &(dyn Error + 'static)) -> Option<String> {
        let error = cause(error)?;
        Some(match error {
            RustlsError::InvalidCertificate(CertificateError::Other(other)) if other.0.is::<Refused>() => {
                other.0.to_string()
            }
            RustlsError::InvalidMessage(_) => {
                "it does not speak TLS; if that is intended, give its address with http:// or grpc://".to_owned()
            }
            RustlsError::AlertReceived(AlertDescription::HandshakeFailure) => format!(
                "it has no certificate whose key is understood here: RSA of 2048 bits or more, ECDSA with P-256 or P-384, \
                 or Ed25519. A right one: {}",
                SelfSigned(None)
            ),
            error => format!("TLS failed: {error}"),
        })
    }
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
            ("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", "it has a private key"),
            ("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "cannot be used"),
            ("-----BEGIN CERTIFICATE-----\nAAAA\n", "cannot be used"),
        ] {
            fs::write(&path, content).unwrap();
            let error = Trust::read(&path).unwrap_err().to_string();
            assert!(error.contains(part), "{content:?}: {error}");
        }
    }

    #[test]
    fn what_is_not_about_the_certificate_says_what_to_do_however_deep_it_is_in_the_chain() {
        for (reason, part) in [
            (RustlsError::InvalidMessage(tokio_rustls::rustls::InvalidMessage::InvalidContentType), "http://"),
            (RustlsError::AlertReceived(AlertDescription::HandshakeFailure), "openssl req"),
            (RustlsError::DecryptError, "TLS failed"),
        ] {
            let error = io::Error::other(io::Error::other(reason));
            let explained = Trust::explain(&error).unwrap();
            assert!(explained.contains(part), "{explained}");
        }
        assert_eq!(Trust::explain(&io::Error::from(io::ErrorKind::ConnectionRefused)), None);
    }
}
