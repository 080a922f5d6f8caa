//! Stores the local port's certificate beside the key file, and makes it if none is usable.
//!
//! `NAME.tls.pem` has the key, the certificate and the CA, and is private; `NAME.ca.pem` has the CA alone, for Flower.

use std::{
    io,
    net::IpAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use time::OffsetDateTime;
use tokio_rustls::rustls::{
    RootCertStore,
    client::{WebPkiServerVerifier, danger::ServerCertVerifier},
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime, pem::PemObject},
};
use tracing::info;

use super::{MAX_PEM, TlsError, authority, provider};
use crate::atomic_file::{self, PrivateFile};

/// A certificate that expires sooner is replaced when a funnel starts: a funnel may run for this long without a restart.
const RENEWAL: Duration = Duration::from_secs(365 * 24 * 3600);

/// A certificate, its key, and the file with its CA.
#[derive(Debug)]
pub(crate) struct Stored {
    pub(crate) certificate: CertificateDer<'static>,
    pub(crate) key: PrivateKeyDer<'static>,
    pub(crate) root_certificates: PathBuf,
}

/// Loads the certificate beside `key_file`, or makes a new one if it does not cover all of `names` or expires soon.
pub(crate) fn load_or_issue(key_file: &Path, names: &[String], now: OffsetDateTime) -> Result<Stored, TlsError> {
    let path = key_file.with_extension("tls.pem");
    let is_usable = |bundle: &Bundle| bundle.is_usable(names, now);
    let bundle = match read(&path)?.filter(is_usable) {
        Some(bundle) => bundle,
        None => replace(&path, names, now, is_usable)?,
    };
    let root_certificates = publish(&path, bundle.ca_text()).map_err(|error| private(&path).failed(error))?;
    Ok(Stored { certificate: bundle.certificate, key: bundle.key, root_certificates })
}

/// Key, certificate and CA in one file, so that they always belong together.
struct Bundle {
    text: String,
    key: PrivateKeyDer<'static>,
    certificate: CertificateDer<'static>,
    ca: CertificateDer<'static>,
}

impl Bundle {
    fn parse(text: String) -> Option<Self> {
        let key = PrivateKeyDer::from_pem_slice(text.as_bytes()).ok()?;
        let certificates = CertificateDer::pem_slice_iter(text.as_bytes()).collect::<Result<Vec<_>, _>>().ok()?;
        let [certificate, ca] = <[_; 2]>::try_from(certificates).ok()?;
        Some(Self { text, key, certificate, ca })
    }

    fn ca_text(&self) -> &str {
        let begin = self.text.rfind("-----BEGIN").expect("it was parsed, and the CA is last");
        &self.text[begin..]
    }

    /// Whether clients accept it for each name, now and until it is replaced.
    fn is_usable(&self, names: &[String], now: OffsetDateTime) -> bool {
        let mut roots = RootCertStore::empty();
        if roots.add(self.ca.clone()).is_err() {
            return false;
        }
        let Ok(verifier) = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider()).build() else {
            return false;
        };
        let now = Duration::from_secs(u64::try_from(now.unix_timestamp()).unwrap_or_default());
        let accepts = |name: &String, at: Duration| {
            let Ok(name) = ServerName::try_from(name.as_str()) else { return false };
            let at = UnixTime::since_unix_epoch(at);
            verifier.verify_server_cert(&self.certificate, &[], &name, &[], at).is_ok()
        };
        names.iter().all(|name| accepts(name, now) && accepts(name, now + RENEWAL))
    }
}

fn private(path: &Path) -> PrivateFile<'_> {
    PrivateFile { path, name: "the private key in", if_exposed: "remove it, and a new one is made" }
}

fn read(path: &Path) -> Result<Option<Bundle>, TlsError> {
    let file = private(path);
    let Some(opened) = file.open()? else { return Ok(None) };
    let text = atomic_file::read_text(opened, MAX_PEM).map_err(|error| file.failed(error))?;
    Bundle::parse(text).map(Some).ok_or_else(|| TlsError::not_ours(path))
}

/// Makes a new certificate, unless another process has just made one that is usable.
fn replace(
    path: &Path,
    names: &[String],
    now: OffsetDateTime,
    is_usable: impl Fn(&Bundle) -> bool,
) -> Result<Bundle, TlsError> {
    let _lock = atomic_file::lock(path).map_err(|error| private(path).failed(error))?;
    if let Some(bundle) = read(path)?.filter(is_usable) {
        return Ok(bundle);
    }
    let issued = authority::issue(names, now).map_err(|error| TlsError::unusable(path, error))?;
    let bundle =
        Bundle::parse(issued.key + &issued.certificate + &issued.ca).ok_or_else(|| TlsError::not_ours(path))?;
    write(path, &bundle).map_err(|error| private(path).failed(error))?;
    info!(file = %path.display(), "made a new certificate for the local port");
    Ok(bundle)
}

/// Writes the CA first: a reader that finds the new certificate finds its CA, too.
fn write(path: &Path, bundle: &Bundle) -> io::Result<()> {
    atomic_file::replace_public(&ca_file(path)?, bundle.ca_text().as_bytes())?;
    atomic_file::replace(path, bundle.text.as_bytes())
}

