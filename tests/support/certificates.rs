//! A CA of the tests' own, and certificates that it signs.

// Several test files include this module by path, and each uses a part of it.
#![allow(dead_code, unreachable_pub)]

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, KeyUsagePurpose};
use time::{Duration, OffsetDateTime};

/// What servers on loopback are dialled as.
pub const LOCAL_NAMES: [&str; 3] = ["127.0.0.1", "::1", "localhost"];

/// Signs certificates.
pub struct Ca(CertifiedIssuer<'static, KeyPair>);

/// A server's certificate and its private key, in PEM.
pub struct Certificate {
    pub certificate: String,
    pub key: String,
}

impl Ca {
    pub fn new() -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "a CA of the tests");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let key = KeyPair::generate().expect("the system has random numbers");
        Self(CertifiedIssuer::self_signed(params, key).expect("a CA with a name can be signed"))
    }

    /// Its own certificate in PEM.
    pub fn pem(&self) -> String {
        self.0.pem()
    }

    /// Signs one for a server that is dialled as `names`.
    pub fn sign(&self, names: &[&str]) -> Certificate {
        self.sign_until(names, OffsetDateTime::now_utc() + Duration::days(1))
    }

    /// The same for one that ends when it is told to.
    pub fn sign_until(&self, names: &[&str], end: OffsetDateTime) -> Certificate {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names).expect("the names are DNS names and addresses");
        params.distinguished_name.push(DnType::CommonName, "a server of the tests");
        params.not_after = end;
        params.use_authority_key_identifier_extension = true;
        let key = KeyPair::generate().expect("the system has random numbers");
        let certificate = params.signed_by(&key, &self.0).expect("the CA signs what has names");
        Certificate { certificate: certificate.pem(), key: key.serialize_pem() }
    }
}
