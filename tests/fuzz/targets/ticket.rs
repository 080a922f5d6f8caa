//! The bytes of a ticket: what is read leads back to itself, and is the whole text.
#![no_main]

use data_encoding::BASE32_NOPAD;
use flower_iroh_funnel::address_lookup::parse_peer;
use iroh_tickets::{Ticket, endpoint::EndpointTicket};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let text = |bytes: &[u8]| EndpointTicket::KIND.to_owned() + &BASE32_NOPAD.encode(bytes).to_ascii_lowercase();
    match parse_peer(&text(bytes)) {
        Ok(peer) => {
            let again = parse_peer(&EndpointTicket::new(peer.addr().clone()).to_string());
            assert_eq!(again.expect("what was read is written").addr(), peer.addr());
            assert!(parse_peer(&text(&[bytes, b"\0"].concat())).is_err(), "it goes on after its end");
        }
        Err(error) => assert!(error.to_string().contains("copy it again") && error.to_string().len() < 200, "{error}"),
    }
});
