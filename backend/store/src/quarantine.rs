//! How many updates were kept aside instead of being applied, for whoever looks after a server.

use std::path::Path;

use crate::error::StoreError;
use crate::sqlite;

/// Updates kept aside at the most, over all documents; the oldest go first.
pub const QUARANTINE_UPDATES: u32 = 1_000;
/// Bytes of updates kept aside at the most, over all documents; the oldest go first.
pub const QUARANTINE_BYTES: u32 = 64 * 1024 * 1024;

/// What is kept aside.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct KeptAside {
    /// How many updates.
    pub updates: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// What is kept aside in the SQLite database at `path`, to which every migration was applied.
///
/// Fails with [`StoreError::InUse`] while a server has it open.
pub async fn kept_aside(path: impl AsRef<Path>) -> Result<KeptAside, StoreError> {
    let (_lock, mut connection) = sqlite::open_alone(path.as_ref()).await?;
    let (updates, bytes) = sqlite::count_quarantine(&mut connection).await?;
    Ok(KeptAside { updates, bytes })
}
