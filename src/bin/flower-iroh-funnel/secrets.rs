//! Keeps invitations on the command line out of messages.

use std::env;

/// The fewest letters and digits in an argument for which it is taken for an invitation, or for a piece of one.
const MIN_PIECE: usize = 20;
/// The longest run of letters and digits of a path or a URL that is shown.
const MAX_WORD: usize = 40;
/// The number of hexadecimal digits of an endpoint id, which is public.
const ID_DIGITS: usize = 64;
/// The shortest run of letters and digits that is left out.
const MIN_RUN: usize = 4;

/// Returns a message about the command line without what may be an invitation; `None` if nothing in it may be.
///
/// Messages repeat arguments, those of the parser of the command line too, and an operator may paste an invitation anywhere.
pub(crate) fn without_secrets(message: &str) -> Option<String> {
    let arguments: Vec<_> = env::args_os().skip(1).map(|argument| argument.to_string_lossy().into_owned()).collect();
    without(message, &arguments)
}

fn without(message: &str, arguments: &[String]) -> Option<String> {
    let mut text = message.to_owned();
    for argument in arguments.iter().filter(|argument| may_be_invitation(argument)) {
        for run in runs(argument).filter(|run| run.len() >= MIN_RUN && !is_id(run)) {
            text = text.replace(run, "…");
        }
    }
    (text != message).then_some(text)
}

/// Whether an argument has as many letters and digits as a large piece of an invitation, and is neither words, a path nor a
/// URL.
fn may_be_invitation(argument: &str) -> bool {
    let letters: usize = runs(argument).filter(|run| !is_id(run)).map(str::len).sum();
    let is_long = runs(argument).any(|run| run.len() >= MIN_PIECE && !is_id(run));
    let lower = argument.to_ascii_lowercase();
    // A line that was broken with a backslash is no path, nor is one with a word of such a length.
    let joined = lower.replace("\\\r\n", "").replace("\\\n", "");
    let is_path = joined.contains(['/', '\\']) && !runs(&joined).any(|run| run.len() > MAX_WORD && !is_id(run));
    letters >= MIN_PIECE && (is_long || lower.contains("invite")) && !is_path
}

fn is_id(run: &str) -> bool {
    run.len() == ID_DIGITS && run.bytes().all(|byte| byte.is_ascii_hexdigit())
}

fn runs(text: &str) -> impl Iterator<Item = &str> {
    text.split(|letter: char| !letter.is_ascii_alphanumeric()).filter(|run| !run.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_be_an_invitation_is_left_out_and_everything_else_stays() {
        let id = "0ba2ff40c4d0b25bf5c26a13c0b3c2b6d8f79cc6a4d4a0c1a9a0a2b1a54d5e0c";
        let invitation = format!("invite{}", "abcdefgh234567".repeat(10));
        let of = |message: &str, argument: &str| without(message, &[argument.to_owned()]);
        for argument in [
            invitation.clone(),
            format!("\"{invitation}"),
            format!("--allow={}", invitation.to_uppercase()),
            format!("https://relay.example.org/{invitation}"),
            format!("{}\\\n{}", &invitation[..30], &invitation[30..60]),
        ] {
            let left = of(&format!("error: unexpected argument '{argument}' found"), &argument).unwrap();
            assert!(
                !left.to_lowercase().contains("abcdefgh") && left.starts_with("error: unexpected argument"),
                "{left}"
            );
        }
        for argument in [
            id,
            "--listen=127.0.0.1:9092",
            "St. Mary's Hospital of the Sisters",
            "/var/lib/funnel/0123456789abcdef0123",
        ] {
            assert_eq!(of(&format!("error: {argument} is wrong"), argument), None);
        }
    }
}
