//! Certificates in PEM files, and what else is found in files that should have some.

use std::{fs::File, io::Read, path::Path};

use tokio_rustls::rustls::{
    RootCertStore,
    pki_types::{CertificateDer, pem::PemObject},
};

use super::{MAX_PEM, TlsError};
use crate::atomic_file::FileError;

/// The byte order mark in UTF-8.
const BOM: &[u8] = b"\xef\xbb\xbf";
/// The first byte of a certificate in DER, and of a PKCS#12 or PKCS#7 file: a sequence.
const SEQUENCE: u8 = 0x30;

/// Reads the certificates of CAs from a PEM file: at least one, and each usable.
pub(crate) fn authorities(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let mut pem = Vec::new();
    let read = File::open(path).and_then(|file| file.take(MAX_PEM).read_to_end(&mut pem));
    read.map_err(|error| FileError::io("the CA file", path, error))?;
    let pem = pem.strip_prefix(BOM).unwrap_or(&pem);
    let mut authorities = Vec::new();
    for certificate in CertificateDer::pem_slice_iter(pem) {
        let certificate = certificate.map_err(|error| TlsError::unusable(path, error))?;
        let added = RootCertStore::empty().add(certificate.clone());
        added.map_err(|error| TlsError::unusable(path, error))?;
        authorities.push(certificate);
    }
    if authorities.is_empty() {
        return Err(TlsError::NoCertificates { path: path.to_owned(), advice: advice(pem, path) });
    }
    Ok(authorities)
}

/// Returns what a file without a certificate in PEM has instead, and what to do.
pub(crate) fn advice(content: &[u8], path: &Path) -> String {
    let path = path.display();
    let has = |label: &str| content.windows(label.len()).any(|window| window == label.as_bytes());
    if content.is_empty() {
        return "it is empty".to_owned();
    }
    if has("PRIVATE KEY-----") {
        return "it has a private key: give the certificate's file, and keep the key to its server".to_owned();
    }
    if has("BEGIN CERTIFICATE REQUEST") || has("BEGIN NEW CERTIFICATE REQUEST") {
        return "it has a request for a certificate: give the certificate that the CA made of it".to_owned();
    }
    if has("BEGIN TRUSTED CERTIFICATE") {
        return format!("it has OpenSSL's own form of one: openssl x509 -in {path} -out {path}.pem");
    }
    if has("BEGIN PKCS7") {
        return format!("it is in PKCS#7: openssl pkcs7 -print_certs -in {path} -out {path}.pem");
    }
    if RootCertStore::empty().add(content.into()).is_ok() {
        return format!("it is in DER: openssl x509 -inform der -in {path} -out {path}.pem");
    }
    if content[0] == SEQUENCE {
        return format!(
            "it is in a binary form; if that is PKCS#12: openssl pkcs12 -nokeys -in {path} -out {path}.pem"
        );
    }
    "give the CA's file, in PEM: it has a line -----BEGIN CERTIFICATE-----".to_owned()
}
