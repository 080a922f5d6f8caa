//! Makes a CA and a server certificate for the local port.
//!
//! The CA's key signs one certificate and is dropped: no further certificate can be made that is trusted through this CA.

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair, KeyUsagePurpose,
};
use time::{Duration, OffsetDateTime};

/// How long both certificates are valid. They expire together: one is never replaced without the other, and every client
/// needs the new CA then.
const LIFETIME: Duration = Duration::days(5 * 365);
/// How long before now they become valid: some clocks are wrong, by hours or by a time zone.
const BACKDATED: Duration = Duration::days(1);

/// A new CA, certificate and key, in PEM.
pub(super) struct Issued {
    pub(super) ca: String,
    pub(super) certificate: String,
    pub(super) key: String,
}

/// Makes a CA and a certificate that is valid for `names` (DNS names and addresses) from `now` on.
pub(super) fn issue(names: &[String], now: OffsetDateTime) -> Result<Issued, rcgen::Error> {
    let mut ca = params(&[], "flower-iroh-funnel local CA", now)?;
    ca.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    ca.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    let ca = CertifiedIssuer::self_signed(ca, KeyPair::generate()?)?;

    let mut server = params(names, "flower-iroh-funnel", now)?;
    server.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    server.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    server.use_authority_key_identifier_extension = true;
    let key = KeyPair::generate()?;
    let certificate = server.signed_by(&key, &ca)?;
    Ok(Issued { ca: ca.pem(), certificate: certificate.pem(), key: key.serialize_pem() })
}

fn params(names: &[String], common_name: &str, now: OffsetDateTime) -> Result<CertificateParams, rcgen::Error> {
    let mut params = CertificateParams::new(names)?;
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, common_name);
    params.not_before = now - BACKDATED;
    params.not_after = now + LIFETIME;
    Ok(params)
}
