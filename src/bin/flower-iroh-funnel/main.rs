//! `flower-iroh-funnel`: the command that runs beside a Flower process.
#![cfg_attr(not(test), warn(clippy::unwrap_used))]

mod args;
mod clock;
mod commands;
mod descriptors;
mod expected;
mod numbers;
mod output;
mod secrets;
mod signals;
mod telemetry;
mod umask;

use std::{
    io::{self, IsTerminal, Write},
    process::ExitCode,
    time::Duration,
};

use clap::{Parser, error::Error as UsageError};

use self::{
    args::{Args, Command},
    commands::{ExitError, USAGE},
};

/// How long shutdown waits for blocking tasks: a running DNS lookup cannot be cancelled.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(1);

fn main() -> ExitCode {
    umask::set();
    if let Err(error) = output::start_stderr() {
        let _ = writeln!(io::stderr(), "error: no thread for stderr can be started: {error}");
        return ExitCode::FAILURE;
    }
    let status = match Args::try_parse() {
        Ok(args) => {
            telemetry::init(args.common.log, args.common.verbose);
            run(args).map_or_else(|error| report(&error), |()| ExitCode::SUCCESS)
        }
        Err(error) => usage(&error),
    };
    output::flush();
    status
}

/// Prints a mistake in the command line, or what `--help` and `--version` ask for.
fn usage(error: &UsageError) -> ExitCode {
    if !error.use_stderr() {
        // Fails only if the terminal is gone.
        let _ = error.print();
        return ExitCode::SUCCESS;
    }
    let text = error.render();
    if let Some(text) = secrets::without_secrets(&text.to_string()) {
        output::note(text);
        return ExitCode::from(USAGE);
    }
    match io::stderr().is_terminal() {
        true => output::coloured_note(&text.ansi().to_string()),
        false => output::note(text),
    }
    ExitCode::from(USAGE)
}

fn report(error: &ExitError) -> ExitCode {
    let text = error.to_string();
    output::note(secrets::without_secrets(&text).unwrap_or(text));
    error.exit_code()
}

fn run(args: Args) -> Result<(), ExitError> {
    if args.command.needs_clock() {
        clock::check()?;
    }
    if args.command.serves() {
        descriptors::raise_limit();
        output::start_stdout().map_err(ExitError::of)?;
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(ExitError::of)?;
    let result = runtime.block_on(async {
        if args.command.serves() {
            signals::keep_running_on_hangup().map_err(ExitError::of)?;
        }
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
