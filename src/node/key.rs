//! The key that identifies a node at the SuperLink.

use std::{
    fmt,
    fs::{File, OpenOptions},
    io::{self, Read, Write},
    path::Path,
};

use p384::{
    SecretKey,
    ecdsa::{DerSignature, SigningKey, signature::hazmat::PrehashSigner},
    elliptic_curve::Generate,
    pkcs8::{DecodePrivateKey, EncodePrivateKey, EncodePublicKey, LineEnding},
};
use sha2::{Digest, Sha256};
use time::OffsetDateTime;
use tonic::metadata::{Ascii, Binary, MetadataMap, MetadataValue};

use super::error::{KeyProblem, NodeError};

/// The longest key file. A key in PEM is shorter than 1 KiB.
const MAX_KEY_FILE: u64 = 16 << 10;
const PUBLIC_KEY: &str = "flwr-public-key-bin";
const TIMESTAMP: &str = "flwr-timestamp";
const SIGNATURE: &str = "flwr-signature-bin";

/// A node's private key on the curve P-384, as Flower uses it for node authentication.
///
/// Every call carries the public key and a signed timestamp; whoever has the key can act as the node.
#[derive(Clone)]
pub struct NodeKey {
    private: SecretKey,
    signing: SigningKey,
    public_pem: String,
}

impl NodeKey {
    /// Generates a new key.
    pub fn generate() -> Self {
        Self::new(SecretKey::generate())
    }

    /// Reads a key from PEM: PKCS#8 (`BEGIN PRIVATE KEY`) or SEC1 (`BEGIN EC PRIVATE KEY`), not encrypted.
    ///
    /// # Errors
    /// If it is something else. For OpenSSH's format, the error names the command that converts it.
    pub fn from_pem(pem: &str) -> Result<Self, NodeError> {
        Self::parse(pem).map_err(|problem| NodeError::key(None, problem))
    }

    fn parse(pem: &str) -> Result<Self, KeyProblem> {
        let pem = pem.trim_start();
        if pem.starts_with("-----BEGIN OPENSSH") {
            return Err(KeyProblem::OpenSsh);
        }
        let read = SecretKey::from_pkcs8_pem(pem).or_else(|_| SecretKey::from_sec1_pem(pem));
        read.map(Self::new).map_err(|_| KeyProblem::NotAKey)
    }

    /// Reads a key from a file, as [`from_pem`](Self::from_pem) does.
    ///
    /// # Errors
    /// If the file cannot be read or does not contain a key.
    pub fn load(path: impl AsRef<Path>) -> Result<Self, NodeError> {
        let path = path.as_ref();
        let mut pem = String::new();
        let read = File::open(path).and_then(|file| file.take(MAX_KEY_FILE).read_to_string(&mut pem));
        let key = read.map_err(KeyProblem::Read).and_then(|_| Self::parse(&pem));
        key.map_err(|problem| NodeError::key(Some(path.to_owned()), problem))
    }

    /// Writes the key to a new file that only its owner can read (Unix).
    ///
    /// # Errors
    /// If the file exists or cannot be written.
    pub fn save(&self, path: impl AsRef<Path>) -> Result<(), NodeError> {
        let path = path.as_ref();
        let pem = self.private.to_pkcs8_pem(LineEnding::LF).map_err(KeyProblem::Pem);
        let saved = pem.and_then(|pem| write_private(path, pem.as_bytes()).map_err(KeyProblem::Write));
        saved.map_err(|problem| NodeError::key(Some(path.to_owned()), problem))
    }

    /// Returns the public key in PEM, as `flwr supernode register` expects it.
    pub fn public_pem(&self) -> &str {
        &self.public_pem
    }

    fn new(private: SecretKey) -> Self {
        let public = private.public_key().to_public_key_pem(LineEnding::LF);
        let public_pem = public.expect("a point on the curve has a PEM form");
        Self { signing: SigningKey::from(&private), private, public_pem }
    }

