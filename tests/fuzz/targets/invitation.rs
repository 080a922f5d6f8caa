//! The bytes of an invitation: what is read leads back to itself, is the whole text, and is shown by no error.
#![no_main]

use data_encoding::BASE32_NOPAD;
use flower_iroh_funnel::{Invitation, address_lookup::parse_peer};
use iroh_tickets::Ticket;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let text = |bytes: &[u8]| Invitation::KIND.to_owned() + &BASE32_NOPAD.encode(bytes).to_ascii_lowercase();
    match text(bytes).parse::<Invitation>() {
        Ok(invitation) => {
            assert_eq!(Invitation::decode_bytes(&invitation.encode_bytes()).as_ref().ok(), Some(&invitation));
            assert_eq!(parse_peer(&text(bytes)).expect("an invitation is a peer").addr(), invitation.addr());
            assert!(Invitation::decode_bytes(&[bytes, b"\0"].concat()).is_err(), "it goes on after its end");
        }
        Err(_) => {
            let error = parse_peer(&text(bytes)).expect_err("it is no invitation");
            assert!(error.to_string().len() < 200 && !error.may_be_name(), "{error}");
        }
    }
});
