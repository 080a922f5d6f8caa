//! Why a funnel warns in a soak.

/// A part of a line, and what of the soak is behind it.
const REASONS: [(&str, &str); 17] = [
    ("the peer fell silent", "the other funnel was killed or frozen"),
    ("the peer restarted", "the other funnel was killed"),
    ("the link is silent and was replaced", "the other funnel was frozen, and answers again"),
    ("cannot reach peer", "the other funnel was killed or frozen"),
    ("not admitted; to admit it", "a stranger"),
    ("not admitted: too many peers", "strangers"),
    ("so many attempts were not reported before", "strangers"),
    ("no byte of the request has arrived", "an upload stood still"),
    ("calls were cut", "a funnel was stopped while uploads stood still"),
    ("cannot write the status of peers", "the disk was full, or no descriptors were left"),
    ("the audit log cannot be written", "the disk was full"),
    ("the audit log cannot be opened again", "the disk was full, or no descriptors were left"),
    ("the last valid roster stays in force", "no descriptors were left"),
    ("cannot accept local connections", "no descriptors were left"),
    ("the control socket cannot accept connections", "no descriptors were left"),
    ("lines of the log were dropped", "nobody read the log"),
    ("the SuperLink has not answered for", "the SuperLink was restarted"),
];

/// The lines that nothing of the soak explains.
pub(crate) fn without_reason(lines: Vec<String>) -> impl Iterator<Item = String> {
    lines.into_iter().filter(|line| !REASONS.iter().any(|(part, _)| line.contains(part)))
}
