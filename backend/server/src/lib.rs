//! HTTP, WebSocket, sign-in, start and stop.
//!
//! In reading order: [`config`] is what an operator sets, [`Server`] below puts everything together, `router` is
//! every route in one table. [`auth`] finds out who is calling and [`access`] decides what they may do;
//! [`commands`] is what can be done, by HTTP (`routes`) and by JSON-RPC alike. `socket` speaks both sync
//! protocols. `error` is where an error becomes a response, [`lifecycle`] is how things stop.
//! How documents live, how turns work and how models are reached is left to the crates below.

pub mod access;
mod assets;
pub mod auth;
pub mod commands;
pub mod config;
mod connections;
mod error;
mod extract;
pub mod lifecycle;
mod middleware;
mod models;
mod rates;
mod router;
mod routes;
mod sessions;
pub mod site;
mod socket;
pub mod state;
pub mod telemetry;

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::Context as _;
use ensemble_agent::{AgentCard, Supervisor, SupervisorOptions};
use ensemble_protocol::id::NodeId;
use ensemble_protocol::rest::{Access, Info, ModelInfo};
use ensemble_store::{Clock, Ids, InFlight, SqliteStore, Store, SystemClock, SystemIds};
use ensemble_sync::registry::{Lost, RegistryOptions, RoomRegistry};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::auth::Auth;
use crate::commands::{Commands, Parts};
use crate::config::Config;
use crate::connections::{Connections, Crowd};
pub use crate::error::ApiError;
use crate::lifecycle::{Outcome, Tasks};
pub use crate::router::description;
use crate::site::Site;
use crate::state::AppState;

/// The version of the program.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The agent every project has, as people see it.
const AGENT_ID: &str = "agent";
const AGENT_NAME: &str = "Agent";
const AGENT_COLOR: &str = "#7c3aed";
/// How long after a backup was restored people may bring back what is newer: a laptop may be shut for a week.
const BROUGHT_BACK: time::Duration = time::Duration::days(14);

/// A server, ready to serve.
pub struct Server {
    config: Config,
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    ids: Arc<dyn Ids>,
    auth: Auth,
    rooms: RoomRegistry,
    commands: Commands,
    /// Ends everything at once.
    hard: CancellationToken,
    models: Tasks,
    room_tasks: Tasks,
    turn_tasks: Tasks,
    command_tasks: Tasks,
    socket_tasks: Tasks,
    is_empty: bool,
}

impl Server {
    /// Opens the database, starts what answers prompts, and closes what an earlier run left unfinished.
    pub async fn build(config: Config) -> anyhow::Result<Self> {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let ids: Arc<dyn Ids> = Arc::new(SystemIds);
        if let Some(folder) = config.database.file.parent() {
            tokio::fs::create_dir_all(folder)
                .await
                .with_context(|| format!("the folder `{}` could not be made", folder.display()))?;
        }
        let store: Arc<dyn Store> =
            Arc::new(SqliteStore::open(&config.database.file, clock.clone()).await.with_context(|| {
                format!("the database `{}` could not be opened", config.database.file.display())
            })?);

        let hard = CancellationToken::new();
        let models = Tasks::under(&hard);
        let room_tasks = Tasks::under(&hard);
        let turn_tasks = Tasks::under(&hard);
        let command_tasks = Tasks::under(&hard);
        let socket_tasks = Tasks::under(&hard);

        let node = NodeId::from_uuid(ids.uuid());
        let rooms = RoomRegistry::new(
            RegistryOptions { store: store.clone(), clock: clock.clone(), ids: ids.clone(), node },
            room_tasks.tracker.clone(),
            room_tasks.stop.clone(),
        );
        rooms.remember_in_flight(&InFlight::path_beside(&config.database.file)).with_context(|| {
            format!("the folder of `{}` cannot be written in", config.database.file.display())
        })?;
        let recovery = store.recovery();
        if recovery.restored_at.is_some_and(|at| clock.now() - at < BROUGHT_BACK) {
            rooms.recover_all(Lost::SinceBackup);
        } else if recovery.unclean_stop {
            rooms.recover_all(Lost::Uncommitted);
        }
        let connections = &config.limits.connections;
        let places = Crowd::new(connections.most, connections.sockets_per_person);
        let auth = Auth::new(store.clone(), clock.clone(), ids.clone(), places, command_tasks.clone());
        auth.remember_first_link().await.context("the links of the database could not be read")?;
        let commands = Commands::new(Parts {
            store: store.clone(),
            rooms: rooms.clone(),
            auth: auth.clone(),
            clock: clock.clone(),
            ids: ids.clone(),
            access: config.auth.access,
            tasks: command_tasks.clone(),
            rates: rates::Rates::new(&config.limits.requests, &config.limits.pace),
            documents: config.limits.documents,
        });
        let provider = models::start(&config.model, &*clock, &models).await?;
        let turns = Supervisor::new(
            SupervisorOptions {
                store: store.clone(),
                rooms: rooms.clone(),
                clock: clock.clone(),
                ids: ids.clone(),
                node,
                provider,
                agent: AgentCard {
                    id: AGENT_ID.into(),
                    name: AGENT_NAME.into(),
                    color: AGENT_COLOR.into(),
                    model: config.model.model().into(),
                    demo: config.model.is_demo(),
                },
                documents: commands.for_agents(),
            },
            turn_tasks.tracker.clone(),
            turn_tasks.stop.clone(),
        );
        commands.set_turns(turns.clone());
        let left = turns.recover().await.context("the turns of the last run could not be read")?;
        if left > 0 {
            info!(turns = left, "marked {left} turns of the last run as interrupted");
        }
        let is_empty = !store.has_projects().await?;
        Ok(Self {
            config,
            store,
            clock,
            ids,
            auth,
            rooms,
            commands,
            hard,
            models,
            room_tasks,
            turn_tasks,
            command_tasks,
            socket_tasks,
            is_empty,
        })
    }

