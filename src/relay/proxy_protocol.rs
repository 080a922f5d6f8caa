//! The header with which a proxy says where a connection comes from: the PROXY protocol, versions 1 and 2.
//!
//! <https://www.haproxy.org/download/3.0/doc/proxy-protocol.txt>

use std::{io, net::IpAddr};

use proxy_header::{ParseConfig, ProxyHeader};
use tokio::io::{AsyncRead, AsyncReadExt};

/// The first bytes of version 2, and the fewest that are read of version 1.
const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
/// The longest header of version 1, with its line end.
const MAX_V1: usize = 107;
/// The fixed part of version 2, whose last two bytes are the length of the rest.
const V2: usize = 16;
/// The longest rest that is read. Addresses take 36 bytes, or 216 of Unix sockets; the remainder is for extensions.
const MAX_V2_REST: usize = 1024;

/// Reads the header, and no byte after it. Returns the client's address; `None` for a connection of the proxy itself.
pub(super) async fn read(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Option<IpAddr>> {
    let mut header = vec![0; SIGNATURE.len()];
    stream.read_exact(&mut header).await?;
    if header == SIGNATURE {
        header.resize(V2, 0);
        stream.read_exact(&mut header[SIGNATURE.len()..]).await?;
        let rest = usize::from(u16::from_be_bytes([header[V2 - 2], header[V2 - 1]]));
        if rest > MAX_V2_REST {
            return Err(malformed("it is too long"));
        }
        header.resize(V2 + rest, 0);
        stream.read_exact(&mut header[V2..]).await?;
    } else if header.starts_with(b"PROXY ") {
        while !header.ends_with(b"\r\n") {
            if header.len() == MAX_V1 {
                return Err(malformed("it is too long"));
            }
            header.push(stream.read_u8().await?);
        }
    } else {
        return Err(malformed("there is none"));
    }
    client(&header)
}

fn client(header: &[u8]) -> io::Result<Option<IpAddr>> {
    let parsed = ProxyHeader::parse(header, ParseConfig { include_tlvs: false, ..ParseConfig::default() });
    match parsed {
        Ok((parsed, length)) if length == header.len() => Ok(parsed.proxied_address().map(|addr| addr.source.ip())),
        _ => Err(malformed("it cannot be parsed")),
    }
}

fn malformed(problem: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("no valid PROXY protocol header: {problem}"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use proxy_header::ProxiedAddress;

    use super::*;

    /// Reads a header, and returns the client's address and how many bytes were left.
    async fn read_all(mut bytes: &[u8]) -> (io::Result<Option<IpAddr>>, usize) {
        let client = read(&mut bytes).await;
        (client, bytes.len())
    }

    fn v2(source: &str) -> Vec<u8> {
        let source: IpAddr = source.parse().unwrap();
        let destination = if source.is_ipv4() { "10.0.0.1:443" } else { "[fd00::1]:443" };
        let header =
            ProxyHeader::with_address(ProxiedAddress::stream((source, 7).into(), destination.parse().unwrap()));
        let mut bytes = Vec::new();
        header.encode_v2(&mut bytes).unwrap();
        bytes
    }

    #[tokio::test]
    async fn both_versions_give_the_address_of_the_client_and_nothing_after_them_is_read() {
        for (header, client) in [
            (b"PROXY TCP4 192.0.2.7 10.0.0.1 5000 443\r\n".to_vec(), Some("192.0.2.7")),
            (b"PROXY TCP6 2001:db8::7 fd00::1 5000 443\r\n".to_vec(), Some("2001:db8::7")),
            (b"PROXY UNKNOWN\r\n".to_vec(), None),
            (v2("192.0.2.7"), Some("192.0.2.7")),
            (v2("2001:db8::7"), Some("2001:db8::7")),
            // Version 2 of the proxy itself: LOCAL.
            ([&SIGNATURE[..], &[0x20, 0, 0, 0]].concat(), None),
        ] {
            let (read, left) = read_all(&[&header[..], b"GET / HTTP/1.1"].concat()).await;
            assert_eq!(read.unwrap(), client.map(|client| client.parse().unwrap()));
            assert_eq!(left, 14);
        }
    }

    #[tokio::test]
    async fn what_is_no_header_is_an_error() {
        let endless = [b"PROXY TCP4 192.0.2.7".to_vec(), vec![b' '; 500]].concat();
        let long = [&SIGNATURE[..], &[0x21, 0x11, 0xff, 0xff], &[0; 70_000]].concat();
        for bytes in [
            &b"GET /relay HTTP/1.1\r\n\r\n"[..],
            b"PROXY TCP4 192.0.2.7",
            b"PROXY TCP4 192.0.2.777 10.0.0.1 5000 443\r\n",
            b"PROXY TCP4 192.0.2.7 10.0.0.1 5000 443\r\r\n",
            b"",
            &endless,
            &long,
        ] {
            assert!(read_all(bytes).await.0.is_err(), "{}", bytes.escape_ascii());
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes: Vec<u8>, start in 0..3) {
            let begin: &[u8] = [&b""[..], b"PROXY ", SIGNATURE][start as usize];
            let bytes = [begin, &bytes].concat();
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            let _ = runtime.block_on(read_all(&bytes));
        }
    }
}
