//! What was being applied when the process died.
//!
//! A few bytes of a bad update can end the process inside the CRDT library. Its author sends it again
//! within seconds, and a committed one is read from the log at the next start, so the crash would repeat.
//! So each room writes down the update it is about to apply, in a slot of a small file, and empties the
//! slot afterwards. Nothing waits for the disk: what is written survives the death of the process, and a
//! power failure ends no process because of an update.
//!
//! A process can also be killed from outside while it happens to apply an update of somebody honest. The file
//! cannot tell, so the first death is only noted, and the note stays in the file of the runs that follow.

use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use ensemble_protocol::id::DocumentId;
use tracing::warn;

use crate::record::Hash;

/// Name of the file, in the folder of the database.
const FILE_NAME: &str = "in-flight";

/// Document, hash, state and check, with room to spare; a slot never crosses a page.
const SLOT_BYTES: usize = 64;

/// Where the state stands in a slot.
const STATE: usize = 48;

/// The state of a slot whose update is being applied.
const BUSY: u8 = 1;

/// The state of a slot that notes an update an earlier process died at.
const NOTED: u8 = 2;

/// Where the check stands: all eight-byte words before it, combined.
const CHECK: usize = 56;

/// Most slots that are read back. Rooms are bounded far below; a larger file is not ours.
const MOST_SLOTS: usize = 65_536;

/// The file of updates that are being applied. Cloning gives another handle on the same file.
#[derive(Debug, Clone)]
pub struct InFlight(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    file: File,
    slots: Mutex<Slots>,
    /// Whether a failure to write was told already.
    told: AtomicBool,
}

/// Slot 0 is the head of the file.
#[derive(Debug, Default)]
struct Slots {
    used: Vec<Option<Entry>>,
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    document: DocumentId,
    in_flight: Option<Hash>,
    /// Whether its [`Slot`] is still there.
    held: bool,
}

impl InFlight {
    /// Stands for loading the document, which may end the process as well as an update can.
    pub const LOADING: Hash = Hash([0; 32]);

    /// Where the file of a database is.
    pub fn path_beside(database: &Path) -> PathBuf {
        database.with_file_name(FILE_NAME)
    }

    /// What was being applied or loaded when the last process died.
    ///
    /// Nothing when there is no such file, or when the machine was started anew since: then it was not an
    /// update that ended the process, and what the disk kept of the file may be old.
    pub fn read(path: impl AsRef<Path>) -> io::Result<Vec<(DocumentId, Hash)>> {
        Self::slots_in(path.as_ref(), BUSY)
    }

    /// What processes before the last one had died at, as far as [`note`](Self::note) was told.
    pub fn noted(path: impl AsRef<Path>) -> io::Result<Vec<(DocumentId, Hash)>> {
        Self::slots_in(path.as_ref(), NOTED)
    }

