//! Prints the public API that a file of rustdoc's JSON describes, one item a line.

use std::{error::Error, io::Write};

fn main() -> Result<(), Box<dyn Error>> {
    let path = std::env::args_os().nth(1).ok_or("usage: public-api-lines FILE.json")?;
    // Blanket and auto trait implementations follow from what is listed, or from other crates.
    let api =
        public_api::Builder::from_rustdoc_json(path).omit_blanket_impls(true).omit_auto_trait_impls(true).build()?;
    write!(std::io::stdout(), "{api}")?;
    Ok(())
}
