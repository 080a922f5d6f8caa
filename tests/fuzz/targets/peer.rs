//! What an operator writes for a peer: it leads back to itself, or the error says why and shows no long text.
#![no_main]

use flower_iroh_funnel::address_lookup::parse_peer;
use iroh_tickets::endpoint::EndpointTicket;
use libfuzzer_sys::{Corpus, fuzz_target};

/// What is shown of a text that names no peer: an id has 64 characters, an invitation more.
const SHOWN: usize = 80;

fuzz_target!(|text: &str| -> Corpus {
    // It would be a file, perhaps with quotes around it.
    if text.chars().find(|letter| letter.is_ascii_alphanumeric() || *letter == '@') == Some('@') {
        return Corpus::Reject;
    }
    match parse_peer(text) {
        Ok(peer) => {
            let again = parse_peer(&EndpointTicket::new(peer.addr().clone()).to_string());
            assert_eq!(again.expect("what was read is written").addr(), peer.addr());
            assert_eq!(parse_peer(&format!(" {text}\n")).expect("space around it means nothing").addr(), peer.addr());
        }
        Err(error) => {
            let shown = format!("{error} {error:?}");
            let secret = text.trim();
            assert!(secret.len() <= SHOWN || !shown.contains(secret), "{shown}");
            assert!(shown.len() < 2000, "{shown}");
        }
    }
    Corpus::Keep
});