    fn slots_in(path: &Path, state: u8) -> io::Result<Vec<(DocumentId, Hash)>> {
        let mut bytes = Vec::new();
        match File::open(path) {
            Ok(file) => file.take((MOST_SLOTS * SLOT_BYTES) as u64).read_to_end(&mut bytes)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        let (slots, _rest) = bytes.as_chunks::<SLOT_BYTES>();
        let Some((first, slots)) = slots.split_first() else { return Ok(Vec::new()) };
        if *first != head() {
            return Ok(Vec::new());
        }
        Ok(slots.iter().filter_map(|slot| decode(slot, state)).collect())
    }

    /// Makes the file anew, empty.
    ///
    /// What [`read`](Self::read) gives must have been dealt with before: it is gone after this.
    pub fn open(path: impl AsRef<Path>) -> io::Result<Self> {
        let file = File::options().create(true).write(true).truncate(true).mode(0o600).open(path)?;
        file.write_all_at(&head(), 0)?;
        let slots = Mutex::new(Slots { used: vec![None] });
        // The head's place is never given away.
        Ok(Self(Arc::new(Shared { file, slots, told: AtomicBool::new(false) })))
    }

    /// Notes for the next processes that one died at this update.
    pub fn note(&self, document: DocumentId, hash: Hash) -> io::Result<()> {
        let number = self.place(document)?;
        self.0.file.write_all_at(&encode(document, hash, NOTED), offset(number))
    }

    /// A slot for a room, to be kept as long as the room is open.
    pub fn slot(&self, document: DocumentId) -> io::Result<Slot> {
        Ok(Slot { file: self.clone(), number: self.place(document)?, document })
    }

    fn place(&self, document: DocumentId) -> io::Result<usize> {
        let mut slots = self.0.lock();
        let free = slots.used.iter().skip(1).position(Option::is_none).map(|found| found + 1);
        let number = free.unwrap_or(slots.used.len());
        // Now, so that there is room for it on the disk.
        self.0.file.write_all_at(&[0; SLOT_BYTES], offset(number))?;
        let entry = Some(Entry { document, in_flight: None, held: true });
        match free {
            Some(number) => slots.used[number] = entry,
            None => slots.used.push(entry),
        }
        Ok(number)
    }

    /// What is being applied or loaded now; also by rooms that died of it within this process.
    pub fn now(&self) -> Vec<(DocumentId, Hash)> {
        let slots = self.0.lock();
        slots.used.iter().flatten().filter_map(|entry| Some((entry.document, entry.in_flight?))).collect()
    }

    /// Forgets what rooms of this document left behind when they died. Their update must have been dealt
    /// with before.
    pub fn forget(&self, document: DocumentId) {
        let mut slots = self.0.lock();
        for (number, place) in slots.used.iter_mut().enumerate() {
            if place.is_some_and(|entry| entry.document == document && !entry.held) {
                *place = None;
                self.0.write(&[0], offset(number) + STATE as u64);
            }
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Slots> {
        self.slots.lock().expect("nothing panics while it holds the slots")
    }

    /// This is a second wall, and no reason to stop people's typing when it cannot be kept up.
    fn write(&self, bytes: &[u8], at: u64) {
        if let Err(error) = self.file.write_all_at(bytes, at)
            && !self.told.swap(true, Ordering::Relaxed)
        {
            warn!(%error, "updates in flight cannot be written down; should one end the process, it may do so again");
        }
    }
}

/// A room's place in the file.
///
/// Dropped while an update is in flight, that is, by a panic, it leaves the update on record until
/// [`InFlight::forget`].
#[derive(Debug)]
pub struct Slot {
    file: InFlight,
    number: usize,
    document: DocumentId,
}

impl Slot {
    /// Writes down that the update with this hash is about to be applied.
    pub fn begin(&mut self, hash: Hash) {
        self.file.0.write(&encode(self.document, hash, BUSY), offset(self.number));
        self.set(Some(hash));
    }

    /// Writes down that the document is about to be loaded.
    pub fn begin_loading(&mut self) {
        self.begin(InFlight::LOADING);
    }

    /// Writes down that it was applied, or loaded, and the process still lives.
    pub fn end(&mut self) {
        self.file.0.write(&[0], offset(self.number) + STATE as u64);
        self.set(None);
    }

    fn set(&self, in_flight: Option<Hash>) {
        if let Some(entry) = &mut self.file.0.lock().used[self.number] {
            entry.in_flight = in_flight;
        }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut slots = self.file.0.lock();
        let place = &mut slots.used[self.number];
        match place {
            Some(entry) if entry.in_flight.is_some() => entry.held = false,
            _ => *place = None,
        }
    }
}

fn offset(number: usize) -> u64 {
    (number * SLOT_BYTES) as u64
}

/// Says what the file is and which start of the machine it is from, where the system tells.
fn head() -> [u8; SLOT_BYTES] {
    let mut head = [0; SLOT_BYTES];
    head[..8].copy_from_slice(b"inflight");
    if let Ok(boot) = std::fs::read("/proc/sys/kernel/random/boot_id") {
        let length = boot.len().min(SLOT_BYTES - 8);
        head[8..8 + length].copy_from_slice(&boot[..length]);
    }
    head
}

fn encode(document: DocumentId, hash: Hash, state: u8) -> [u8; SLOT_BYTES] {
    let mut slot = [0; SLOT_BYTES];
    slot[..16].copy_from_slice(document.as_bytes());
    slot[16..STATE].copy_from_slice(&hash.0);
    slot[STATE] = state;
    let check = check(&slot);
    slot[CHECK..].copy_from_slice(&check.to_le_bytes());
    slot
}

fn decode(slot: &[u8; SLOT_BYTES], state: u8) -> Option<(DocumentId, Hash)> {
    if slot[STATE] != state || slot[CHECK..] != check(slot).to_le_bytes() {
        return None;
    }
    Some((DocumentId::from_slice(&slot[..16])?, Hash(slot[16..STATE].try_into().ok()?)))
}

fn check(slot: &[u8; SLOT_BYTES]) -> u64 {
    let (words, _) = slot[..CHECK].as_chunks::<8>();
    words.iter().fold(0, |sum: u64, word| sum.rotate_left(7) ^ u64::from_le_bytes(*word))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::{Ids as _, SeededIds};

    fn document(ids: &SeededIds) -> DocumentId {
        DocumentId::from_uuid(ids.uuid())
    }

    #[test]
    fn what_was_begun_and_not_ended_is_read_back() {
        let folder = tempfile::tempdir().unwrap();
        let path = InFlight::path_beside(&folder.path().join("ensemble.db"));
        let ids = SeededIds::new(1);
        assert_eq!(InFlight::read(&path).unwrap(), []);
        let file = InFlight::open(&path).unwrap();
        let (first, second, third) = (document(&ids), document(&ids), document(&ids));
        let mut slots = [first, second, third].map(|document| file.slot(document).unwrap());
        for slot in &mut slots {
            slot.begin(Hash([1; 32]));
            slot.end();
        }
        assert_eq!(InFlight::read(&path).unwrap(), []);
        slots[0].begin(Hash([2; 32]));
        slots[2].begin_loading();
        let expected = [(first, Hash([2; 32])), (third, InFlight::LOADING)];
        assert_eq!(InFlight::read(&path).unwrap(), expected);
        assert_eq!(file.now(), expected);
        slots[0].end();
        slots[0].begin(Hash([3; 32]));
        slots[2].end();
        assert_eq!(InFlight::read(&path).unwrap(), [(first, Hash([3; 32]))]);
        // The next run begins with an empty one.
        InFlight::open(&path).unwrap();
        assert_eq!(InFlight::read(&path).unwrap(), []);
    }

    #[test]
    fn a_room_that_dies_leaves_its_update_on_record() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("in-flight");
        let ids = SeededIds::new(2);
        let file = InFlight::open(&path).unwrap();
        let dying = document(&ids);
        let mut slot = file.slot(dying).unwrap();
        slot.begin(Hash([5; 32]));
        drop(slot);
        // Its successor, and others, do not disturb it.
        let mut successor = file.slot(dying).unwrap();
        successor.begin(Hash([6; 32]));
        successor.end();
        assert_eq!(InFlight::read(&path).unwrap(), [(dying, Hash([5; 32]))]);
        file.forget(dying);
        assert_eq!(InFlight::read(&path).unwrap(), []);
        assert_eq!(file.now(), []);
        successor.begin(Hash([7; 32]));
        file.forget(dying);
        assert_eq!(file.now(), [(dying, Hash([7; 32]))], "a room that lives is not forgotten");
    }

    #[test]
    fn a_note_stays_and_disturbs_no_room() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("in-flight");
        let ids = SeededIds::new(5);
        let file = InFlight::open(&path).unwrap();
        let one = document(&ids);
        file.note(one, Hash([1; 32])).unwrap();
        let mut slot = file.slot(one).unwrap();
        slot.begin(Hash([2; 32]));
        assert_eq!(InFlight::read(&path).unwrap(), [(one, Hash([2; 32]))]);
        assert_eq!(file.now(), [(one, Hash([2; 32]))]);
        slot.end();
        file.forget(one);
        assert_eq!(InFlight::read(&path).unwrap(), []);
        assert_eq!(InFlight::noted(&path).unwrap(), [(one, Hash([1; 32]))]);
    }

    #[test]
    fn places_are_used_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("in-flight");
        let ids = SeededIds::new(3);
        let file = InFlight::open(&path).unwrap();
        for _ in 0..100 {
            let mut slot = file.slot(document(&ids)).unwrap();
            slot.begin(Hash([1; 32]));
            slot.end();
        }
        assert_eq!(std::fs::metadata(&path).unwrap().len(), 2 * SLOT_BYTES as u64);
    }

    #[test]
    fn damage_reads_as_nothing_and_another_boot_as_well() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("in-flight");
        let ids = SeededIds::new(4);
        let file = InFlight::open(&path).unwrap();
        let mut slot = file.slot(document(&ids)).unwrap();
        slot.begin(Hash([9; 32]));
        let good = std::fs::read(&path).unwrap();
        for position in 0..good.len() {
            let mut bad = good.clone();
            bad[position] ^= 0x10;
            std::fs::write(&path, &bad).unwrap();
            assert_eq!(InFlight::read(&path).unwrap(), [], "byte {position}");
            std::fs::write(&path, &good[..position]).unwrap();
            assert_eq!(InFlight::read(&path).unwrap(), [], "cut at {position}");
        }
    }
}
