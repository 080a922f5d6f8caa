//! Parses peers: tickets, invitations, ids, and files that hold one of them.

use std::{
    error::Error,
    fmt,
    fs::File,
    io::{self, Read},
    path::Path,
    str::FromStr,
    sync::Arc,
};

use iroh::{EndpointAddr, EndpointId};
use iroh_tickets::{ParseError, Ticket, endpoint::EndpointTicket};

use super::{Invitation, StrictTicket};
use crate::atomic_file;

/// The longest part of a ticket file that is read, in bytes: a ticket with a dozen addresses has under 1 KiB.
const MAX_TICKET_FILE: u64 = 16 << 10;
/// The longest text that a message repeats, in characters: a name or an endpoint id has 64, an invitation over a hundred.
const MAX_SHOWN: usize = 80;

/// The address of a peer, and the invitation to present if the peer does not admit this funnel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerAddr {
    pub(crate) addr: EndpointAddr,
    pub(crate) invitation: Option<Invitation>,
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
}

impl From<Invitation> for PeerAddr {
    fn from(invitation: Invitation) -> Self {
        Self { addr: invitation.addr().clone(), invitation: Some(invitation) }
    }
}

/// Parses a peer from a ticket, an invitation, an endpoint id, or `@FILE` that holds one of them.
///
/// An id alone has no addresses: they are looked up when it is dialled.
///
/// # Errors
/// [`InvalidPeer`] for any other text, and for a file that cannot be read.
pub fn parse_peer(text: &str) -> Result<PeerAddr, InvalidPeer> {
    match text.strip_prefix('@') {
        Some(path) => parse(read(path)?.trim(), Some(path)),
        None => parse(text.trim(), None),
    }
}

fn parse(text: &str, file: Option<&str>) -> Result<PeerAddr, InvalidPeer> {
    let invalid = |problem| InvalidPeer { text: shown(text), file: file.map(str::to_owned), problem };
    let damaged = |error: ParseError| invalid(Problem::Damaged(error.into()));
    if text.starts_with(EndpointTicket::KIND) {
        return StrictTicket::decode_string(text)
            .map(|ticket| PeerAddr { addr: ticket.into(), invitation: None })
            .map_err(damaged);
    }
    if text.starts_with(Invitation::KIND) {
        // The error never repeats an invitation: anybody who reads it could use it.
        return Invitation::from_str(text).map(PeerAddr::from).map_err(damaged);
    }
    match EndpointId::from_str(text) {
        Ok(id) => Ok(PeerAddr { addr: id.into(), invitation: None }),
        Err(_) => Err(invalid(Problem::Neither)),
    }
}

/// Writes a ticket that [`parse_peer`] reads as `@FILE`. A file is replaced atomically; a device or a pipe is written to.
///
/// # Errors
/// The file cannot be written; an earlier one is unchanged.
pub fn write_ticket(path: &Path, addr: EndpointAddr) -> io::Result<()> {
    atomic_file::write_public(path, format!("{}\n", EndpointTicket::new(addr)).as_bytes())
}

/// Shortens a text for a message. One as long as an invitation may be an invitation with a slip at its beginning.
pub(crate) fn shown(text: &str) -> String {
    if text.chars().count() <= MAX_SHOWN { text.to_owned() } else { text.chars().take(8).chain(['…']).collect() }
}

fn read(path: &str) -> Result<String, InvalidPeer> {
    let mut text = String::new();
    let read = File::open(path).and_then(|file| file.take(MAX_TICKET_FILE).read_to_string(&mut text));
    match read {
        Ok(_) => Ok(text),
        Err(error) => Err(InvalidPeer { text, file: Some(path.to_owned()), problem: Problem::File(error.into()) }),
    }
}

/// A text that is not a valid peer.
///
/// Its text is complete, with that of its source: the [`ParseError`] of a ticket or an invitation, or the [`io::Error`] of a
/// file.
#[derive(Clone, Debug)]
pub struct InvalidPeer {
    text: String,
    file: Option<String>,
    problem: Problem,
}

#[derive(Clone, Debug)]
enum Problem {
    Damaged(Arc<ParseError>),
    Neither,
    File(Arc<io::Error>),
}

impl InvalidPeer {
    /// Returns whether the text is neither a ticket, an invitation nor an id, and may be a name.
    pub fn may_be_name(&self) -> bool {
        matches!(self.problem, Problem::Neither) && self.file.is_none()
    }

    /// Returns the text, which may be a name.
    pub(crate) fn text(&self) -> &str {
        &self.text
    }
}

impl fmt::Display for InvalidPeer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(file) = &self.file {
            write!(f, "the ticket file {file}: ")?;
        }
        match &self.problem {
            Problem::Damaged(error) => {
                write!(f, "the ticket or invitation is damaged or cut short; copy it again, as one line: {error}")
            }
            Problem::Neither => {
                write!(
                    f,
                    "{:?} is neither a ticket, an invitation nor an endpoint id (64 hexadecimal digits)",
                    self.text
                )
            }
            Problem::File(error) => write!(f, "cannot be read: {error}"),
        }
    }
}

/// Not derived: a derived source would be the `Arc`, not the error in it.
impl Error for InvalidPeer {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match &self.problem {
            Problem::Damaged(error) => Some(&**error),
            Problem::File(error) => Some(&**error),
            Problem::Neither => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use iroh::{EndpointAddr, SecretKey};

