//! The command line.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;
use clap::{Args, Parser, Subcommand};
use ensemble_demo_model::{DemoModel, DemoOptions};
use ensemble_server::config::{Config, DEFAULT_FILE, DEMO_TOKENS_PER_SECOND, Sources, env_example};
use ensemble_server::lifecycle::{Outcome, on_signal};
use ensemble_server::{Server, VERSION, telemetry};
use ensemble_store::{Clock as _, SystemClock, backup, migrate, quarantine};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// A multiplayer code editor in which a fast code model is one more person at the table.
#[derive(Debug, Parser)]
#[command(name = "ensemble", version, args_conflicts_with_subcommands = true)]
pub(crate) struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    serve: Settings,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve documents, people and agents. The default.
    Serve(Settings),
    /// Serve the demo model alone, over the Responses protocol.
    DemoModel {
        /// Address and port to listen on.
        #[arg(long, default_value = "127.0.0.1:8090")]
        listen: SocketAddr,
        /// The speed of its output; 0 sends everything at once.
        #[arg(long, default_value_t = DEMO_TOKENS_PER_SECOND)]
        tokens_per_second: u32,
    },
    /// Bring the database up to date and exit.
    Migrate(Settings),
    /// Check the configuration and the database, and say what is wrong.
    Doctor {
        #[command(flatten)]
        settings: Settings,
        /// Print every environment variable with its default instead.
        #[arg(long)]
        env_example: bool,
    },
    /// Copy the database into a file, while the server goes on.
    Backup {
        /// The file to make; an older backup there is replaced.
        file: PathBuf,
        #[command(flatten)]
        settings: Settings,
    },
    /// Put a backup in the place of the database; stop the server first.
    Restore {
        /// The backup.
        file: PathBuf,
        /// Replace a database that is there; it is kept under another name.
        #[arg(long)]
        replace: bool,
        #[command(flatten)]
        settings: Settings,
    },
    /// Print the version.
    Version,
}

