//! What is a peer, and what is refused.

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
    for slip in [text[1..].to_owned(), text.replacen("invite", "invjte", 1)] {
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
