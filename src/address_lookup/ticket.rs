//! Tickets without trailing bytes.

use iroh::EndpointAddr;
use iroh_tickets::{ParseError, Ticket, endpoint::EndpointTicket};

/// iroh's ticket, which is refused if anything follows it.
///
/// `EndpointTicket::decode_bytes` of iroh-tickets 1.0.0 ignores trailing bytes, so that two tickets pasted as one word are read
/// as the first. This is not reported upstream as of 2026-11. The type can be removed once iroh-tickets refuses such bytes.
pub(crate) struct StrictTicket(EndpointTicket);

impl Ticket for StrictTicket {
    const KIND: &'static str = EndpointTicket::KIND;

    fn encode_bytes(&self) -> Vec<u8> {
        self.0.encode_bytes()
    }

    fn decode_bytes(bytes: &[u8]) -> Result<Self, ParseError> {
        let ticket = EndpointTicket::decode_bytes(bytes)?;
        // If it can be read without its last byte, that byte is not part of the ticket.
        match bytes.split_last().map(|(_, shorter)| EndpointTicket::decode_bytes(shorter)) {
            Some(Ok(_)) => Err(ParseError::verification_failed("it goes on after its end")),
            _ => Ok(Self(ticket)),
        }
    }
}

impl From<EndpointAddr> for StrictTicket {
    fn from(addr: EndpointAddr) -> Self {
        Self(addr.into())
    }
}

impl From<StrictTicket> for EndpointAddr {
    fn from(ticket: StrictTicket) -> Self {
        ticket.0.into()
    }
}

#[cfg(test)]
mod tests {
    use iroh::SecretKey;

    use super::*;

    #[test]
    fn a_ticket_that_goes_on_after_its_end_is_refused() {
        let addr = EndpointAddr::from(SecretKey::generate().public()).with_ip_addr("127.0.0.1:1".parse().unwrap());
        let bytes = StrictTicket::from(addr.clone()).encode_bytes();
        assert_eq!(EndpointAddr::from(StrictTicket::decode_bytes(&bytes).unwrap()), addr);
        for more in [&b"\0"[..], b"two", &bytes] {
            let error = StrictTicket::decode_bytes(&[&bytes, more].concat()).err().unwrap().to_string();
            assert!(error.contains("goes on after its end"), "{error}");
        }
    }
}
