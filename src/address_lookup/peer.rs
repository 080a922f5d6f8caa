//! Parses peers: tickets, invitations, ids, and files that hold one of them.

#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;

use std::{
    error::Error,
    fmt,
    fs::File,
    io::{self, Read},
    path::{Path, PathBuf},
    str::FromStr,
    sync::Arc,
};

use iroh::{EndpointAddr, EndpointId};
use iroh_tickets::{ParseError, Ticket, endpoint::EndpointTicket};

use super::{
    Invitation, StrictTicket,
    pasted::{self, Pasted, unquoted},
};
use crate::atomic_file;

/// The longest part of a ticket file that is read, in bytes: a ticket with a dozen addresses has under 1 KiB.
const MAX_TICKET_FILE: u64 = 16 << 10;
/// The longest text that a message repeats, in characters: a name or an endpoint id has 64, an invitation over a hundred.
const MAX_SHOWN: usize = 80;
/// The longest name of a peer, in characters.
const MAX_NAME: usize = 64;

/// The address of a peer, and the invitation to present if the peer does not admit this funnel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerAddr {
    pub(crate) addr: EndpointAddr,
    pub(crate) invitation: Option<Invitation>,
    /// The file that it was read from.
    pub(crate) file: Option<PathBuf>,
}

impl PeerAddr {
    /// Returns the peer's id, and its relay and addresses as far as they are known.
    pub fn addr(&self) -> &EndpointAddr {
        &self.addr
    }

    /// Returns the invitation, if the peer made one.
    pub fn invitation(&self) -> Option<&Invitation> {
        self.invitation.as_ref()
    }

    fn of(addr: impl Into<EndpointAddr>) -> Self {
        Self { addr: addr.into(), invitation: None, file: None }
    }
}

impl From<Invitation> for PeerAddr {
    fn from(invitation: Invitation) -> Self {
        Self { invitation: Some(invitation.clone()), ..Self::of(invitation.addr().clone()) }
    }
}

/// Parses a peer from a ticket, an invitation, an endpoint id, or `@FILE` that holds one of them.
///
/// They are accepted as operators paste them, where their meaning is clear: with quotes or other punctuation around them, in
/// capitals, broken into lines, with characters that cannot be seen, behind `join`, or among the other lines that `invite`
/// and `expose` print. An id alone has no addresses: they are looked up when it is dialled.
///
/// # Errors
/// [`InvalidPeer`] for any other text, and for a file that cannot be read. It never shows a part of an invitation.
pub fn parse_peer(text: &str) -> Result<PeerAddr, InvalidPeer> {
    match file_of(text) {
        Some(path) => read_peer(Path::new(path)),
        None => parse(text).map_err(|problem| InvalidPeer { name: name(text), file: None, problem }),
    }
}

fn file_of(text: &str) -> Option<&str> {
    unquoted(text).strip_prefix('@')
}

/// Returns whether [`parse_peer`] would read a file.
pub(crate) fn is_file(text: &str) -> bool {
    file_of(text).is_some()
}

/// Parses the peer in a file, as [`parse_peer`] does for `@FILE`.
pub(crate) fn read_peer(path: &Path) -> Result<PeerAddr, InvalidPeer> {
    let invalid = |problem| InvalidPeer { name: None, file: Some(path.to_owned()), problem };
    let text = read(path).map_err(|error| invalid(Problem::File(error.into())))?;
    let peer = parse(&text).map_err(invalid)?;
    // A pipe or a terminal gives it once.
    let is_kept = std::fs::metadata(atomic_file::expand_home(path)).is_ok_and(|found| found.is_file());
    Ok(PeerAddr { file: is_kept.then(|| path.to_owned()), ..peer })
}

/// Parses a peer from the bytes that an operator pastes or pipes, as [`parse_peer`] does for a text: UTF-8, or UTF-16 with a
/// byte order mark.
///
/// # Errors
/// As [`parse_peer`]. A file cannot be named.
pub fn parse_input(bytes: &[u8]) -> Result<PeerAddr, InvalidPeer> {
    parse(&pasted::decoded(bytes)).map_err(|problem| InvalidPeer { name: None, file: None, problem })
}

fn parse(text: &str) -> Result<PeerAddr, Problem> {
    let pasted = Pasted::of(text);
    let whole = pasted.joined();
    let failed = match decode(&whole) {
        Some(Ok(peer)) => return Ok(peer),
        Some(Err(error)) => Some(error),
        None => None,
    };
    let mut found: Vec<PeerAddr> = Vec::new();
    for peer in pasted.parts().iter().filter_map(|part| decode(part)?.ok()) {
        if !found.contains(&peer) {
            found.push(peer);
        }
    }
    match (found.len(), failed) {
        (1, _) => return Ok(found.remove(0)),
        (2.., _) => return Err(Problem::Several),
        (_, Some(error)) => return Err(Problem::Damaged(error.into())),
        (_, None) => {}
    }
    match EndpointId::from_str(&whole) {
        // Not in base 32: a piece of an invitation may be a valid id.
        Ok(id) if whole.len() == 2 * EndpointId::LENGTH => Ok(PeerAddr::of(id)),
        _ => Err(Problem::Neither(whole)),
    }
}

/// Decodes a ticket or an invitation; `None` if the text begins as neither does.
fn decode(text: &str) -> Option<Result<PeerAddr, ParseError>> {
    if text.starts_with(EndpointTicket::KIND) {
        return Some(StrictTicket::decode_string(text).map(|ticket| PeerAddr::of(EndpointAddr::from(ticket))));
    }
    text.starts_with(Invitation::KIND).then(|| Invitation::from_str(text).map(PeerAddr::from))
}

