//! CPU time and memory of processes, from `/proc`.

use std::{
    fs,
    net::{IpAddr, SocketAddr},
    path::Path,
};

use serde::{Deserialize, Serialize};

use crate::failure::{Context, Failure};

/// Linux counts CPU time in hundredths of a second, on every architecture, whatever the kernel's own clock.
const TICKS_PER_SECOND: f64 = 100.0;

/// The state in `/proc/PID/net/tcp`.
const LISTEN: &str = "0A";

/// What a process and those it has started have used.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Usage {
    /// User and system time.
    pub(crate) cpu_s: f64,
    /// The highest resident memory; of several processes, the sum.
    pub(crate) peak_rss_kib: u64,
}

impl Usage {
    /// Of the process `id` and its living descendants.
    pub(crate) fn of(id: u32) -> Result<Self, Failure> {
        let mut usage = Self::default();
        for id in family(id) {
            usage.cpu_s += cpu_s(id).context(format_args!("CPU time of process {id}"))?;
            usage.peak_rss_kib += memory_kib(id, "VmHWM")?;
        }
        Ok(usage)
    }
}

/// A row of `/proc/PID/status` that counts memory: `VmRSS` is what is resident now, `VmHWM` the most that was.
pub(crate) fn memory_kib(id: u32, row: &str) -> Result<u64, Failure> {
    let status = read(id, "status").context(format_args!("memory of process {id}"))?;
    let value = status.lines().find_map(|line| line.strip_prefix(row)?.strip_prefix(':'));
    let value = value.ok_or_else(|| format!("process {id}: no {row} in its status"))?;
    value.trim().trim_end_matches(" kB").parse().context(format_args!("{row} of process {id}"))
}

/// Lets the highest memory of `id` and its descendants start anew.
pub(crate) fn reset_peak(id: u32) -> Result<(), Failure> {
    for id in family(id) {
        fs::write(format!("/proc/{id}/clear_refs"), "5").context(format_args!("peak memory of process {id}"))?;
    }
    Ok(())
}

/// Seconds in which any CPU of the machine was busy since it started.
pub(crate) fn machine_busy_s() -> Result<f64, Failure> {
    let stat = fs::read_to_string("/proc/stat").context("/proc/stat")?;
    let line = stat.lines().next().unwrap_or_default();
    let ticks: Vec<f64> = line.split_whitespace().skip(1).filter_map(|field| field.parse().ok()).collect();
    // user nice system idle iowait irq softirq steal; the guest times after them are part of the user times.
    let busy: f64 = ticks.iter().take(8).sum::<f64>() - ticks.iter().skip(3).take(2).sum::<f64>();
    Ok(busy / TICKS_PER_SECOND)
}

/// Whether somebody listens on `addr`, an IPv4 address, where process `id` is.
pub(crate) fn is_listening(id: u32, addr: SocketAddr) -> Result<bool, Failure> {
    let IpAddr::V4(ip) = addr.ip() else { return Err(format!("{addr} is not IPv4").into()) };
    let local = format!("{:08X}:{:04X}", u32::from_ne_bytes(ip.octets()), addr.port());
    let sockets = fs::read_to_string(format!("/proc/{id}/net/tcp")).context(format_args!("sockets of {id}"))?;
    let mut rows = sockets.lines().map(|row| row.split_whitespace().collect::<Vec<_>>());
    Ok(rows.any(|row| row.get(1) == Some(&local.as_str()) && row.get(3) == Some(&LISTEN)))
}

fn family(id: u32) -> Vec<u32> {
    let mut family = vec![id];
    let mut next = 0;
    while let Some(&id) = family.get(next) {
        family.extend(children(id));
        next += 1;
    }
    family
}

fn children(id: u32) -> Vec<u32> {
    let Ok(tasks) = fs::read_dir(format!("/proc/{id}/task")) else { return Vec::new() };
    let lists = tasks.flatten().filter_map(|task| fs::read_to_string(task.path().join("children")).ok());
    lists.flat_map(|list| list.split_whitespace().filter_map(|id| id.parse().ok()).collect::<Vec<_>>()).collect()
}

fn cpu_s(id: u32) -> Result<f64, Failure> {
    let stat = read(id, "stat")?;
    // The name stands in parentheses and may hold anything, so fields are counted from the last one.
    let fields = stat.rsplit_once(')').map(|(_, fields)| fields).ok_or("no name in it")?;
    let mut times = fields.split_whitespace().skip(11).take(2).map(str::parse::<f64>);
    let (Some(Ok(user)), Some(Ok(system))) = (times.next(), times.next()) else { return Err("no times in it".into()) };
    Ok((user + system) / TICKS_PER_SECOND)
}

fn read(id: u32, file: &str) -> Result<String, Failure> {
    Ok(fs::read_to_string(Path::new("/proc").join(id.to_string()).join(file))?)
}
