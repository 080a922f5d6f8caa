//! Invitations: a ticket with a secret, with which a peer may enrol.

use std::{fmt, str::FromStr};

use base64::prelude::{BASE64_STANDARD, Engine as _};
use iroh::{EndpointAddr, SecretKey};
use iroh_tickets::{ParseError, Ticket};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq;

use super::StrictTicket;

/// The version of the format of an invitation's bytes.
const VERSION: u8 = 1;
/// Separates the digests from those of other programs.
const DOMAIN: &[u8] = b"flower-iroh-funnel invitation 1";

/// The address of a funnel and a secret that it accepts for an enrolment, written as one word: `invite…`.
///
/// Anybody who has the text may use it: pass it on like a password. `Debug` does not show the secret, `Display` does.
#[derive(Clone, PartialEq, Eq)]
pub struct Invitation {
    addr: EndpointAddr,
    secret: Secret,
}

impl Invitation {
    /// Creates an invitation to the funnel at `addr`, with a new secret.
    pub fn new(addr: EndpointAddr) -> Self {
        Self { addr, secret: Secret::generate() }
    }

    /// Returns the address of the inviting funnel.
    pub fn addr(&self) -> &EndpointAddr {
        &self.addr
    }

    pub(crate) fn secret(&self) -> &Secret {
        &self.secret
    }
}

impl Ticket for Invitation {
    const KIND: &'static str = "invite";

    fn encode_bytes(&self) -> Vec<u8> {
        let mut bytes = vec![VERSION];
        bytes.extend_from_slice(self.secret.bytes());
        bytes.extend(StrictTicket::from(self.addr.clone()).encode_bytes());
        bytes
    }

    fn decode_bytes(bytes: &[u8]) -> Result<Self, ParseError> {
        let (version, rest) = bytes.split_first().ok_or_else(|| ParseError::verification_failed("it is empty"))?;
        if *version != VERSION {
            return Err(ParseError::verification_failed("it was made by a newer version"));
        }
        let (secret, ticket) =
            rest.split_first_chunk().ok_or_else(|| ParseError::verification_failed("it is cut short"))?;
        Ok(Self { secret: Secret(*secret), addr: StrictTicket::decode_bytes(ticket)?.into() })
    }
}

impl fmt::Display for Invitation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.encode_string())
    }
}

impl fmt::Debug for Invitation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Invitation").field("addr", &self.addr).finish_non_exhaustive()
    }
}

impl FromStr for Invitation {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        Self::decode_string(text)
    }
}

/// The secret of an invitation. Only its [`Digest`] is ever stored.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Secret([u8; Self::LEN]);

impl Secret {
    pub(crate) const LEN: usize = 32;

    /// Draws a secret as a secret key is drawn, from the system's random numbers.
    fn generate() -> Self {
        Self(SecretKey::generate().to_bytes())
    }

    pub(crate) fn bytes(&self) -> &[u8; Self::LEN] {
        &self.0
    }

    pub(crate) fn digest(&self) -> Digest {
        Digest(Sha256::new().chain_update(DOMAIN).chain_update(self.0).finalize().into())
    }
}

impl From<[u8; Self::LEN]> for Secret {
    fn from(bytes: [u8; Self::LEN]) -> Self {
        Self(bytes)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

/// The digest of a secret: enough to recognise it, but not to learn it.
#[derive(Clone, Copy, Debug)]
pub struct Digest([u8; 32]);

impl Digest {
    /// Returns its bytes, to sort digests by. Compare digests themselves.
    pub(crate) fn bytes(&self) -> [u8; 32] {
        self.0
    }
}

/// Compares in constant time.
impl PartialEq for Digest {
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl Eq for Digest {}

impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&BASE64_STANDARD.encode(self.0))
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let bytes = BASE64_STANDARD.decode(text).ok().and_then(|bytes| bytes.try_into().ok());
        bytes.map(Self).ok_or_else(|| D::Error::custom("a digest is 32 bytes in base64"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn invitation() -> Invitation {
        let id = SecretKey::generate().public();
        Invitation::new(EndpointAddr::from(id).with_ip_addr("127.0.0.1:4433".parse().unwrap()))
    }

    #[test]
    fn an_invitation_is_read_as_it_was_written() {
        let invitation = invitation();
        let text = invitation.to_string();
        assert!(text.starts_with("invite") && text.bytes().all(|byte| byte.is_ascii_alphanumeric()), "{text}");
        assert_eq!(text.parse::<Invitation>().unwrap(), invitation);
    }

    #[test]
    fn one_cut_anywhere_is_refused() {
        let text = invitation().to_string();
        for end in 0..text.len() {
            assert!(text[..end].parse::<Invitation>().is_err(), "{end}");
        }
    }

    #[test]
    fn neither_debug_nor_digest_shows_the_secret() {
        let invitation = invitation();
        let secret = data_encoding::HEXLOWER.encode(&invitation.secret().bytes()[..]);
        let digest = serde_json::to_string(&invitation.secret().digest()).unwrap();
        for shown in [format!("{invitation:?}"), format!("{:?}", invitation.secret()), digest] {
            assert!(!shown.contains(&secret) && !shown.contains(&invitation.to_string()), "{shown}");
        }
    }

    #[test]
    fn a_digest_is_known_again() {
        let (one, other) = (invitation().secret().digest(), invitation().secret().digest());
        assert_ne!(one, other);
        let text = serde_json::to_string(&one).unwrap();
        assert_eq!(serde_json::from_str::<Digest>(&text).unwrap(), one);
        for wrong in ["\"\"", "\"0\"", "\"é\"", &format!("\"{}=\"", "A".repeat(39)), &format!("\"{}\"", "A".repeat(44))]
        {
            assert!(serde_json::from_str::<Digest>(wrong).is_err(), "{wrong}");
        }
    }
}

#[cfg(test)]
mod properties {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// The format has no checksum: a text with a slip is refused or is another invitation, and is never shown.
        #[test]
        fn an_invitation_with_a_byte_changed_is_refused_or_is_another(
            seed in any::<[u8; 32]>(),
            at in any::<prop::sample::Index>(),
            byte in any::<u8>(),
        ) {
            let addr = EndpointAddr::from(SecretKey::from_bytes(&seed).public()).with_ip_addr(([127, 0, 0, 1], 1).into());
            let invitation = Invitation::new(addr);
            let mut bytes = invitation.encode_bytes();
            let at = at.index(bytes.len());
            let is_same = std::mem::replace(&mut bytes[at], byte) == byte;
            match Invitation::decode_bytes(&bytes) {
                Ok(other) => {
                    prop_assert_eq!(other == invitation, is_same);
                    prop_assert_eq!(Invitation::decode_bytes(&other.encode_bytes()).unwrap(), other);
                }
                Err(_) => prop_assert!(!is_same),
            }
        }
    }
}
