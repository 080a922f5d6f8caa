//! The UDP ports that a funnel used last, remembered beside its key.

use std::{
    fmt, fs, io,
    net::SocketAddr,
    path::{Path, PathBuf},
};

use crate::atomic_file::{self, beside};

/// The longest file, in bytes: two lines.
const MAX_FILE: u64 = 64;
const IPV4: &str = "ipv4";
const IPV6: &str = "ipv6";

/// The UDP ports of a funnel, by address family. A zero means that none is known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Ports {
    pub(crate) ipv4: u16,
    pub(crate) ipv6: u16,
}

impl Ports {
    /// Returns the ports of sockets; for a family without one, that of `last`.
    pub(crate) fn of(sockets: &[SocketAddr], last: Self) -> Self {
        let port = |is_ipv4| sockets.iter().find(|addr| addr.is_ipv4() == is_ipv4).map(SocketAddr::port);
        Self { ipv4: port(true).unwrap_or(last.ipv4), ipv6: port(false).unwrap_or(last.ipv6) }
    }

    fn parse(text: &str) -> Self {
        let port = |family| {
            let mut ports = text.lines().filter_map(|line| line.strip_prefix(family)?.trim().parse().ok());
            ports.next().unwrap_or_default()
        };
        Self { ipv4: port(IPV4), ipv6: port(IPV6) }
    }
}

impl fmt::Display for Ports {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{IPV4} {}\n{IPV6} {}", self.ipv4, self.ipv6)
    }
}

/// The file beside a funnel's state (`secret.key.port`) with the ports that it used last.
#[derive(Clone, Debug)]
pub(crate) struct PortFile {
    path: PathBuf,
}

impl PortFile {
    /// Returns the file beside the path of the state, whichever path leads to that.
    pub(crate) fn of_state(state_path: &Path) -> Self {
        let state_path = fs::canonicalize(state_path).unwrap_or_else(|_| state_path.to_owned());
        Self { path: beside(&state_path, ".port") }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Reads the ports. None are known if the file is absent or cannot be used.
    pub(crate) fn read(&self) -> Ports {
        let text = atomic_file::read(&self.path, MAX_FILE).ok().flatten();
        text.map_or_else(Ports::default, |text| Ports::parse(&text))
    }

    /// Replaces the file; a new one belongs to the owner of its folder.
    ///
    /// # Errors
    /// It cannot be written; an earlier one is unchanged.
    pub(crate) fn write(&self, ports: Ports) -> io::Result<()> {
        atomic_file::replace(&self.path, ports.to_string().as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_read_as_they_were_written_and_anything_else_means_that_none_is_known() {
        let folder = tempfile::tempdir().unwrap();
        let key_file = folder.path().join("secret.key");
        fs::write(&key_file, "key").unwrap();
        let file = PortFile::of_state(&folder.path().join(".").join("secret.key"));
        assert_eq!(file.read(), Ports::default());
        let ports = Ports { ipv4: 51_234, ipv6: 7 };
        file.write(ports).unwrap();
        assert_eq!(file.read(), ports);
        assert!(folder.path().join("secret.key.port").is_file());
        for content in ["", "ipv4", "ipv4 70000\nipv6 -1", "51234", "\u{0}", &"ipv4 1\n".repeat(100)] {
            fs::write(file.path(), content).unwrap();
            assert_eq!(file.read(), Ports::default(), "{content:?}");
        }
        fs::write(file.path(), "ipv6 9\nfuture 3\n").unwrap();
        assert_eq!(file.read(), Ports { ipv4: 0, ipv6: 9 });
    }

    #[test]
    fn the_port_of_a_family_that_is_not_there_now_stays_known() {
        let last = Ports { ipv4: 1, ipv6: 2 };
        assert_eq!(Ports::of(&["0.0.0.0:3".parse().unwrap()], last), Ports { ipv4: 3, ipv6: 2 });
        assert_eq!(
            Ports::of(&["[::]:4".parse().unwrap(), "0.0.0.0:3".parse().unwrap()], last),
            Ports { ipv4: 3, ipv6: 4 }
        );
    }
}
