//! The process groups below a process.
//!
//! A SuperLink (1.33 and later) starts its SuperExec in a session of its own, so that the group of the SuperLink
//! does not hold its app processes. They are found here through the process table.

use std::collections::BTreeSet;

/// Process groups, by number.
pub(super) type Groups = BTreeSet<u32>;

/// The groups of all living descendants of `leader`, without its own group.
pub(super) fn groups_below(leader: u32) -> Groups {
    let table = table();
    let mut family = BTreeSet::from([leader]);
    // A parent may stand behind its child in the table, hence the repetition until nothing is added.
    loop {
        let before = family.len();
        family.extend(table.iter().filter(|row| family.contains(&row.parent)).map(|row| row.pid).collect::<Vec<_>>());
        if family.len() == before {
            break;
        }
    }
    table.iter().filter(|row| family.contains(&row.pid) && row.group != leader).map(|row| row.group).collect()
}

/// Whether a living process is in one of the groups.
pub(super) fn any_alive(groups: &Groups) -> bool {
    !groups.is_empty() && table().iter().any(|row| groups.contains(&row.group))
}

/// Ends every process in the groups at once.
pub(super) fn kill(groups: &Groups) {
    for group in groups {
        // A group that is already empty is no failure.
        let _ = run("kill", &["-KILL", "--", &format!("-{group}")]);
    }
}

struct Row {
    pid: u32,
    parent: u32,
    group: u32,
}

/// The living processes; empty where there is no `ps`, for example on Windows, where a job object does this work.
fn table() -> Vec<Row> {
    let listing = run("ps", &["-A", "-o", "pid=,ppid=,pgid=,stat="]).unwrap_or_default();
    listing.lines().filter_map(parse).collect()
}

fn parse(line: &str) -> Option<Row> {
    let mut fields = line.split_whitespace();
    let mut number = || fields.next()?.parse().ok();
    let row = Row { pid: number()?, parent: number()?, group: number()? };
    let zombie = fields.next()?.starts_with('Z');
    (!zombie).then_some(row)
}

fn run(program: &str, arguments: &[&str]) -> Option<String> {
    if !cfg!(unix) {
        return None;
    }
    let output = std::process::Command::new(program).args(arguments).output().ok()?;
    Some(String::from_utf8_lossy(&output.stdout).into_owned())
}
