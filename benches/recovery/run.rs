//! The order of measurements: in each repeat, every row happens to every tunnel, on one link.

use clap::ValueEnum;
use lab::Link;

use crate::{
    children, dumbpipe,
    failure::{Context, Failure},
    hosts::{CONDITIONS, Hosts},
    metric::Metrics,
    report,
    results::{Cell, Line},
    row::Row,
    server::Server,
    tunnel::{Kind, Tunnel},
    writer::{Begun, Writer},
};

/// What is measured.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The rows to measure [default: all]
    #[arg(long, value_name = "ROWS", value_delimiter = ',')]
    only: Vec<Row>,
    /// Whose tunnels [default: funnel, and dumbpipe where the bench `compare` has installed it]
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    tunnels: Vec<Kind>,
    /// How often everything is measured
    #[arg(long, value_name = "N", default_value_t = 5)]
    repeat: usize,
    /// The last part of the name of the file under benches/results
    #[arg(long, default_value = "recovery")]
    name: String,
}

/// Measures, prints a table, and keeps everything in a file.
pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    lab::available()?;
    children::end_when_interrupted()?;
    let kinds = kinds(args)?;
    let rows = if args.only.is_empty() { Row::value_variants() } else { &args.only };
    let mut writer = Writer::create(&args.name)?;
    writer.write(&Line::Run(Begun::here(vec![format!("dumbpipe {}", dumbpipe::VERSION)])?))?;
    let mut cells = Vec::new();
    for repeat in 0..args.repeat {
        let link = Link::new(CONDITIONS).context("an emulated link")?;
        let measured = link.assert_as_asked()?.to_string();
        writer.write(&Line::Site { asked: CONDITIONS.to_string(), measured })?;
        let server = Server::start(link.right())?;
        for &row in rows {
            for &tunnel in &kinds {
                let cell = Cell::new(row, tunnel, repeat, measure(row, tunnel, repeat, &link, &server));
                eprintln!("{}", report::progress(&cell));
                writer.write(&Line::Cell(cell.clone()))?;
                cells.push(cell);
            }
        }
    }
    report::print(&cells, rows, &kinds);
    println!("\nraw results: {}", writer.path.display());
    Ok(())
}

fn kinds(args: &Args) -> Result<Vec<Kind>, Failure> {
    if args.tunnels.contains(&Kind::Dumbpipe) {
        dumbpipe::install()?;
    }
    if !args.tunnels.is_empty() {
        return Ok(args.tunnels.clone());
    }
    if dumbpipe::is_installed() {
        return Ok(Kind::value_variants().to_vec());
    }
    eprintln!("without dumbpipe, which is not installed: --tunnels funnel,dumbpipe installs it");
    Ok(vec![Kind::Funnel])
}

fn measure(row: Row, kind: Kind, repeat: usize, link: &Link, server: &Server) -> Result<Metrics, Failure> {
    let tunnel = Tunnel::start(kind, link, server.addr)?;
    row.measure(&mut Hosts::with(link, server, tunnel)?, repeat)
}

impl Cell {
    fn new(row: Row, tunnel: Kind, repeat: usize, measured: Result<Metrics, Failure>) -> Self {
        let (metrics, failure) = match measured {
            Ok(metrics) => (metrics, None),
            Err(failure) => (Metrics::new(), Some(failure.to_string())),
        };
        Self { row, tunnel, repeat, metrics, failure }
    }
}