/// What can be set by flags. Everything has a variable and a key in `ensemble.toml` too.
#[derive(Debug, Default, Args)]
struct Settings {
    /// Address and port to listen on; port 0 takes any free one.
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<String>,
    /// Folder for the SQLite database.
    #[arg(long, value_name = "DIR")]
    data: Option<String>,
    /// Another place for the SQLite database.
    #[arg(long, value_name = "URL")]
    database_url: Option<String>,
    /// The bus between several servers.
    #[arg(long, value_name = "URL")]
    bus_url: Option<String>,
    /// What browsers call this server.
    #[arg(long, value_name = "URL")]
    public_url: Option<String>,
    /// Who may make projects: open or invite.
    #[arg(long, value_name = "WHO")]
    access: Option<String>,
    /// The configuration file, instead of `ensemble.toml` in this folder.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

impl Settings {
    fn read(self) -> anyhow::Result<Config> {
        let variables: BTreeMap<String, String> = std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .collect();
        let named = self.config.or_else(|| variables.get("ENSEMBLE_CONFIG").map(PathBuf::from));
        let path = named.clone().unwrap_or_else(|| DEFAULT_FILE.into());
        let file = match std::fs::read_to_string(&path) {
            Ok(text) => Some((path.display().to_string(), text)),
            Err(error) if named.is_none() && error.kind() == std::io::ErrorKind::NotFound => None,
            Err(error) => {
                return Err(error).with_context(|| format!("`{}` could not be read", path.display()));
            }
        };
        let flags = [
            ("http.listen", self.listen),
            ("database.data", self.data),
            ("database.url", self.database_url),
            ("database.bus_url", self.bus_url),
            ("http.public_url", self.public_url),
            ("auth.access", self.access),
        ];
        let flags = flags.into_iter().filter_map(|(key, value)| Some((key, value?))).collect();
        Ok(Config::read(&Sources { flags, variables, file })?)
    }
}

/// Does what the command line says.
pub(crate) async fn run(cli: Cli) -> anyhow::Result<ExitCode> {
    match cli.command.unwrap_or(Command::Serve(cli.serve)) {
        Command::Serve(settings) => serve(settings.read()?).await,
        Command::DemoModel { listen, tokens_per_second } => demo_model(listen, tokens_per_second).await,
        Command::Migrate(settings) => apply_migrations(&settings.read()?.database.file).await,
        Command::Doctor { env_example: true, .. } => {
            print!("{}", env_example());
            Ok(ExitCode::SUCCESS)
        }
        Command::Doctor { settings, .. } => doctor(settings).await,
        Command::Backup { file, settings } => back_up(&settings.read()?.database.file, &file).await,
        Command::Restore { file, replace, settings } => {
            restore(&file, &settings.read()?.database.file, replace).await
        }
        Command::Version => {
            println!("ensemble {VERSION}");
            Ok(ExitCode::SUCCESS)
        }
    }
}

async fn serve(config: Config) -> anyhow::Result<ExitCode> {
    telemetry::start(&config.log);
    for warning in &config.warnings {
        tracing::warn!("{warning}");
    }
    let listen = config.http.listen;
    let listener = TcpListener::bind(listen).await.with_context(|| {
        format!("`{listen}` cannot be listened on; is another server running there? choose with --listen")
    })?;
    let server = Server::build(config).await?;
    // Before the first line is out: whoever reads it may tell the server to stop at once.
    let shutdown = on_signal(server.hard_stop());
    for line in server.greeting(listener.local_addr()?) {
        println!("{line}");
    }
    let outcome = server.serve(listener, shutdown).await?;
    Ok(if outcome == Outcome::Clean { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn demo_model(listen: SocketAddr, tokens_per_second: u32) -> anyhow::Result<ExitCode> {
    let listener =
        TcpListener::bind(listen).await.with_context(|| format!("`{listen}` cannot be listened on"))?;
    let (stop, hard) = (CancellationToken::new(), CancellationToken::new());
    let signalled = on_signal(hard);
    println!("The demo model is ready at http://{}/v1", listener.local_addr()?);
    let started_at = SystemClock.now().unix_timestamp() as u64;
    let options = DemoOptions { tokens_per_second, started_at, ..DemoOptions::default() };
    let stopping = stop.clone();
    tokio::spawn(async move {
        signalled.await;
        stopping.cancel();
    });
    DemoModel::serve(listener, options, stop).await?;
    Ok(ExitCode::SUCCESS)
}

async fn apply_migrations(file: &Path) -> anyhow::Result<ExitCode> {
    if let Some(folder) = file.parent() {
        tokio::fs::create_dir_all(folder).await?;
    }
    let applied = migrate::apply(file).await?;
    for step in &applied {
        println!("applied {} {}", step.version, step.description);
    }
    println!("`{}` is up to date", file.display());
    Ok(ExitCode::SUCCESS)
}

async fn back_up(database: &Path, file: &Path) -> anyhow::Result<ExitCode> {
    let backup = backup::create(database, file).await?;
    println!(
        "`{}` holds {} documents with {} updates, {} bytes",
        backup.file.display(),
        backup.documents,
        backup.updates,
        backup.bytes
    );
    if backup.damaged_rows > 0 {
        // A copy of what is there, damage and all, is better than none; nobody should take it for whole.
        eprintln!("{} rows of the database are damaged, and so in the backup", backup.damaged_rows);
        return Ok(ExitCode::FAILURE);
    }
    Ok(ExitCode::SUCCESS)
}

async fn restore(file: &Path, database: &Path, replace: bool) -> anyhow::Result<ExitCode> {
    let existing = if replace { backup::Existing::Replace } else { backup::Existing::Keep };
    let restored = backup::restore(file, database, existing, &SystemClock).await?;
    println!("`{}` is what `{}` was", restored.database.display(), file.display());
    Ok(ExitCode::SUCCESS)
}

async fn doctor(settings: Settings) -> anyhow::Result<ExitCode> {
    let config = settings.read()?;
    println!("configuration: fine");
    for warning in &config.warnings {
        println!("  note: {warning}");
    }
    println!("listens on: {}", config.http.listen);
    println!("projects: {}", config.auth.access.as_str());
    println!("model: {} ({})", config.model.model(), config.model.provider());
    let file = &config.database.file;
    match migrate::pending(file).await {
        Ok(pending) if pending.is_empty() => {
            println!("database: `{}` is up to date", file.display());
            let aside = quarantine::kept_aside(file).await?;
            println!("refused updates kept aside: {}, {} bytes", aside.updates, aside.bytes);
        }
        Ok(pending) => {
            println!(
                "database: `{}` lacks {} steps; `ensemble serve` applies them",
                file.display(),
                pending.len()
            );
        }
        Err(error) => {
            println!("database: {error}");
            return Ok(ExitCode::FAILURE);
        }
    }
    Ok(ExitCode::SUCCESS)
}
