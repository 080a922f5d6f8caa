//! The command as an operator uses it: real processes, their output, exit status, signals and memory.

#[path = "support/certificates.rs"]
mod certificates;
#[path = "command/clock.rs"]
mod clock;
#[path = "command/control.rs"]
mod control;
#[path = "command/descriptors.rs"]
mod descriptors;
#[path = "command/disk.rs"]
mod disk;
#[path = "command/drain.rs"]
mod drain;
#[cfg(target_os = "linux")]
#[path = "command/exit_status.rs"]
mod exit_status;
#[path = "command/files.rs"]
mod files;
#[path = "command/foreign_relays.rs"]
mod foreign_relays;
#[path = "support/funnel_process.rs"]
mod funnel_process;
#[cfg(target_os = "linux")]
#[path = "command/handed_out.rs"]
mod handed_out;
#[path = "command/hangup.rs"]
mod hangup;
#[path = "command/healthy_day.rs"]
mod healthy_day;
#[path = "command/keys.rs"]
mod keys;
#[path = "command/links.rs"]
mod links;
#[path = "command/local_port.rs"]
mod local_port;
#[path = "command/lines.rs"]
mod lines;
#[path = "command/logs.rs"]
mod logs;
#[path = "command/memory.rs"]
mod memory;
#[path = "command/mistakes.rs"]
mod mistakes;
#[path = "support/nginx.rs"]
mod nginx;
#[path = "command/numbers.rs"]
mod numbers;
#[path = "command/offline.rs"]
mod offline;
#[cfg(unix)]
#[path = "command/pasted.rs"]
mod pasted;
#[path = "command/peers.rs"]
mod peers;
#[path = "support/ports.rs"]
mod ports;
#[path = "support/raw_peer.rs"]
mod raw_peer;
#[path = "command/relay.rs"]
mod relay;
#[path = "command/relay/access.rs"]
mod relay_access;
#[path = "command/relay/arrivals.rs"]
mod relay_arrivals;
#[path = "command/relay/crowd.rs"]
mod relay_crowd;
#[path = "command/relay/lab.rs"]
mod relay_lab;
#[path = "command/relay/limits.rs"]
mod relay_limits;
#[path = "command/relay/nginx.rs"]
mod relay_nginx;
#[path = "command/relay/secrets.rs"]
mod relay_secrets;
#[path = "command/restart.rs"]
mod restart;
#[cfg(unix)]
#[path = "command/roster.rs"]
mod roster;
#[path = "command/sides.rs"]
mod sides;
#[path = "command/silence.rs"]
mod silence;
#[cfg(target_os = "linux")]
#[path = "support/small_disk.rs"]
mod small_disk;
#[path = "command/state.rs"]
mod state;
#[path = "command/tls.rs"]
mod tls;
#[cfg(unix)]
#[path = "command/umask.rs"]
mod umask;
#[path = "command/unread.rs"]
mod unread;
#[cfg(target_os = "linux")]
#[path = "support/wrong_clock.rs"]
mod wrong_clock;
