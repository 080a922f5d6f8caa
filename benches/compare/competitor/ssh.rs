//! `ssh -L` to an sshd of its own: own keys, own configuration, nothing of the user's.

use std::{fs, path::Path, process::Command};

use crate::{
    failure::{Context, Failure},
    rig::{Rig, TIMEOUT},
    target::Target,
};

/// sshd wants to be called by its full path.
const SSHD: &str = "/usr/sbin/sshd";
/// sshd's empty folder, which Debian's service makes when it starts.
const EMPTY_FOLDER: &str = "/run/sshd";

/// Says what is missing.
pub(super) fn check() -> Result<(), Failure> {
    if !Path::new(SSHD).exists() {
        return Err(format!("ssh: no {SSHD}; apt-get install openssh-server").into());
    }
    fs::create_dir_all(EMPTY_FOLDER).context(format_args!("ssh: {EMPTY_FOLDER} for sshd; run as root"))
}

pub(super) fn serve(rig: &mut Rig, interactive: bool) -> Result<String, Failure> {
    let server = rig.start_server("tcp")?;
    let addr = rig.free_far_addr()?;
    for key in ["host_key", "user_key"] {
        make_key(&rig.file(key))?;
    }
    fs::copy(rig.file("user_key.pub"), rig.file("authorized_keys")).context("ssh: authorized key")?;
    let folder = rig.file("");
    let folder = folder.display();
    let config = format!(
        "ListenAddress {addr}\nHostKey {folder}/host_key\nAuthorizedKeysFile {folder}/authorized_keys\nStrictModes no\n\
         PidFile none\nUsePAM no\nPasswordAuthentication no\nPermitRootLogin prohibit-password\nAllowTcpForwarding yes\n\
         {}",
        if interactive { "IPQoS lowdelay\n" } else { "" }
    );
    fs::write(rig.file("sshd_config"), config).context("ssh: sshd_config")?;
    let mut command = Command::new(SSHD);
    command.args(["-D", "-e", "-f"]).arg(rig.file("sshd_config"));
    rig.start_far("sshd", &mut command)?.wait_for("Server listening on", TIMEOUT)?;
    Ok(format!("{addr} {server}"))
}

pub(super) fn join(rig: &mut Rig, far: &str, interactive: bool) -> Result<Target, Failure> {
    let (sshd, server) = far.split_once(' ').ok_or("ssh: no addresses")?;
    let (ip, port) = sshd.rsplit_once(':').ok_or("ssh: no port")?;
    let near = rig.free_near_addr()?;
    let host_key = fs::read_to_string(rig.file("host_key.pub")).context("ssh: host key")?;
    fs::write(rig.file("known_hosts"), format!("[{ip}]:{port} {host_key}")).context("ssh: known_hosts")?;
    let mut command = Command::new("ssh");
    command.args(["-v", "-N", "-F", "none", "-p", port, "-L", &format!("{near}:{server}")]);
    command.arg("-i").arg(rig.file("user_key"));
    command.arg("-o").arg(format!("UserKnownHostsFile={}", rig.file("known_hosts").display()));
    let mut options = vec!["IdentitiesOnly=yes", "IdentityAgent=none", "BatchMode=yes", "ExitOnForwardFailure=yes"];
    if interactive {
        options.push("IPQoS=lowdelay");
    }
    for option in options {
        command.args(["-o", option]);
    }
    command.arg(format!("{}@{ip}", user()?));
    rig.start_near("ssh", &mut command)?.wait_for("Entering interactive session", TIMEOUT)?;
    Ok(Target::Tcp(near, None))
}

fn make_key(file: &Path) -> Result<(), Failure> {
    let mut keygen = Command::new("ssh-keygen");
    keygen.args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(file);
    let output = keygen.output().context("ssh-keygen")?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!("ssh-keygen: {}", String::from_utf8_lossy(&output.stderr)).into())
}

fn user() -> Result<String, Failure> {
    let output = Command::new("id").arg("-un").output().context("id -un")?;
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}