    /// The lines a program or a person who started the server wants to see.
    ///
    /// Where nobody owns anything yet, the second one is a link that asks for no account.
    pub fn greeting(&self, address: SocketAddr) -> Vec<String> {
        let site = Site::new(&self.config.http, address);
        let url = site.url();
        let mut lines = vec![format!("Ensemble is ready at {url}")];
        if self.is_empty {
            lines.push(match self.config.auth.access {
                Access::Open => format!("Start here: {url}/"),
                Access::Invite => format!("Start here: {url}/join#{}", self.auth.new_first_secret().reveal()),
            });
        }
        lines
    }

    /// Ends everything at once when cancelled.
    pub fn hard_stop(&self) -> CancellationToken {
        self.hard.clone()
    }

    /// Serves until told to stop, then stops in stages; whether that left nothing undone.
    pub async fn serve(
        self,
        listener: TcpListener,
        shutdown: impl Future<Output = ()>,
    ) -> io::Result<Outcome> {
        let address = listener.local_addr()?;
        let site = Arc::new(Site::new(&self.config.http, address));
        if !site.is_secure() {
            warn!(
                "cookies are sent in the clear, because {} is neither https nor this machine; put a proxy with TLS in front and set `ENSEMBLE_PUBLIC_URL`",
                site.url()
            );
        }
        let info = Info {
            version: VERSION.into(),
            access: self.config.auth.access,
            model: ModelInfo {
                name: self.config.model.model().into(),
                provider: self.config.model.provider().into(),
                demo: self.config.model.is_demo(),
            },
            secure: site.is_secure(),
        };
        let connections = self.config.limits.connections;
        let state = AppState {
            store: self.store.clone(),
            rooms: self.rooms.clone(),
            auth: self.auth.clone(),
            commands: self.commands.clone(),
            site,
            info: Arc::new(info),
            clock: self.clock.clone(),
            ids: self.ids.clone(),
            sockets: self.socket_tasks.clone(),
            times: self.config.limits.sockets,
            pace: self.config.limits.pace,
            rates: self.commands.rates.clone(),
            documents: self.config.limits.documents,
            socket_places: Crowd::new(connections.most, connections.per_address),
            ready: Arc::default(),
        };
        let http = Tasks::under(&self.hard);
        let connections = Connections {
            proxied: state.rates.is_proxied(),
            ids: state.ids.clone(),
            app: router::router(state),
            limits: connections,
            tasks: http.clone(),
        };
        let accepting = http.spawn("http", connections.accept(listener));
        let times = self.config.limits.sockets;
        let expiry = self.auth.clone().close_expired(times.expiry, times.recheck, http.stop.clone());
        http.spawn("expiry", expiry);
        info!("listening on {address}");

        tokio::select! {
            () = shutdown => {}
            // Without a listener there is nothing left to do.
            _ = accepting => warn!("the server stopped listening"),
            () = self.hard.cancelled() => {}
        }
        Ok(self.stop(&http).await)
    }

    async fn stop(self, http: &Tasks) -> Outcome {
        let hard = self.hard.clone();
        let limit = self.config.limits.shutdown;
        let store = self.store.clone();
        let staged = async {
            http.stop.cancel();
            // Sockets and turns first: both still write to rooms. Rooms next: they still write to the store.
            let edge = tokio::join!(
                self.socket_tasks.finish("sockets", limit),
                self.turn_tasks.finish("turns", limit),
                self.command_tasks.finish("commands", limit),
                http.finish("HTTP connections", limit),
            );
            let rooms = self.room_tasks.finish("rooms", limit).await;
            let models = self.models.finish("models", limit).await;
            edge.0.and(edge.1).and(edge.2).and(edge.3).and(rooms).and(models)
        };
        let outcome = tokio::select! {
            outcome = staged => outcome,
            () = hard.cancelled() => Outcome::Unclean,
        };
        store.close().await;
        match outcome {
            Outcome::Clean => info!("stopped"),
            Outcome::Unclean => warn!("stopped with something left undone"),
        }
        outcome
    }
}
