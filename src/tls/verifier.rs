//! Checks the certificates of servers: with CAs, or against the very certificates that the operator gave.

use std::{fmt, sync::Arc};

use tokio_rustls::rustls::{
    CertificateError, DigitallySignedStruct, Error as RustlsError, OtherError, SignatureScheme,
    client::{
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
        verify_server_name,
    },
    pki_types::{CertificateDer, ServerName, UnixTime},
    server::ParsedCertificate,
};

use super::refusal::{self, Server};

/// Checks the certificates of servers.
///
/// A server may use one of the given certificates itself, as Flower's clients allow it: one that signed itself, of a CA or not.
/// Its dates and its name are checked, and that the server has its key. What is refused is explained.
#[derive(Debug)]
pub(crate) struct Verifier {
    inner: Arc<dyn ServerCertVerifier>,
    given: Vec<CertificateDer<'static>>,
    server: Server,
}

impl Verifier {
    /// Checks with `inner`, which knows the CAs among the `given` certificates.
    pub(crate) fn new(inner: Arc<dyn ServerCertVerifier>, given: Vec<CertificateDer<'static>>, server: Server) -> Self {
        Self { inner, given, server }
    }

    fn refuse(&self, error: RustlsError, certificate: &CertificateDer<'_>, name: &ServerName<'_>) -> RustlsError {
        let Some(text) = refusal::explain(&error, certificate, &self.given, name, self.server) else { return error };
        CertificateError::Other(OtherError(Arc::new(Refused(text)))).into()
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, RustlsError> {
        let verified = self.inner.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now);
        let verified = match verified {
            // The dates are checked before the role and the issuer.
            Err(error) if self.given.contains(end_entity) && refusal::is_about_issuer(&error) => {
                let parsed = ParsedCertificate::try_from(end_entity)?;
                verify_server_name(&parsed, server_name).map(|()| ServerCertVerified::assertion())
            }
            verified => verified,
        };
        let verified = verified.and_then(|verified| match refusal::has_short_key(end_entity) {
            // What it signs cannot be checked.
            true => Err(CertificateError::BadSignature.into()),
            false => Ok(verified),
        });
        verified.map_err(|error| self.refuse(error, end_entity, server_name))
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, RustlsError> {
        self.inner.verify_tls12_signature(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, RustlsError> {
        self.inner.verify_tls13_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.inner.supported_verify_schemes()
    }
}

/// Why a certificate was refused, and the command that makes a right one.
#[derive(thiserror::Error)]
#[error("{0}")]
pub(super) struct Refused(String);

/// The text: rustls shows errors of others by their `Debug`.
impl fmt::Debug for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