    use super::*;

    #[test]
    fn a_ticket_an_id_and_a_file_name_the_same_peer() {
        let id = SecretKey::generate().public();
        let addr = EndpointAddr::from(id).with_ip_addr("127.0.0.1:4433".parse().unwrap());
        let ticket = EndpointTicket::new(addr.clone()).to_string();
        assert_eq!(parse_peer(&ticket).unwrap().addr(), &addr);
        assert_eq!(parse_peer(&id.to_string()).unwrap().addr(), &EndpointAddr::from(id));
        assert_eq!(parse_peer(&Invitation::new(addr.clone()).to_string()).unwrap().addr(), &addr);
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ticket");
        std::fs::write(&path, format!("{ticket}\n")).unwrap();
        assert_eq!(parse_peer(&format!("@{}", path.display())).unwrap().addr(), &addr);
    }

    #[test]
    fn a_ticket_cut_anywhere_is_refused_and_says_what_to_do() {
        let addr = EndpointAddr::from(SecretKey::generate().public()).with_ip_addr("127.0.0.1:1".parse().unwrap());
        let ticket = EndpointTicket::new(addr).to_string();
        for end in 0..ticket.len() {
            let error = parse_peer(&ticket[..end]).unwrap_err().to_string();
            assert!(
                error.contains("copy it again") || error.contains("neither a ticket, an invitation nor"),
                "{end}: {error}"
            );
        }
    }

    #[test]
    fn an_invitation_with_a_slip_in_its_beginning_is_not_repeated() {
        let text = Invitation::new(SecretKey::generate().public().into()).to_string();
        for slip in
            [text.to_uppercase(), text[1..].to_owned(), format!("\"{text}"), text.replacen("invite", "invjte", 1)]
        {
            let error = parse_peer(&slip).unwrap_err();
            assert!(!format!("{error} {error:?}").contains(&slip[16..40]), "{error}");
        }
    }

    #[test]
    fn a_file_that_is_missing_is_named() {
        let error = parse_peer("@/nonexistent/ticket").unwrap_err();
        assert!(error.to_string().contains("/nonexistent/ticket") && !error.may_be_name());
        let source = error.source().and_then(|source| source.downcast_ref::<io::Error>());
        assert_eq!(source.map(io::Error::kind), Some(io::ErrorKind::NotFound));
    }
}

#[cfg(test)]
mod properties {
    use iroh::{EndpointAddr, SecretKey};
    use proptest::{collection::vec, prelude::*};

    use super::*;

    fn addr() -> impl Strategy<Value = EndpointAddr> {
        (any::<[u8; 32]>(), vec((any::<[u8; 4]>(), any::<u16>()), 0..5)).prop_map(|(seed, addrs)| {
            let id = SecretKey::from_bytes(&seed).public();
            addrs.into_iter().fold(EndpointAddr::from(id), |addr, ip| addr.with_ip_addr(ip.into()))
        })
    }

    proptest! {
        #[test]
        fn tickets_and_invitations_lead_back_to_their_peer(addr in addr()) {
            let ticket = parse_peer(&EndpointTicket::new(addr.clone()).to_string()).unwrap();
            prop_assert_eq!(ticket.addr(), &addr);
            let invitation = Invitation::new(addr.clone());
            prop_assert_eq!(&invitation.to_string().parse::<Invitation>().unwrap(), &invitation);
            let invited = parse_peer(&invitation.to_string()).unwrap();
            prop_assert_eq!(invited.addr(), &addr);
        }

        #[test]
        fn a_damaged_invitation_is_refused_and_not_repeated(addr in addr(), at in any::<prop::sample::Index>()) {
            let text = Invitation::new(addr).to_string();
            let damaged = &text[..Invitation::KIND.len() + at.index(text.len() - Invitation::KIND.len())];
            let error = parse_peer(damaged).unwrap_err().to_string();
            prop_assert!(damaged.len() < 20 || !error.contains(damaged), "{}", error);
        }

        /// A slip of one letter anywhere, in a ticket or an invitation.
        #[test]
        fn what_a_slip_makes_is_refused_or_another_peer_and_not_repeated(
            addr in addr(),
            invited in any::<bool>(),
            at in any::<prop::sample::Index>(),
            letter in any::<char>(),
        ) {
            let invitation = Invitation::new(addr.clone()).to_string();
            let text = if invited { invitation } else { EndpointTicket::new(addr).to_string() };
            let at = at.index(text.len());
            let slip: String = text.chars().enumerate().map(|(place, own)| if place == at { letter } else { own }).collect();
            match parse_peer(&slip) {
                Ok(peer) => {
                    let again = parse_peer(&EndpointTicket::new(peer.addr().clone()).to_string()).unwrap();
                    prop_assert_eq!(again.addr(), peer.addr());
                }
                Err(error) => {
                    let shown = format!("{error} {error:?}");
                    prop_assert!(!invited || !shown.contains(&text[text.len() - 40..]), "{}", shown);
                }
            }
        }

        #[test]
        fn any_text_is_a_peer_or_is_refused_with_a_reason(text in "(endpoint|invite|)[^@]{0,80}") {
            if let Err(error) = parse_peer(&text) {
                prop_assert!(!error.to_string().is_empty());
            }
        }
    }
}
