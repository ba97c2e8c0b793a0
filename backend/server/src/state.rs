//! What handlers and sockets work with.

use std::sync::Arc;

use axum::extract::FromRef;
use ensemble_protocol::rest::Info;
use ensemble_store::{Clock, Ids, Store};
use ensemble_sync::registry::RoomRegistry;

use crate::auth::Auth;
use crate::commands::Commands;
use crate::config::{DocumentLimits, SocketRates, SocketTimes};
use crate::connections::Crowd;
use crate::lifecycle::Tasks;
use crate::rates::{Address, Rates};
use crate::routes::health::Readiness;
use crate::site::Site;

/// Handles to everything; cheap to clone.
#[derive(Clone)]
pub struct AppState {
    /// What is kept.
    pub store: Arc<dyn Store>,
    /// Live documents.
    pub rooms: RoomRegistry,
    /// Who is calling.
    pub auth: Auth,
    /// What can be done.
    pub commands: Commands,
    /// What this server is called from outside.
    pub site: Arc<Site>,
    /// What a page wants to know before anybody signed in.
    pub info: Arc<Info>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Ids and randomness.
    pub ids: Arc<dyn Ids>,
    /// The tasks of sockets.
    pub sockets: Tasks,
    /// How long sockets wait.
    pub times: SocketTimes,
    /// How fast sockets may send.
    pub pace: SocketRates,
    /// How often people may ask for what is dear.
    pub rates: Rates,
    /// How many documents there may be.
    pub documents: DocumentLimits,
    /// Places for sockets by address, where connections come from proxies.
    pub(crate) socket_places: Crowd<Address>,
    /// Whether the database answers.
    pub(crate) ready: Arc<Readiness>,
}

macro_rules! parts {
    ($($field:ident: $type:ty,)*) => {$(
        impl FromRef<AppState> for $type {
            fn from_ref(state: &AppState) -> Self {
                state.$field.clone()
            }
        }
    )*};
}

parts! {
    store: Arc<dyn Store>,
    rooms: RoomRegistry,
    auth: Auth,
    commands: Commands,
    site: Arc<Site>,
    info: Arc<Info>,
    clock: Arc<dyn Clock>,
    ids: Arc<dyn Ids>,
    rates: Rates,
    ready: Arc<Readiness>,
}
