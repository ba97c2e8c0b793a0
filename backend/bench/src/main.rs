//! Load generator and kill test: drives the real server from outside, over its real wire.
//!
//! Every scenario starts its own servers on free ports of this machine, with their data in folders of their
//! own, prints one plain table, and writes its figures as JSON where it is told to. Absolute figures belong to
//! the machine they were taken on; what travels is the ratio to the bare relay measured in the same run.

mod agent;
mod api;
mod client;
mod crowd;
mod fanout;
mod hostile;
mod kill;
mod model;
mod random;
mod relay;
mod report;
mod server;
mod stage;
mod typing;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use clap::{Args, Parser, Subcommand};
use serde_json::{Value, json};

use crate::agent::AgentOptions;
use crate::crowd::CrowdOptions;
use crate::fanout::FanoutOptions;
use crate::hostile::HostileOptions;
use crate::kill::KillOptions;
use crate::server::ServerOptions;

/// Benchmarks of Ensemble and its kill test.
#[derive(Debug, Parser)]
#[command(name = "ensemble-bench", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    common: Common,
}

#[derive(Debug, Args)]
struct Common {
    /// The server's program; `ensemble` beside this one when left out.
    #[arg(long, global = true)]
    server: Option<PathBuf>,
    /// Where to write the figures as JSON.
    #[arg(long, global = true)]
    json: Option<PathBuf>,
    /// Do not keep the server and the load generator on cores of their own.
    #[arg(long, global = true)]
    no_pin: bool,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// One writer and many readers on one document, beside a bare relay.
    Fanout(FanoutOptions),
    /// A turn at a thousand tokens a second, as a listener sees it.
    Agent(AgentOptions),
    /// People who type in a long document, without a turn and with turns at several rates.
    Crowd(CrowdOptions),
    /// Kills the server while people type, and counts what was lost.
    Kill(KillOptions),
    /// Sends the server hostile bytes while people type, and looks whom that harmed.
    Hostile(HostileOptions),
    /// All of them, in less than five minutes.
    All(AllOptions),
    /// The bare relay, until it is killed.
    Relay,
}

#[derive(Debug, Clone, Args)]
struct AllOptions {
    /// How often the server is killed.
    #[arg(long, default_value_t = 30)]
    kills: usize,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    // Threads are counted before this program is moved off the server's core.
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("The program could not begin: {error}");
            return ExitCode::FAILURE;
        }
    };
    let outcome = runtime.block_on(async {
        tokio::select! {
            // Whatever was started is killed with the future that is dropped.
            outcome = run(&cli) => outcome,
            _ = tokio::signal::ctrl_c() => Err(anyhow::anyhow!("interrupted")),
            () = terminated() => Err(anyhow::anyhow!("terminated")),
        }
    });
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("It failed: {error:#}");
            ExitCode::FAILURE
        }
    }
}

#[cfg(unix)]
async fn terminated() {
    use tokio::signal::unix::{SignalKind, signal};
    match signal(SignalKind::terminate()) {
        Ok(mut signal) => drop(signal.recv().await),
        Err(_) => std::future::pending().await,
    }
}

#[cfg(not(unix))]
async fn terminated() {
    std::future::pending().await
}

async fn run(cli: &Cli) -> anyhow::Result<()> {
    if matches!(cli.command, Command::Relay) {
        return relay::serve().await;
    }
    let machine = report::machine();
    // Where nothing is measured that depends on it, more cores find more.
    let pinned = !cli.common.no_pin && !matches!(cli.command, Command::Kill(_) | Command::Hostile(_));
    let core = if pinned { server::take_core().await } else { None };
    println!(
        "{} cores, {} {}, {} build of this program{}",
        machine["cores"],
        machine["os"].as_str().unwrap_or_default(),
        machine["arch"].as_str().unwrap_or_default(),
        machine["profile"].as_str().unwrap_or_default(),
        if core.is_some() { ", servers kept on core 0 and the load off it" } else { "" },
    );
    if cfg!(debug_assertions) {
        println!("These are not benchmark figures: this is a debug build.");
    }
    let server = ServerOptions { program: program(cli.common.server.as_ref())?, env: hurried(), core };
    let mut figures = json!({"machine": machine, "pinned": core.is_some()});
    match &cli.command {
        Command::Fanout(options) => {
            let name = if options.saturate { "saturate" } else { "fanout" };
            figures[name] = Box::pin(fanout::run(options, &server)).await?;
        }
        Command::Agent(options) => figures["agent"] = Box::pin(agent::run(options, &server)).await?,
        Command::Crowd(options) => figures["crowd"] = Box::pin(crowd::run(options, &server)).await?,
        Command::Kill(options) => figures["kill"] = Box::pin(kill::run(options, &server)).await?,
        Command::Hostile(options) => figures["hostile"] = Box::pin(hostile::run(options, &server)).await?,
        Command::All(options) => all(options, &server, &mut figures).await?,
        Command::Relay => {}
    }
    match &cli.common.json {
        Some(path) => report::write(path, &figures),
        None => Ok(()),
    }
}

/// Runs the short set with every scenario's defaults.
async fn all(options: &AllOptions, server: &ServerOptions, figures: &mut Value) -> anyhow::Result<()> {
    let fanout = defaults::<FanoutOptions>()?;
    figures["fanout"] = Box::pin(fanout::run(&fanout, server)).await.context("fanout failed")?;
    let saturate = FanoutOptions { saturate: true, seconds: 4, ..fanout };
    figures["saturate"] = Box::pin(fanout::run(&saturate, server)).await.context("saturate failed")?;
    let agent = defaults::<AgentOptions>()?;
    figures["agent"] = Box::pin(agent::run(&agent, server)).await.context("agent failed")?;
    let crowd = defaults::<CrowdOptions>()?;
    figures["crowd"] = Box::pin(crowd::run(&crowd, server)).await.context("crowd failed")?;
    let kill = KillOptions { kills: options.kills, ..defaults::<KillOptions>()? };
    figures["kill"] = Box::pin(kill::run(&kill, server)).await.context("kill failed")?;
    Ok(())
}

/// The options as they are when nothing is said, so that a default stands in one place.
fn defaults<T: Args>() -> anyhow::Result<T> {
    let command = T::augment_args(clap::Command::new("defaults"));
    Ok(T::from_arg_matches(&command.try_get_matches_from(["defaults"])?)?)
}

/// One client of a benchmark does what many people do, and is not to be slowed down.
fn hurried() -> Vec<(String, String)> {
    ["FRAMES", "BYTES", "PRESENCE", "CALLS", "TURNS_PER_PERSON"]
        .map(|what| (format!("ENSEMBLE_LIMIT_{what}"), "1000000000/1000000000".to_owned()))
        .into()
}

fn program(given: Option<&PathBuf>) -> anyhow::Result<PathBuf> {
    let program = match given {
        Some(path) => path.clone(),
        None => std::env::current_exe()?.with_file_name("ensemble"),
    };
    match std::path::absolute(&program) {
        Ok(path) if path.is_file() => Ok(path),
        _ => {
            bail!("there is no server at `{}`: build it, or say where it is with --server", program.display())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_are_those_of_the_command_line() {
        assert_eq!(defaults::<KillOptions>().unwrap().kills, 30);
        assert_eq!(defaults::<FanoutOptions>().unwrap().readers, 20);
        assert_eq!(defaults::<AgentOptions>().unwrap().tokens_per_second, 1000);
    }
}