/// Writes the CA beside `path`, readable by everybody, unless it is there already, and returns its path.
fn publish(path: &Path, ca: &str) -> io::Result<PathBuf> {
    let published = ca_file(path)?;
    if atomic_file::read(&published, MAX_PEM).ok().flatten().as_deref() != Some(ca) {
        let _lock = atomic_file::lock(path)?;
        atomic_file::replace_public(&published, ca.as_bytes())?;
    }
    Ok(published)
}

/// Returns the path of the CA. It is absolute, as `flwr` requires.
fn ca_file(path: &Path) -> io::Result<PathBuf> {
    std::path::absolute(path.with_extension("").with_extension("ca.pem"))
}

/// Returns the names that clients dial: those of this machine, and the addresses that are listened on.
pub(crate) fn names(listening: impl IntoIterator<Item = IpAddr>) -> Vec<String> {
    let mut names = ["127.0.0.1", "::1", "localhost"].map(str::to_owned).to_vec();
    let others = listening.into_iter().filter(|ip| !ip.is_unspecified()).map(|ip| ip.to_string());
    for other in others {
        if !names.contains(&other) {
            names.push(other);
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    const YEAR: time::Duration = time::Duration::days(365);

    struct Folder(tempfile::TempDir);

    impl Folder {
        fn new() -> Self {
            Self(tempfile::tempdir().unwrap())
        }

        fn key_file(&self) -> PathBuf {
            self.0.path().join("below").join("secret.key")
        }

        fn load(&self, names: &[String], now: OffsetDateTime) -> Stored {
            load_or_issue(&self.key_file(), names, now).unwrap()
        }
    }

    fn local() -> Vec<String> {
        names([])
    }

    #[test]
    fn a_certificate_is_made_once_and_only_its_ca_is_public() {
        let (folder, now) = (Folder::new(), OffsetDateTime::now_utc());
        let made = folder.load(&local(), now);
        assert_eq!(folder.load(&local(), now + YEAR).certificate, made.certificate);
        let published = fs::read_to_string(&made.root_certificates).unwrap();
        assert!(made.root_certificates.is_absolute() && !published.contains("PRIVATE"), "{published}");
        assert_eq!(
            fs::read_dir(folder.key_file().parent().unwrap()).unwrap().count(),
            3,
            "only the two files and a lock are left"
        );
        let bundle = fs::read_to_string(folder.key_file().with_extension("tls.pem")).unwrap();
        assert_eq!(bundle.matches("PRIVATE KEY-----").count(), 2, "the CA's key is kept");
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            let mode = fs::metadata(folder.key_file().with_extension("tls.pem")).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600);
        }
    }

    #[test]
    fn a_certificate_that_expires_soon_or_is_from_the_future_is_replaced_together_with_its_ca() {
        let now = OffsetDateTime::now_utc();
        for later in [4 * YEAR + time::Duration::days(1), 6 * YEAR, -YEAR] {
            let folder = Folder::new();
            let made = folder.load(&local(), now);
            let ca = fs::read(&made.root_certificates).unwrap();
            let renewed = folder.load(&local(), now + later);
            assert_ne!(renewed.certificate, made.certificate, "{later}");
            assert_ne!(fs::read(&renewed.root_certificates).unwrap(), ca, "{later}");
        }
    }

    #[test]
    fn a_new_address_gets_a_new_certificate_and_a_missing_ca_file_is_written_again() {
        let (folder, now) = (Folder::new(), OffsetDateTime::now_utc());
        let made = folder.load(&local(), now);
        let wider = folder.load(&names(["10.0.0.5".parse().unwrap()]), now);
        assert_ne!(wider.certificate, made.certificate);
        assert_eq!(folder.load(&local(), now).certificate, wider.certificate, "more names than needed do no harm");
        fs::remove_file(&wider.root_certificates).unwrap();
        assert!(folder.load(&local(), now).root_certificates.exists());
    }

    #[test]
    fn several_that_make_one_at_once_leave_a_key_a_certificate_and_a_ca_that_belong_together() {
        let (folder, now) = (Folder::new(), OffsetDateTime::now_utc());
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| folder.load(&local(), now));
            }
        });
        let bundle = read(&folder.key_file().with_extension("tls.pem")).unwrap().unwrap();
        assert!(bundle.is_usable(&local(), now));
        let published = fs::read_to_string(folder.key_file().with_extension("ca.pem")).unwrap();
        assert!(bundle.text.ends_with(&published), "the published CA belongs to another certificate");
    }

    #[test]
    fn a_file_that_no_funnel_made_is_never_overwritten() {
        let folder = Folder::new();
        let path = folder.key_file().with_extension("tls.pem");
        fs::create_dir(path.parent().unwrap()).unwrap();
        for content in ["", "mine", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"] {
            let _ = fs::remove_file(&path);
            atomic_file::replace(&path, content.as_bytes()).unwrap();
            let error = load_or_issue(&folder.key_file(), &local(), OffsetDateTime::now_utc()).unwrap_err();
            assert!(error.to_string().contains("move it away"), "{error}");
            assert_eq!(fs::read_to_string(&path).unwrap(), content);
        }
    }

    #[cfg(unix)]
    #[test]
    fn a_certificates_key_that_others_can_read_is_refused() {
        use std::os::unix::fs::PermissionsExt;
        let (folder, now) = (Folder::new(), OffsetDateTime::now_utc());
        folder.load(&local(), now);
        let path = folder.key_file().with_extension("tls.pem");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        let error = load_or_issue(&folder.key_file(), &local(), now).unwrap_err().to_string();
        assert!(error.contains("mode 640") && error.contains("remove it"), "{error}");
    }
}
