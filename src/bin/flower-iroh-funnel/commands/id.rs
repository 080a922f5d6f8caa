//! `id`: the endpoint id, alone on stdout.

use flower_iroh_funnel::{EndpointId, FunnelConfig, FunnelConfigBuilder};

use super::{Failure, about, no_home_for, say};
use crate::args::{self, Common};

pub(crate) fn id(common: &Common, args: args::Id) -> Result<(), Failure> {
    say(own_id(&about(common, &args.configuration)?)?);
    Ok(())
}

/// The id of the key of the funnel that a command is about.
pub(super) fn own_id(about: &FunnelConfigBuilder) -> Result<EndpointId, Failure> {
    let key_file = about.key_file_path();
    let key_file = key_file.ok_or_else(|| Failure::usage(no_home_for("the key", "--key-file")))?;
    let config = FunnelConfig::builder().key_file(key_file).build()?;
    Ok(config.secret_key.expect("it has a key file").public())
}
