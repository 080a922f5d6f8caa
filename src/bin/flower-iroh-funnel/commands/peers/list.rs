//! Prints the roster with the status of each peer.

use flower_iroh_funnel::{
    PeerStatus, StatusFile, Timestamp,
    protocol::ApiSet,
    roster::{Member, Pending, RosterFile, RosterHealth},
};
use serde::Serialize;

use super::super::{ExitError, print};
use crate::output::{self, one_line};

/// The output format of the list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    Table,
    Json,
}

impl From<bool> for Form {
    fn from(json: bool) -> Self {
        if json { Self::Json } else { Self::Table }
    }
}

/// A peer, or an invitation that no peer has used yet.
#[derive(Debug, Default, Serialize)]
struct Row {
    name: Option<String>,
    id: Option<String>,
    standing: &'static str,
    apis: Vec<&'static str>,
    seen: Option<Timestamp>,
    expires: Option<Timestamp>,
    path: Option<String>,
    sent: u64,
    received: u64,
}

pub(super) fn list(file: &RosterFile, form: Form) -> Result<(), ExitError> {
    let roster = file.load()?;
    let seen = StatusFile::of_roster(file.path()).load();
    let peers = roster.peers().iter().map(|member| Row::of_peer(member, seen.peers.get(&member.id)));
    let rows: Vec<_> = peers.chain(roster.invitations().iter().map(Row::of_invitation)).collect();
    if let Some(RosterHealth { since, problem: Some(problem), .. }) = &seen.roster {
        output::note(format_args!(
            "warning: the funnel has not followed this roster since {since}: {}; its last valid roster is in force",
            one_line(problem)
        ));
    }
    match form {
        Form::Json => serde_json::to_string_pretty(&rows).map_err(ExitError::of)?.lines().for_each(print),
        Form::Table => table(&rows).into_iter().for_each(print),
    }
    Ok(())
}

impl Row {
    fn of_peer(member: &Member, seen: Option<&PeerStatus>) -> Self {
        Self {
            name: member.name.as_ref().map(ToString::to_string),
            id: Some(member.id.to_string()),
            standing: member.standing.name(),
            apis: names(member.apis),
            seen: seen.map(|seen| seen.seen),
            expires: None,
            path: seen.and_then(|seen| seen.path.clone()),
            sent: seen.map_or(0, |seen| seen.sent),
            received: seen.map_or(0, |seen| seen.received),
        }
    }

    fn of_invitation(pending: &Pending) -> Self {
        let is_over = pending.expires <= Timestamp::now();
        Self {
            name: Some(pending.name.to_string()),
            standing: if is_over { "expired" } else { "invited" },
            apis: names(pending.apis),
            expires: Some(pending.expires),
            ..Self::default()
        }
    }

    fn cells(&self) -> [String; 8] {
        let or_dash = |text: &Option<String>| text.as_ref().map_or_else(|| "-".to_owned(), one_line);
        let seen = match self.expires {
            Some(expires) => format!("until {expires}"),
            None => self.seen.map_or_else(|| "never".to_owned(), |seen| seen.to_string()),
        };
        [
            or_dash(&self.name),
            self.standing.to_owned(),
            self.apis.join(","),
            seen,
            mebibytes(self.sent),
            mebibytes(self.received),
            or_dash(&self.id),
            or_dash(&self.path),
        ]
    }
}

fn table(rows: &[Row]) -> Vec<String> {
    if rows.is_empty() {
        return vec!["the roster is empty; invite a peer with: flower-iroh-funnel invite NAME".to_owned()];
    }
    let head = ["NAME", "STANDING", "APIS", "SEEN", "SENT", "RECEIVED", "ID", "PATH"].map(str::to_owned);
    let lines: Vec<_> = std::iter::once(head).chain(rows.iter().map(Row::cells)).collect();
    let width = |column: usize| lines.iter().map(|line| line[column].chars().count()).max().unwrap_or_default();
    let widths: [usize; 8] = std::array::from_fn(width);
    let line = |cells: &[String; 8]| {
        let padded = cells.iter().zip(widths).map(|(cell, width)| format!("{cell:<width$}"));
        padded.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    lines.iter().map(line).collect()
}

fn mebibytes(bytes: u64) -> String {
    format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20))
}

fn names(apis: ApiSet) -> Vec<&'static str> {
    apis.iter().map(|api| api.name()).collect()
}
