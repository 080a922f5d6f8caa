//! What a SuperLink with TLS and its SuperNodes hold: certificates and keys.

use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::time::timeout;

use super::error::{Context, Error, Result};
use super::venv::Venv;

/// Flower reads keys as OpenSSH writes them; `cryptography` came with it.
const MAKE_KEY: &str = "
import sys
from cryptography.hazmat.primitives import serialization as s
from cryptography.hazmat.primitives.asymmetric import ec
key = ec.generate_private_key(ec.SECP384R1())
with open(sys.argv[1], 'wb') as file:
    file.write(key.private_bytes(s.Encoding.PEM, s.PrivateFormat.OpenSSH, s.NoEncryption()))
with open(sys.argv[2], 'wb') as file:
    file.write(key.public_key().public_bytes(s.Encoding.OpenSSH, s.PublicFormat.OpenSSH))
";
/// Even a cold interpreter is done well within this time.
const MAKING: Duration = Duration::from_secs(60);

/// The files of a SuperLink with TLS, in PEM.
#[derive(Clone, Debug)]
pub struct Certificates {
    /// The CA's certificate.
    pub ca: PathBuf,
    /// The SuperLink's certificate.
    pub certificate: PathBuf,
    /// Its private key.
    pub key: PathBuf,
}

/// The key by which a SuperLink knows a SuperNode.
#[derive(Clone, Debug)]
pub struct NodeKey {
    /// The file that the SuperNode is given.
    pub private: PathBuf,
    /// The file that is registered with the SuperLink.
    pub public: PathBuf,
}

impl NodeKey {
    /// Makes one in a directory.
    pub async fn make(venv: &Venv, dir: &Path, name: &str) -> Result<Self> {
        let key = Self { private: dir.join(name), public: dir.join(format!("{name}.pub")) };
        let mut python = venv.python();
        python.arg("-c").arg(MAKE_KEY).arg(&key.private).arg(&key.public);
        let made = timeout(MAKING, python.output()).await.map_err(|_| Error::new("python makes no key in time"))?;
        let made = made.context(|| "python does not start".into())?;
        if made.status.success() {
            return Ok(key);
        }
        Err(Error::new(format!("python makes no key: {}", String::from_utf8_lossy(&made.stderr))))
    }
}