/// Returns the text if it may be a name in a roster or a configuration file, exactly as it was written.
fn name(text: &str) -> Option<String> {
    let text = text.trim();
    let is_name = text.chars().count() <= MAX_NAME && !pasted::has_kind(text);
    is_name.then(|| text.to_owned())
}

/// Writes a ticket that [`parse_peer`] reads as `@FILE`. A file is replaced atomically; a device or a pipe is written to.
///
/// # Errors
/// The file cannot be written; an earlier one is unchanged.
pub fn write_ticket(path: &Path, addr: EndpointAddr) -> io::Result<()> {
    atomic_file::write_public(path, format!("{}\n", EndpointTicket::new(addr)).as_bytes())
}

/// Shortens a value for a message. One that may be an invitation, or is as long as one, is described by its length alone.
pub(crate) fn shown(text: &str) -> String {
    let is_hidden = text.chars().count() > MAX_SHOWN || pasted::may_be_invitation(text);
    if is_hidden { hidden(text) } else { text.to_owned() }
}

/// Returns a text that was given as a peer's name for a message; one that may be a piece of an invitation is described by its
/// length alone.
pub(crate) fn shown_name(text: &str) -> String {
    if pasted::may_be_shown(text) { format!("{text:?}") } else { hidden(text) }
}

fn hidden(text: &str) -> String {
    format!("the text of {} characters", text.chars().count())
}

fn read(path: &Path) -> io::Result<String> {
    let mut bytes = Vec::new();
    File::open(atomic_file::expand_home(path))?.take(MAX_TICKET_FILE).read_to_end(&mut bytes)?;
    Ok(pasted::decoded(&bytes))
}

/// A text that is not a valid peer.
///
/// Its text is complete, with that of its source: the [`ParseError`] of a ticket or an invitation, or the [`io::Error`] of a
/// file.
#[derive(Clone)]
pub struct InvalidPeer {
    /// The text, if it may be a name.
    name: Option<String>,
    file: Option<PathBuf>,
    problem: Problem,
}

#[derive(Clone)]
enum Problem {
    /// It begins as a ticket or an invitation does.
    Damaged(Arc<ParseError>),
    Several,
    /// What is left of the text without space and punctuation.
    Neither(String),
    File(Arc<io::Error>),
}

impl InvalidPeer {
    /// Returns whether the text is neither a ticket, an invitation nor an id, and may be a name.
    pub fn may_be_name(&self) -> bool {
        self.name.is_some()
    }

    /// Returns the file that the peer is read from if there is no such file yet.
    pub fn missing_file(&self) -> Option<&Path> {
        match &self.problem {
            Problem::File(error) if error.kind() == io::ErrorKind::NotFound => self.file.as_deref(),
            _ => None,
        }
    }

    /// Returns whether more text may complete it: it begins as a ticket or an invitation does, or is empty.
    pub fn is_incomplete(&self) -> bool {
        match &self.problem {
            Problem::Damaged(error) => is_cut(error),
            Problem::Neither(text) => text.is_empty(),
            Problem::Several | Problem::File(_) => false,
        }
    }

    /// Returns whether the text, or that of its file, is wrong; otherwise the file could not be read.
    pub fn is_mistake(&self) -> bool {
        match &self.problem {
            Problem::Damaged(_) | Problem::Neither(_) | Problem::Several => true,
            Problem::File(error) => atomic_file::is_mistake(error),
        }
    }

    /// Returns the text, which may be a name.
    pub(crate) fn text(&self) -> &str {
        self.name.as_deref().unwrap_or_default()
    }
}

/// Returns whether a ticket or an invitation may have lost its end: anything but a character that does not belong there, or
/// one after its end.
fn is_cut(error: &ParseError) -> bool {
    match error {
        ParseError::Encoding { source, .. } => source.kind != data_encoding::DecodeKind::Symbol,
        ParseError::Verify { message, .. } => !message.contains("after its end") && !message.contains("newer"),
        _ => true,
    }
}

impl fmt::Display for InvalidPeer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(file) = &self.file {
            write!(f, "the ticket file {}: ", file.display())?;
        }
        match &self.problem {
            Problem::Damaged(error) if is_cut(error) => {
                write!(f, "the ticket or invitation is incomplete: copy it again, to its last character ({error})")
            }
            Problem::Damaged(error) => write!(f, "the ticket or invitation is damaged: copy it again, alone ({error})"),
            Problem::Several => f.write_str("it has several tickets or invitations: copy one of them, alone"),
            Problem::Neither(text) if text.is_empty() => {
                f.write_str("it is empty, expected a ticket or an invitation: copy it again")
            }
            Problem::Neither(text) => {
                let shown = shown_name(self.name.as_deref().unwrap_or(text));
                write!(f, "{shown} is neither a ticket, an invitation nor an endpoint id (64 hexadecimal digits)")?;
                if !pasted::may_be_shown(text) {
                    f.write_str(
                        "; if it is a piece of one, it is incomplete: copy it again, from its first character",
                    )?;
                }
                Ok(())
            }
            Problem::File(error) => write!(f, "cannot be read: {error}"),
        }
    }
}

/// As its text: it never shows a part of an invitation.
impl fmt::Debug for InvalidPeer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("InvalidPeer").field(&self.to_string()).finish()
    }
}

/// Not derived: a derived source would be the `Arc`, not the error in it.
impl Error for InvalidPeer {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match &self.problem {
            Problem::Damaged(error) => Some(&**error),
            Problem::File(error) => Some(&**error),
            Problem::Neither(_) | Problem::Several => None,
        }
    }
}
