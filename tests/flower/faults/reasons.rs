//! Why a funnel warns in a soak.

/// A part of a line, and what of the soak is behind it.
const REASONS: [(&str, &str); 0] = [];

/// The lines that nothing of the soak explains.
pub(crate) fn without_reason(lines: Vec<String>) -> impl Iterator<Item = String> {
    lines.into_iter().filter(|line| !REASONS.iter().any(|(part, _)| line.contains(part)))
}
