//! The forms in which tickets and invitations are pasted.

use iroh::{EndpointAddr, SecretKey};

use crate::address_lookup::{Invitation, PeerAddr, parse_input, parse_peer};

fn invitation() -> Invitation {
    let addr = EndpointAddr::from(SecretKey::generate().public());
    Invitation::new(
        addr.with_ip_addr("192.0.2.7:51820".parse().unwrap()).with_ip_addr("[2001:db8::7]:51821".parse().unwrap()),
    )
}

/// Breaks a text with `between` after every `len` characters.
fn broken(text: &str, len: usize, between: &str) -> String {
    let letters: Vec<_> = text.chars().collect();
    letters.chunks(len).map(|piece| piece.iter().collect::<String>()).collect::<Vec<_>>().join(between)
}

/// The spoilt forms that are clear.
fn clear(text: &str) -> Vec<String> {
    let upper = text.to_uppercase();
    let (begin, end) = text.split_at(40);
    vec![
        format!("\"{text}\""),
        format!("'{text}'"),
        format!("`{text}`"),
        format!("```\n{text}\n```"),
        format!("\u{201c}{text}\u{201d}"),
        format!("\u{2018}{text}\u{2019}"),
        format!("\u{201e}{text}\u{201c}"),
        format!("\u{ab}\u{a0}{text}\u{a0}\u{bb}"),
        format!("\u{300c}{text}\u{300d}"),
        format!("\"{text}"),
        format!("{text}\""),
        format!("\"\"{text}\"\""),
        format!("<{text}>"),
        format!("({text})"),
        format!("**{text}**"),
        format!("{text}."),
        format!("{text};,!"),
        upper.clone(),
        format!("\"{upper}\""),
        format!("Invite{}", &text[6..]),
        format!("  {text}\t "),
        format!("{text}\r\n"),
        format!("\n\n{text}\n\n"),
        format!("{begin}\n{end}"),
        format!("{begin}\r\n{end}\r\n"),
        format!("{begin} {end}"),
        format!("{begin}\\\n{end}"),
        format!("{begin}=\n{end}"),
        format!("{begin}-\n{end}"),
        broken(text, 8, " "),
        broken(text, 60, "\n    "),
        format!("> {}", broken(text, 60, "\n> ")),
        format!("\u{feff}{text}"),
        broken(text, 30, "\u{200b}"),
        broken(text, 30, "\u{ad}"),
        format!("\u{202a}{text}\u{202c}"),
        format!("join {text}"),
        format!("flower-iroh-funnel join {text}"),
        format!("$ flower-iroh-funnel join \"{text}\""),
        format!("on the other side, run: flower-iroh-funnel join {text}"),
        format!("invitation {text}"),
        format!("Invitation: {text}"),
        format!("invitation {text}\nuses: 1, expires: 2026-12-01T00:00:00Z; treat it like a password\nrun: join -\n"),
        format!("{text}\n{text}\n"),
        format!("{text} (works until tomorrow)"),
    ]
}

/// The spoilt forms that are not: the secret is cut, wrong or not the only one.
fn unclear(text: &str) -> Vec<String> {
    let mut unclear: Vec<_> = (1..12).map(|part| text[..text.len() * part / 12].to_owned()).collect();
    unclear.extend((1..12).map(|part| text[text.len() * part / 12..].to_owned()));
    unclear.extend(unclear.clone().iter().map(|text| format!("\"{}\"", text.to_uppercase())));
    unclear.extend([
        text[1..].to_owned(),
        text.replacen("invite", "invjte", 1),
        format!("{}0{}", &text[..50], &text[51..]),
        format!("{text}{text}"),
        format!("{text}\n{}", invitation()),
        format!("{text} --listen 127.0.0.1:9093"),
        format!("http://example.org/{text}"),
        broken(&text[..60], 4, " "),
        format!("join \u{201c}{}\u{2026}\u{201d}", &text[..70]),
    ]);
    unclear
}

/// Returns whether a message has a piece of 8 characters of the secret, in whatever case. The secret stands behind the kind
/// and the version.
fn tells(message: &str, text: &str) -> bool {
    let (message, secret) = (message.to_lowercase(), &text["invite".len()..][..54]);
    (0..=secret.len() - 8).any(|at| message.contains(&secret[at..at + 8]))
}

#[test]
fn forty_spoilt_forms_of_an_invitation_are_accepted_where_they_are_clear() {
    let invitation = invitation();
    let forms = clear(&invitation.to_string());
    assert!(forms.len() >= 40);
    for form in forms {
        let expected = PeerAddr::from(invitation.clone());
        assert_eq!(parse_peer(&form).unwrap_or_else(|error| panic!("{form:?}: {error}")), expected, "{form:?}");
        assert_eq!(parse_input(form.as_bytes()).unwrap(), expected);
        for order in [u16::to_le_bytes as fn(u16) -> [u8; 2], u16::to_be_bytes] {
            let text = format!("\u{feff}{form}");
            let bytes: Vec<u8> = text.encode_utf16().flat_map(order).collect();
            assert_eq!(parse_input(&bytes).unwrap(), expected, "as PowerShell writes it: {form:?}");
        }
    }
}

#[test]
fn a_form_that_is_not_clear_is_refused_and_no_piece_of_the_secret_is_shown() {
    let text = invitation().to_string();
    for form in unclear(&text) {
        let error = parse_peer(&form).expect_err(&form);
        let messages = format!("{error} {error:?} {}", crate::address_lookup::shown(&form));
        assert!(!tells(&messages, &text), "{form:?}: {messages}");
        assert!(!tells(&format!("{:?}", parse_input(form.as_bytes())), &text));
    }
}

#[test]
fn one_that_is_cut_is_said_to_be_incomplete() {
    let text = invitation().to_string();
    for end in 20..text.len() {
        for form in [text[..end].to_owned(), text[..end].to_uppercase(), format!("'{}", &text[..end])] {
            let error = parse_peer(&form).unwrap_err();
            assert!(error.to_string().contains("incomplete") && error.is_incomplete(), "{end}: {error}");
        }
    }
    for begin in 1..text.len() - 20 {
        let error = parse_peer(&text[begin..]).unwrap_err().to_string();
        assert!(error.contains("incomplete"), "{begin}: {error}");
    }
}

#[test]
fn an_id_is_accepted_with_quotes_and_in_capitals_and_a_piece_of_an_invitation_is_none() {
    let id = SecretKey::generate().public();
    let base32 = data_encoding::BASE32_NOPAD.encode(id.as_bytes());
    for form in [format!("\"{id}\""), id.to_string().to_uppercase(), broken(&id.to_string(), 16, " ")] {
        assert_eq!(parse_peer(&form).unwrap().addr().id, id, "{form}");
    }
    // A piece of an invitation has this form, and half of them are valid points.
    assert!(parse_peer(&base32).is_err());
}
