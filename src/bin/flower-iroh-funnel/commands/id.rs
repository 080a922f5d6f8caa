//! `id`: the endpoint id, alone on stdout.

use flower_iroh_funnel::{EndpointId, FunnelConfig};

use super::{Failure, say, with_options};
use crate::args::Common;

pub(crate) fn id(common: &Common) -> Result<(), Failure> {
    say(own_id(common)?);
    Ok(())
}

/// The id of the key that the options name.
pub(super) fn own_id(common: &Common) -> Result<EndpointId, Failure> {
    let config = with_options(FunnelConfig::builder(), common).build()?;
    Ok(config.secret_key.expect("the options name a key file").public())
}
