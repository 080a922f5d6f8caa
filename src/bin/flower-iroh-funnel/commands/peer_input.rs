//! The peer to join, as its operator gives it: on stdin, in a file that may come later, or as an argument.

use std::{
    io::{self, BufRead, IsTerminal, Read, Write},
    path::Path,
    time::Duration,
};

use flower_iroh_funnel::address_lookup::{InvalidPeer, PeerAddr, parse_input, parse_peer};
use tokio::time::sleep;
use tracing::{info, warn};

use crate::signals;

/// The argument that means stdin.
const STDIN: &str = "-";
/// The most that is read from stdin, in bytes: many times longer than an invitation.
const MAX_INPUT: u64 = 16 << 10;
/// How often a ticket file that is waited for is looked at.
const INTERVAL: Duration = Duration::from_millis(500);

/// Parses the peer from an argument, from stdin if the argument is `-`, or from a file, which is waited for.
pub(super) async fn peer_of(argument: &str) -> Result<PeerAddr, InvalidPeer> {
    if argument == STDIN {
        return read_stdin();
    }
    let peer = parse_peer(argument);
    if let Some(path) = peer.as_ref().err().and_then(InvalidPeer::missing_file) {
        return Ok(wait_for_ticket(path).await);
    }
    if peer.as_ref().is_ok_and(|peer| peer.invitation().is_some()) && !argument.contains('@') {
        info!(
            "other users of this machine can read the invitation on this command line while it runs; join - reads it from \
             stdin, and join @FILE from a file"
        );
    }
    peer
}

/// Waits until a file has a ticket, an invitation or an id in it. The first signal ends the process: nothing runs yet.
pub(super) async fn wait_for_ticket(path: &Path) -> PeerAddr {
    let _ended = signals::end_on_signal();
    info!("waiting for the ticket file {}, which does not exist yet", path.display());
    let mut last = String::new();
    loop {
        match parse_peer(&format!("@{}", path.display())) {
            Ok(peer) => return peer,
            Err(error) if error.missing_file().is_some() => {}
            Err(error) => {
                let text = error.to_string();
                if text != last {
                    warn!("{text}; waiting until it is replaced");
                }
                last = text;
            }
        }
        sleep(INTERVAL).await;
    }
}

/// Reads lines until they are a peer, or cannot become one. At a terminal, an empty line ends the text too.
fn read_stdin() -> Result<PeerAddr, InvalidPeer> {
    let mut stdin = io::stdin().lock();
    let is_terminal = stdin.is_terminal();
    if is_terminal {
        let _ = writeln!(io::stderr(), "paste the invitation or the ticket, then press Enter:");
    }
    let mut text = Vec::new();
    loop {
        let before = text.len();
        let room = MAX_INPUT.saturating_sub(before as u64);
        let is_end = !matches!(stdin.by_ref().take(room).read_until(b'\n', &mut text), Ok(1..));
        let is_empty_line = text[before..].trim_ascii().is_empty();
        let peer = parse_input(&text);
        let is_ended = is_end || is_terminal && is_empty_line && !text.trim_ascii().is_empty();
        match &peer {
            Err(error) if error.is_incomplete() && !is_ended => {}
            Err(_) if !is_terminal && !is_end => {}
            _ => return peer,
        }
    }
}
