//! `id`: prints the endpoint id, alone on stdout.

use flower_iroh_funnel::{EndpointId, FunnelConfigBuilder, identity};

use super::{ExitError, managed_config, no_home_directory, print};
use crate::args::{self, Common};

pub(crate) fn id(common: &Common, args: args::Id) -> Result<(), ExitError> {
    print(own_id(&managed_config(common, &args.configuration)?)?);
    Ok(())
}

/// Returns the endpoint id of the funnel that a command manages.
pub(super) fn own_id(config: &FunnelConfigBuilder) -> Result<EndpointId, ExitError> {
    let key_file = config.key_file_path();
    let key_file = key_file.ok_or_else(|| ExitError::usage(no_home_directory("the key", "--key-file")))?;
    let key = identity::load_or_create(key_file).map_err(|error| {
        let is_mistake = error.is_mistake();
        ExitError::of(error).or_usage(is_mistake)
    });
    Ok(key?.public())
}
