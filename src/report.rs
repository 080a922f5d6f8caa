//! How things are reported: an error with its causes in one line, and what is reported on a change alone or for some of those
//! that cause it.

mod chain;
mod fair_reports;
mod on_change;
mod stranger_log;

pub(crate) use self::{
    chain::chain,
    fair_reports::{Decision, FairReports, ReportLimits},
    on_change::OnChange,
    stranger_log::StrangerLog,
};
