//! The model that answers: a remote one, or the demo model started beside the server.

use std::sync::Arc;

use anyhow::Context as _;
use ensemble_demo_model::{DemoModel, DemoOptions};
use ensemble_model::{Capability, ModelProvider, ModelSettings, Transport as Wire, connect};
use ensemble_store::Clock;
use tokio::net::TcpListener;

use crate::config::{ModelConfig, Transport};
use crate::lifecycle::Tasks;

/// Makes the provider of the configured model. The demo model is started on a free local port and reached like
/// any other, so that offline is the same path as online.
pub(crate) async fn start(
    config: &ModelConfig,
    clock: &dyn Clock,
    tasks: &Tasks,
) -> anyhow::Result<Arc<dyn ModelProvider>> {
    let settings = match config {
        ModelConfig::Demo { tokens_per_second } => {
            let listener =
                TcpListener::bind("127.0.0.1:0").await.context("the demo model finds no free port")?;
            let address = listener.local_addr()?;
            let options = DemoOptions {
                tokens_per_second: *tokens_per_second,
                started_at: clock.now().unix_timestamp() as u64,
                ..DemoOptions::default()
            };
            let stop = tasks.stop.clone();
            tasks.spawn("demo model", async move {
                if let Err(error) = DemoModel::serve(listener, options, stop).await {
                    tracing::error!("the demo model stopped: {error}");
                }
            });
            ModelSettings::new("Demo model", "demo", &format!("http://{address}/v1"), Wire::ResponsesWs)
        }
        ModelConfig::Remote(remote) => {
            let transport = match remote.transport {
                Transport::ResponsesWs => Wire::ResponsesWs,
                Transport::ResponsesSse => Wire::ResponsesSse,
                Transport::Chat => Wire::Chat,
            };
            let mut settings = ModelSettings::new(&remote.model, &remote.model, &remote.base_url, transport);
            if let Some(edit_format) = remote.edit_format {
                settings.capability = Some(Capability { edit_format, ..Capability::of(&remote.model) });
            }
            match &remote.api_key {
                Some(key) => settings.with_api_key(key.clone()),
                None => settings,
            }
        }
    };
    connect(settings).context("the model cannot be used")
}
