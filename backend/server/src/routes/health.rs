//! Whether the server is alive, and whether it can do its work.

use std::sync::Arc;

use axum::extract::State;
use ensemble_protocol::error::Problem;
use ensemble_protocol::limits;
use ensemble_store::{Health, Store, StoreError};
use tokio::sync::Mutex;
use tokio::time::Instant;

use crate::error::ApiError;

/// The process answers.
#[utoipa::path(get, path = "/health/live", tag = "health", responses((status = 200, description = "It does", body = String)))]
pub(crate) async fn live() -> &'static str {
    "alive\n"
}

/// The database answers reads and takes writes.
#[utoipa::path(get, path = "/health/ready", tag = "health", responses(
    (status = 200, description = "It does", body = String),
    (status = 503, description = "It does not", body = Problem),
))]
pub(crate) async fn ready(
    State(store): State<Arc<dyn Store>>,
    State(ready): State<Arc<Readiness>>,
) -> Result<&'static str, ApiError> {
    ready.check(|| store.ping()).await?;
    let health = store.health().borrow().clone();
    match health {
        Health::Healthy => Ok("ready\n"),
        Health::Degraded { .. } => {
            Err(ApiError::busy("the database takes no writes at the moment; they wait"))
        }
    }
}

/// Whether the database answered lately. Anybody may ask, so it is asked for all of them at once.
#[derive(Debug, Default)]
pub(crate) struct Readiness {
    answered: Mutex<Option<(Instant, Result<(), ApiError>)>>,
}

impl Readiness {
    /// Asks the database, unless it has just answered: of many who ask while it takes its time, none waits for it
    /// again.
    async fn check<F: Future<Output = Result<(), StoreError>>>(
        &self,
        ask: impl FnOnce() -> F,
    ) -> Result<(), ApiError> {
        let mut answered = self.answered.lock().await;
        if let Some((at, answer)) = &*answered
            && at.elapsed() < limits::READY_CHECK
        {
            return answer.clone();
        }
        let answer = ask().await.map_err(ApiError::from);
        *answered = Some((Instant::now(), answer.clone()));
        answer
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_database_is_asked_once_a_second() {
        let (ready, asked) = (Readiness::default(), Cell::new(0));
        let ask = async |answer: Result<(), StoreError>| {
            let ask = async || {
                asked.set(asked.get() + 1);
                answer
            };
            ready.check(ask).await.is_ok()
        };
        for _ in 0..100 {
            assert!(ask(Ok(())).await);
        }
        assert_eq!(asked.get(), 1);
        tokio::time::advance(limits::READY_CHECK).await;
        assert!(!ask(Err(StoreError::Closed)).await);
        assert!(!ask(Ok(())).await, "nor is it asked more often while it fails");
        assert_eq!(asked.get(), 2);
        tokio::time::advance(limits::READY_CHECK).await;
        assert!(ask(Ok(())).await);
        assert_eq!(asked.get(), 3);
    }
}
