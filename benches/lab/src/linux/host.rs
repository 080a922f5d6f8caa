//! One host: a network namespace without a name.

use std::{
    fs::File,
    io::{self, Write},
    net::{IpAddr, Ipv4Addr},
    panic,
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex},
    thread,
};

use nix::sched::{CloneFlags, setns, unshare};

use super::system;

/// The name of the device that leads to the other host.
const DEVICE: &str = "wan0";
/// How many packets the kernel keeps until the emulator comes round: 30 ms of small ones at the fastest.
const DEVICE_QUEUE: u32 = 10_000;
/// The network of both hosts of a link.
const NETWORK: [u8; 3] = [10, 77, 0];

/// One host of a [`Link`](crate::Link), with a loopback device and one that leads to the other host.
///
/// A cheap clone, which keeps the host. It ends with its last clone, its last process and its last thread.
///
/// Files below `/proc/net` show the network of a process's first thread, not of one that [entered](Host::enter): what reads
/// them must be a [process](Host::spawn) in the host.
#[derive(Clone, Debug)]
pub struct Host(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    namespace: File,
    addr: Mutex<Ipv4Addr>,
}

impl Host {
    /// Makes a host, and the device through which its packets leave it and come.
    pub(super) fn new(number: u8) -> io::Result<(Self, File)> {
        let made = thread::scope(|scope| scope.spawn(make).join());
        let (namespace, tun) = made.unwrap_or_else(|panic| panic::resume_unwind(panic))?;
        let addr = address(number);
        let host = Self(Arc::new(Inner { namespace, addr: Mutex::new(addr) }));
        host.ip(&[
            "link set lo up".into(),
            // No link-local address, and so no packets of the kernel's own.
            format!("link set {DEVICE} addrgenmode none"),
            format!("link set {DEVICE} mtu {} txqueuelen {DEVICE_QUEUE} up", super::way::MTU),
            format!("address add {addr}/32 dev {DEVICE}"),
            format!("route add {}/24 dev {DEVICE}", address(0)),
            // Programs that watch the network, as iroh does, take a host without one for a host that is not up yet.
            format!("route add default dev {DEVICE}"),
        ])?;
        Ok((host, tun))
    }

    /// The address at which the other host of the link reaches this one.
    pub fn addr(&self) -> IpAddr {
        IpAddr::V4(*self.0.addr.lock().expect("nothing panics while it holds the address"))
    }

    /// Starts a process in the host. To end it is the caller's business.
    ///
    /// # Errors
    /// As [`Command::spawn`].
    pub fn spawn(&self, command: &mut Command) -> io::Result<Child> {
        self.run(|| command.spawn())
    }

    /// Moves the calling thread into the host, for good: the sockets it opens and the processes it starts from now on are the
    /// host's. For tokio: `on_thread_start`, on a clone of the host.
    ///
    /// # Errors
    /// What the kernel says: it lets root enter.
    pub fn enter(&self) -> io::Result<()> {
        Ok(setns(&self.0.namespace, CloneFlags::CLONE_NEWNET)?)
    }

    /// Runs `work` on a thread in the host, and waits for it. A socket made there stays the host's wherever it is used.
    ///
    /// # Panics
    /// If `work` does.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        let inside = || {
            self.enter().expect("who made a namespace may enter it");
            work()
        };
        thread::scope(|scope| scope.spawn(inside).join()).unwrap_or_else(|panic| panic::resume_unwind(panic))
    }

    /// Gives the host an address it did not have before, and then takes the old one away.
    pub(super) fn readdress(&self) -> io::Result<IpAddr> {
        let mut addr = self.0.addr.lock().expect("nothing panics while it holds the address");
        let old = *addr;
        // Odd numbers are the left host's and even ones the right one's; 253 and 254 are followed by the first again.
        let number = old.octets()[3] + 2;
        let new = address(if number > 254 { 2 - number % 2 } else { number });
        self.ip(&[format!("address add {new}/32 dev {DEVICE}"), format!("address delete {old}/32 dev {DEVICE}")])?;
        *addr = new;
        Ok(new.into())
    }

    /// Runs lines of `ip` in the host.
    fn ip(&self, lines: &[String]) -> io::Result<()> {
        let mut command = Command::new("ip");
        command.args(["-batch", "-"]).stdin(Stdio::piped()).stderr(Stdio::piped());
        let mut child = self.spawn(&mut command)?;
        let written = child.stdin.take().expect("stdin is piped").write_all((lines.join("\n") + "\n").as_bytes());
        let output = child.wait_with_output()?;
        written?;
        if output.status.success() {
            return Ok(());
        }
        let said = String::from_utf8_lossy(&output.stderr);
        Err(io::Error::other(format!("ip refused one of \"{}\": {}", lines.join("; "), said.trim())))
    }
}

fn address(number: u8) -> Ipv4Addr {
    let [a, b, c] = NETWORK;
    Ipv4Addr::new(a, b, c, number)
}

/// Makes a namespace for the calling thread, and the device in it.
fn make() -> io::Result<(File, File)> {
    unshare(CloneFlags::CLONE_NEWNET)?;
    Ok((File::open("/proc/thread-self/ns/net")?, system::make_tun(DEVICE)?))
}
