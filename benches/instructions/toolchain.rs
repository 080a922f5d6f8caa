//! What else than the code decides about the number of instructions.

use std::{env, fmt, process::Command};

use crate::{Error, callgrind};

/// Compiler, C library and valgrind, each as it names itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Toolchain {
    pub(crate) target: String,
    pub(crate) rustc: String,
    pub(crate) libc: String,
    pub(crate) valgrind: String,
}

impl Toolchain {
    /// Those of this machine.
    pub(crate) fn here() -> Result<Self, Error> {
        let rustc = env::var("RUSTC").unwrap_or_else(|_| "rustc".to_owned());
        Ok(Self {
            target: format!("{}-{}", env::consts::ARCH, env::consts::OS),
            rustc: version(&rustc).map_err(|error| format!("{rustc} does not tell its version: {error}"))?,
            libc: version("ldd").map_err(|error| format!("ldd does not tell the C library's version: {error}"))?,
            valgrind: version("valgrind").map_err(|error| callgrind::missing(&error))?,
        })
    }
}

/// The first line of what a program says of its version.
fn version(program: &str) -> std::io::Result<String> {
    let said = Command::new(program).arg("--version").output()?;
    Ok(String::from_utf8_lossy(&said.stdout).lines().next().unwrap_or_default().to_owned())
}

impl fmt::Display for Toolchain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}; {}; {}; {}", self.target, self.rustc, self.libc, self.valgrind)
    }
}
