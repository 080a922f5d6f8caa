//! The counts that are kept in the repository.
//!
//! ```text
//! # target    x86_64-linux
//! # rustc     rustc 1.95.0 (59807616e 2026-04-14)
//! # libc      ldd (Debian GLIBC 2.36-9+deb12u10) 2.36
//! # valgrind  valgrind-3.19.0
//! flower-http/passed  call  9000
//! ```
//! with a tab where two spaces stand.

use std::{fmt, fs, str::FromStr};

use crate::{Error, Scenario, toolchain::Toolchain};

const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/instructions/baseline.tsv");

pub(crate) struct Baseline {
    pub(crate) toolchain: Toolchain,
    pub(crate) rows: Vec<Row>,
}

pub(crate) struct Row {
    pub(crate) scenario: String,
    unit: String,
    pub(crate) instructions: u64,
}

impl Baseline {
    pub(crate) fn new<'a>(toolchain: Toolchain, counts: impl Iterator<Item = (&'a Scenario, u64)>) -> Self {
        let row = |(scenario, instructions): (&Scenario, u64)| Row {
            scenario: scenario.name.to_owned(),
            unit: scenario.unit.1.to_owned(),
            instructions,
        };
        Self { toolchain, rows: counts.map(row).collect() }
    }

    pub(crate) fn load() -> Result<Self, Error> {
        let text = fs::read_to_string(FILE).map_err(|error| format!("cannot read the baseline {FILE}: {error}"))?;
        text.parse().map_err(|error| format!("the baseline {FILE}: {error}").into())
    }

    pub(crate) fn save(&self) -> Result<(), Error> {
        fs::write(FILE, self.to_string()).map_err(|error| format!("cannot write the baseline {FILE}: {error}").into())
    }

    /// The kept count of a scenario.
    pub(crate) fn of(&self, scenario: &Scenario) -> Option<u64> {
        let row = self.rows.iter().find(|row| row.scenario == scenario.name && row.unit == scenario.unit.1);
        row.map(|row| row.instructions)
    }
}

impl fmt::Display for Baseline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Toolchain { target, rustc, libc, valgrind } = &self.toolchain;
        for (name, value) in [("target", target), ("rustc", rustc), ("libc", libc), ("valgrind", valgrind)] {
            writeln!(f, "# {name}\t{value}")?;
        }
        self.rows.iter().try_for_each(|row| writeln!(f, "{}\t{}\t{}", row.scenario, row.unit, row.instructions))
    }
}

impl FromStr for Baseline {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let head = |name: &str| {
            let mut lines = text.lines().filter_map(|line| line.strip_prefix("# ")?.split_once('\t'));
            let value = lines.find(|(key, _)| *key == name).map(|(_, value)| value.to_owned());
            value.ok_or_else(|| format!("it does not say which {name} it was made with"))
        };
        let toolchain = Toolchain {
            target: head("target")?,
            rustc: head("rustc")?,
            libc: head("libc")?,
            valgrind: head("valgrind")?,
        };
        let rows = text.lines().filter(|line| !line.starts_with('#')).map(str::parse).collect::<Result<_, _>>()?;
        Ok(Self { toolchain, rows })
    }
}

impl FromStr for Row {
    type Err = Error;

    fn from_str(line: &str) -> Result<Self, Error> {
        let [scenario, unit, instructions] = line.split('\t').collect::<Vec<_>>()[..] else {
            return Err(format!("{line:?} is not a scenario, a unit and a count, with tabs between them").into());
        };
        let instructions = instructions.parse().map_err(|error| format!("the count in {line:?}: {error}"))?;
        Ok(Self { scenario: scenario.to_owned(), unit: unit.to_owned(), instructions })
    }
}
