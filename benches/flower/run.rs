//! The order of measurements: one way after the other, in each repeat.

use crate::{
    failure::Failure,
    flower::{Venv, Version},
    measurement, report,
    results::{Cell, Line},
    way::Way,
    writer::{Begun, Writer},
};

const FLWR: Version = Version::new(41, 0);

/// What is measured.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// How often the app runs each way
    #[arg(long, value_name = "N", default_value_t = 3)]
    pub(crate) repeat: usize,
    /// Size of the model
    #[arg(long, value_name = "MB", default_value_t = 100)]
    pub(crate) megabytes: u64,
    /// SuperNodes, each of which gets the model and sends one in every round
    #[arg(long, value_name = "N", default_value_t = 2)]
    pub(crate) nodes: usize,
    /// Rounds of training
    #[arg(long, value_name = "N", default_value_t = 3)]
    pub(crate) rounds: u64,
    /// The last part of the name of the file under benches/results
    #[arg(long, default_value = "flower")]
    pub(crate) name: String,
}

/// Measures, prints a table, and keeps everything in a file.
pub(crate) async fn run(args: &Args) -> Result<(), Failure> {
    let venv = Venv::prepare(FLWR, |step| eprintln!("flwr {FLWR}: {step}")).await?;
    let mut writer = Writer::create(&args.name)?;
    writer.write(&Line::Run(Begun::here(vec![format!("flwr {FLWR}")])?))?;
    let mut cells: Vec<Cell> = Vec::new();
    for repeat in 0..args.repeat {
        for way in Way::ALL {
            let cell = measurement::measure(&venv, way, repeat, args).await?;
            eprintln!("{}", report::progress(&cell));
            writer.write(&Line::Cell(cell.clone()))?;
            cells.push(cell);
        }
    }
    report::print(&cells);
    println!("\nraw results: {}", writer.path.display());
    Ok(())
}
