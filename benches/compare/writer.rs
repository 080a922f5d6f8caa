//! A file of results that is being written: JSON lines below `benches/results`.

use std::{
    fs::{self, File},
    io::Write,
    path::{Path, PathBuf},
    process::Command,
};

use serde::Serialize;

use crate::failure::{Context, Failure};

/// An open file.
#[derive(Debug)]
pub(crate) struct Writer {
    /// Where it lies.
    pub(crate) path: PathBuf,
    file: File,
}

impl Writer {
    /// A new file, of today and `name`.
    pub(crate) fn create(name: &str) -> Result<Self, Failure> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/results");
        fs::create_dir_all(&folder).context(folder.display())?;
        let path = folder.join(format!("{}-{name}.jsonl", date("+%Y-%m-%d-%H%M%S")?));
        let file = File::create_new(&path).context(path.display())?;
        Ok(Self { path, file })
    }

    /// Adds a line.
    pub(crate) fn write(&mut self, line: &impl Serialize) -> Result<(), Failure> {
        writeln!(self.file, "{}", serde_json::to_string(line)?).context(self.path.display())
    }
}

/// The time in UTC, as results write it.
pub(crate) fn now() -> Result<String, Failure> {
    date("+%Y-%m-%dT%H:%M:%SZ")
}

fn date(format: &str) -> Result<String, Failure> {
    let output = Command::new("date").args(["-u", format]).output().context("date")?;
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}
