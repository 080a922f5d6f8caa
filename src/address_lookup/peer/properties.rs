//! Any peer leads back to itself, and no slip shows a secret.

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