    /// Adds the metadata that node authentication requires. Only the time is signed: the signature is valid for five minutes.
    pub(super) fn sign(&self, metadata: &mut MetadataMap) {
        let timestamp = isoformat(OffsetDateTime::now_utc());
        let hash = Sha256::digest(timestamp.as_bytes());
        let signature: DerSignature = self.signing.sign_prehash(&hash).expect("a SHA-256 is long enough for P-384");
        let value = MetadataValue::<Ascii>::try_from(timestamp).expect("a timestamp is ASCII");
        metadata.insert(TIMESTAMP, value);
        metadata.insert_bin(PUBLIC_KEY, MetadataValue::<Binary>::from_bytes(self.public_pem.as_bytes()));
        metadata.insert_bin(SIGNATURE, MetadataValue::<Binary>::from_bytes(signature.as_bytes()));
    }
}

impl fmt::Debug for NodeKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NodeKey").field("public_pem", &self.public_pem).finish_non_exhaustive()
    }
}

fn write_private(path: &Path, pem: &[u8]) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(path)?;
    // Whatever the umask is.
    #[cfg(unix)]
    file.set_permissions(std::os::unix::fs::PermissionsExt::from_mode(0o600))?;
    file.write_all(pem)?;
    file.sync_all()
}

/// Formats a time as Python's `datetime.fromisoformat` reads it in every version that Flower runs on.
fn isoformat(time: OffsetDateTime) -> String {
    let (year, month, day) = time.to_calendar_date();
    let (hour, minute, second, micro) = time.to_hms_micro();
    format!("{year:04}-{:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{micro:06}+00:00", u8::from(month))
}

#[cfg(test)]
mod tests {
    use p384::ecdsa::{VerifyingKey, signature::hazmat::PrehashVerifier};

    use super::*;

    #[test]
    fn a_signed_timestamp_verifies_with_the_public_key() {
        let key = NodeKey::generate();
        let mut metadata = MetadataMap::new();
        key.sign(&mut metadata);
        let public = metadata.get_bin(PUBLIC_KEY).unwrap().to_bytes().unwrap();
        assert_eq!(public, key.public_pem().as_bytes());
        let signature = metadata.get_bin(SIGNATURE).unwrap().to_bytes().unwrap();
        let signature = DerSignature::try_from(&signature[..]).unwrap();
        let hash = Sha256::digest(metadata.get(TIMESTAMP).unwrap().as_bytes());
        VerifyingKey::from(key.private.public_key()).verify_prehash(&hash, &signature).unwrap();
    }

    #[test]
    fn a_key_of_flowers_has_the_public_key_that_flower_derives() {
        // A key that flwr 1.41.0 made for this test, its public key, and the key in the older form.
        let pem = include_str!("../../tests/data/flower_node_key.pem");
        let public = pem.find("-----BEGIN PUBLIC").unwrap();
        let sec1 = pem.find("-----BEGIN EC").unwrap();
        for key in [&pem[..public], &pem[sec1..]] {
            assert_eq!(NodeKey::from_pem(key).unwrap().public_pem(), &pem[public..sec1]);
        }
    }

    #[test]
    fn a_timestamp_has_pythons_format() {
        let time = OffsetDateTime::from_unix_timestamp_nanos(1_700_000_000_000_042_999).unwrap();
        assert_eq!(isoformat(time), "2023-11-14T22:13:20.000042+00:00");
    }

    #[test]
    fn a_saved_key_is_the_same_and_is_never_overwritten() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("node.pem");
        let key = NodeKey::generate();
        key.save(&path).unwrap();
        assert_eq!(NodeKey::load(&path).unwrap().public_pem(), key.public_pem());
        assert!(NodeKey::generate().save(&path).unwrap_err().to_string().contains("node.pem"));
    }

    #[test]
    fn text_that_is_not_a_key_says_what_to_do() {
        let openssh = NodeKey::from_pem("-----BEGIN OPENSSH PRIVATE KEY-----\n").unwrap_err().to_string();
        assert!(openssh.contains("ssh-keygen -p"), "{openssh}");
        for text in ["", "nonsense", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"] {
            assert!(NodeKey::from_pem(text).unwrap_err().to_string().contains("P-384"), "{text}");
        }
    }
}
