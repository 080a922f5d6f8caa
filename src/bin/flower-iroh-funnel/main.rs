//! `flower-iroh-funnel`: the command that runs beside a Flower process.
#![cfg_attr(not(test), warn(clippy::unwrap_used))]

mod args;
mod clock;
mod commands;
mod descriptors;
mod expected;
mod numbers;
mod secrets;
mod signals;
mod telemetry;
mod umask;

use std::{
    io::{self, Write},
    process::ExitCode,
    time::Duration,
};

use clap::Parser;

use self::{
    args::{Args, Command},
    commands::{ExitError, USAGE},
};

/// How long shutdown waits for blocking tasks: a running DNS lookup cannot be cancelled.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(1);

fn main() -> ExitCode {
    umask::set();
    let args = match Args::try_parse() {
        Ok(args) => args,
        Err(error) => {
            // Fails only if the terminal is gone.
            let _ = match secrets::without_secrets(&error.to_string()) {
                Some(text) => io::stderr().write_all(text.as_bytes()),
                None => error.print(),
            };
            return if error.use_stderr() { ExitCode::from(USAGE) } else { ExitCode::SUCCESS };
        }
    };
    telemetry::init(args.common.log, args.common.verbose);
    match run(args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let text = error.to_string();
            let _ = writeln!(io::stderr(), "{}", secrets::without_secrets(&text).unwrap_or(text));
            error.exit_code()
        }
    }
}

fn run(args: Args) -> Result<(), ExitError> {
    if args.command.needs_clock() {
        clock::check()?;
    }
    if args.command.serves() {
        descriptors::raise_limit();
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(ExitError::of)?;
    let result = runtime.block_on(async {
        match args.command {
            Command::Id(id) => commands::id(&args.common, id),
            Command::Expose(expose) => commands::expose(&args.common, expose).await,
            Command::Join(join) => commands::join(&args.common, join).await,
            Command::Run(run) => commands::run(&args.common, run).await,
            Command::Invite(invite) => commands::invite(&args.common, invite).await,
            Command::Peers(peers) => commands::peers(&args.common, peers).await,
            Command::Relay(relay) => commands::relay(&args.common, relay).await,
        }
    });
    runtime.shutdown_timeout(SHUTDOWN_TIMEOUT);
    result
}
