//! A file of results that is being written: JSON lines below `benches/results`.

use std::{
    fs::{self, File},
    io::Write,
    path::{Path, PathBuf},
    process::Command,
};

use serde::{Deserialize, Serialize};

use crate::{
    failure::{Context, Failure},
    machine::Machine,
};

/// How a run was made: the first line of a file.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Begun {
    /// In UTC.
    pub(crate) date: String,
    /// Where.
    pub(crate) machine: Machine,
    /// The command line.
    pub(crate) arguments: Vec<String>,
}

impl Begun {
    /// Here and now. `tools` are the versions of other programs that take part.
    pub(crate) fn here(tools: Vec<String>) -> Result<Box<Self>, Failure> {
        let arguments = std::env::args().skip(1).collect();
        Ok(Box::new(Self { date: date("+%Y-%m-%dT%H:%M:%SZ")?, machine: Machine::here(tools), arguments }))
    }
}

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

fn date(format: &str) -> Result<String, Failure> {
    let output = Command::new("date").args(["-u", format]).output().context("date")?;
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}
