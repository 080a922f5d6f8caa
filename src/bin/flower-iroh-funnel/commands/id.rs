//! `id`: the endpoint id, alone on stdout.

use super::{Failure, load_key};
use crate::args::Common;

pub(crate) fn id(common: &Common) -> Result<(), Failure> {
    println!("{}", load_key(common.key_file.as_deref())?.public());
    Ok(())
}
