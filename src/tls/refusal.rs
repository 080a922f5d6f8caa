//! Explains why the certificate of a server is refused, with the command that makes a right one.

use std::fmt;

use tokio_rustls::rustls::{
    CertificateError, Error as RustlsError,
    pki_types::{CertificateDer, ServerName},
};
use webpki::{EndEntityCert, Error as WebpkiError};

/// The name in a command where the name is not known, or not one that needs no quotes.
const UNKNOWN_NAME: &str = "DNS:HOST";
/// The identifier of RSA keys in a certificate (rsaEncryption, in DER).
const RSA: &[u8] = &[0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01];
/// A public key of RSA that is shorter than this, in DER, has less than 2048 bits.
const SHORT_RSA: usize = 290;

/// The kind of a server, which decides where its certificate belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Server {
    Superlink,
    /// A relay, or a pkarr server.
    Relay,
}

impl Server {
    /// The option that names the CA.
    fn option(self) -> &'static str {
        match self {
            Self::Superlink => "--superlink-ca",
            Self::Relay => "--relay-ca",
        }
    }

    /// Where the files of the command belong.
    fn files(self) -> &'static str {
        match self {
            Self::Superlink => {
                "then start the SuperLink with --ssl-certfile server.pem --ssl-keyfile server.key --ssl-ca-certfile \
                 server.pem, and this funnel with --superlink-ca server.pem"
            }
            Self::Relay => {
                "then start the relay with --tls-cert server.pem --tls-key server.key, and every funnel with --relay-ca \
                 server.pem"
            }
        }
    }
}

/// Returns whether a certificate was refused since it is a CA's, or its issuer is not known; its dates were right.
pub(super) fn is_about_issuer(error: &RustlsError) -> bool {
    matches!(error, RustlsError::InvalidCertificate(CertificateError::UnknownIssuer))
        || matches!(webpki_error(error), Some(WebpkiError::CaUsedAsEndEntity))
}

/// Finds the error for which rustls has no variant.
fn webpki_error(error: &RustlsError) -> Option<&WebpkiError> {
    match error {
        RustlsError::InvalidCertificate(CertificateError::Other(other)) => other.0.downcast_ref(),
        _ => None,
    }
}

/// Explains why `certificate` is refused, and what to do. `None` if it has another reason than the certificate.
pub(super) fn explain(
    error: &RustlsError,
    certificate: &CertificateDer<'_>,
    given: &[CertificateDer<'_>],
    name: &ServerName<'_>,
    server: Server,
) -> Option<String> {
    use CertificateError::{
        BadEncoding, BadSignature, Expired, ExpiredContext, InvalidPurpose, InvalidPurposeContext, NotValidForName,
        NotValidForNameContext, NotValidYet, NotValidYetContext, UnknownIssuer, UnsupportedSignatureAlgorithmContext,
        UnsupportedSignatureAlgorithmForPublicKeyContext,
    };
    let RustlsError::InvalidCertificate(reason) = error else { return None };
    let option = server.option();
    let problem = match reason {
        BadSignature if has_short_key(certificate) => "its key is too short: RSA keys need 2048 bits".to_owned(),
        BadSignature if given.iter().any(has_short_key) => {
            format!("the key of the CA in {option} is too short: RSA keys need 2048 bits")
        }
        // A CA with the same name and another key causes the second.
        UnknownIssuer | BadSignature => {
            return Some(format!(
                "the CA given here did not sign its certificate; give the one that did with {option}, or the certificate \
                 itself; these two lines must name the same: openssl x509 -noout -issuer -in SERVER_CERTIFICATE; openssl \
                 x509 -noout -subject -in CA"
            ));
        }
        NotValidForNameContext { presented, .. } if presented.is_empty() => {
            "its certificate has no subjectAltName, and a common name is not looked at".to_owned()
        }
        NotValidForName | NotValidForNameContext { .. } => {
            format!("its certificate is for other names ({error}); dial it by one of them, or make one for this name")
        }
        Expired | ExpiredContext { .. } => {
            format!("its certificate has expired ({error}); renew it, or correct this machine's clock")
        }
        NotValidYet | NotValidYetContext { .. } => {
            return Some(format!("its certificate is not valid yet ({error}); correct this machine's clock"));
        }
        UnsupportedSignatureAlgorithmContext { .. } | UnsupportedSignatureAlgorithmForPublicKeyContext { .. } => {
            "its certificate is signed with an algorithm that is not accepted, such as SHA-1".to_owned()
        }
        InvalidPurpose | InvalidPurposeContext { .. } => {
            "its certificate is not one for servers (extendedKeyUsage without serverAuth)".to_owned()
        }
        BadEncoding => "its certificate is damaged".to_owned(),
        _ => match webpki_error(error) {
            Some(WebpkiError::UnsupportedCertVersion) => {
                "its certificate is of X.509 version 1, in which there are no names".to_owned()
            }
            Some(WebpkiError::CaUsedAsEndEntity) => format!(
                "its certificate is that of a CA (CA:TRUE), and not the one given here; give that very certificate with \
                 {option}"
            ),
            _ => format!("its certificate is refused ({error})"),
        },
    };
    Some(format!("{problem}. A right one: {}; {}", SelfSigned(Some(name)), server.files()))
}

/// Returns whether a certificate has an RSA key of less than 2048 bits.
pub(super) fn has_short_key(certificate: &CertificateDer<'_>) -> bool {
    EndEntityCert::try_from(certificate).is_ok_and(|parsed| {
        let key = parsed.subject_public_key_info();
        key.len() < SHORT_RSA && key.windows(RSA.len()).any(|window| window == RSA)
    })
}

/// The command that makes a certificate for a server, which is its own CA.
pub(super) struct SelfSigned<'a>(pub(super) Option<&'a ServerName<'a>>);

impl fmt::Display for SelfSigned<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match self.0 {
            Some(ServerName::DnsName(name)) => format!("DNS:{}", name.as_ref()),
            Some(ServerName::IpAddress(ip)) => format!("IP:{}", std::net::IpAddr::from(*ip)),
            _ => UNKNOWN_NAME.to_owned(),
        };
        write!(
            f,
            "openssl req -x509 -newkey rsa:2048 -nodes -days 825 -subj /CN=server -addext subjectAltName={name} -keyout \
             server.key -out server.pem"
        )
    }
}
