//! `id`: the endpoint id, alone on stdout.

use flower_iroh_funnel::FunnelConfig;

use super::{Failure, say, with_options};
use crate::args::Common;

pub(crate) fn id(common: &Common) -> Result<(), Failure> {
    let config = with_options(FunnelConfig::builder(), common).build()?;
    let key = config.secret_key.expect("the options name a key file");
    say(key.public());
    Ok(())
}
