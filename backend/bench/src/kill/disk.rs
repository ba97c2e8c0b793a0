//! A disk for the server's data that fails when it is told to.
//!
//! It is really full where this user may mount a small one. Otherwise, and for syncs that fail, the shim of the
//! store's own tests stands between the server and the system's calls.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, ensure};

/// The shim's source, beside this crate.
const SHIM: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../store/tests/contract/faults/disk.c");
/// Size of the small disk: several times what the longest run stores.
const SMALL_DISK: &str = "256m";
/// What fills it up.
const FILLER: &str = "filler";

/// How a disk fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// There is no room on it.
    Full,
    /// Writing seems to work, and no sync does.
    Sync,
}

/// The folder of the server's data, on a disk that can fail. Unmounted when dropped, so no server may be left by
/// then.
#[derive(Debug)]
pub(crate) struct Disk {
    fault: Fault,
    data: PathBuf,
    control: PathBuf,
    shim: Option<PathBuf>,
}

impl Disk {
    /// Makes the folder `data` in `folder`.
    pub(crate) fn new(fault: Fault, folder: &Path) -> anyhow::Result<Self> {
        let folder = folder.canonicalize()?;
        let mut disk = Self { fault, data: folder.join("data"), control: folder.join("control"), shim: None };
        fs::create_dir(&disk.data)?;
        if fault == Fault::Full {
            let mut mount = Command::new("mount");
            mount.args(["-t", "tmpfs", "-o", &format!("size={SMALL_DISK},mode=700"), "ensemble-bench"]);
            mount.arg(&disk.data).stdout(Stdio::null()).stderr(Stdio::null());
            if mount.status().is_ok_and(|status| status.success()) {
                return Ok(disk);
            }
            println!("this user may not mount a small disk; writes that fail stand in for a full one");
        }
        let shim = folder.join("disk.so");
        let compiled = Command::new("cc")
            .args(["-shared", "-fPIC", "-O1", "-o"])
            .args([shim.as_os_str(), SHIM.as_ref(), "-lpthread".as_ref()])
            .status()
            .context("a failing disk needs a C compiler, as the build does: apt-get install gcc")?;
        ensure!(compiled.success(), "the failing disk does not compile");
        disk.shim = Some(shim);
        Ok(disk)
    }

    /// What the server is to be started with.
    pub(crate) fn env(&self) -> Vec<(String, String)> {
        let Some(shim) = &self.shim else { return Vec::new() };
        [("LD_PRELOAD", shim), ("DISK_FOLDER", &self.data), ("DISK_CONTROL", &self.control)]
            .map(|(name, path)| (name.to_owned(), path.display().to_string()))
            .into()
    }

    /// How it is done, for people.
    pub(crate) const fn describe(&self) -> &'static str {
        match (self.fault, self.shim.is_some()) {
            (Fault::Full, false) => "a small disk, mounted and filled up",
            (Fault::Full, true) => "writes that fail with ENOSPC",
            (Fault::Sync, _) => "syncs that fail with EIO",
        }
    }

    /// Fails from now on. Called again and again, it stays full whatever the server gave back.
    pub(crate) fn fail(&self) -> anyhow::Result<()> {
        match (self.fault, self.shim.is_some()) {
            (Fault::Full, false) => {
                let mut filler = fs::OpenOptions::new().create(true).append(true).open(self.filler())?;
                for size in [1 << 20, 1 << 12] {
                    while filler.write_all(&vec![0; size]).is_ok() {}
                }
                Ok(())
            }
            (Fault::Full, true) => self.tell("enospc"),
            (Fault::Sync, _) => self.tell("eio-sync"),
        }
    }

    /// Works again.
    pub(crate) fn heal(&self) -> anyhow::Result<()> {
        if self.shim.is_some() { self.tell("") } else { Ok(fs::remove_file(self.filler())?) }
    }

    /// Copies what is on it to a folder that stays.
    pub(crate) fn save(&self, to: &Path) -> anyhow::Result<()> {
        fs::create_dir_all(to)?;
        for entry in fs::read_dir(&self.data)?.filter_map(Result::ok) {
            if entry.file_name() != FILLER {
                fs::copy(entry.path(), to.join(entry.file_name()))?;
            }
        }
        Ok(())
    }

    fn filler(&self) -> PathBuf {
        self.data.join(FILLER)
    }

    fn tell(&self, failure: &str) -> anyhow::Result<()> {
        let next = self.control.with_extension("next");
        fs::write(&next, failure)?;
        Ok(fs::rename(next, &self.control)?)
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        if self.shim.is_none() {
            // Nothing else can be done about a failure here; the folder is then still there for whoever looks.
            let _ = Command::new("umount").arg(&self.data).status();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_has_room_again_when_it_heals() {
        let folder = tempfile::tempdir().unwrap();
        let disk = Disk::new(Fault::Full, folder.path()).unwrap();
        if disk.shim.is_none() {
            disk.fail().unwrap();
            assert!(fs::write(disk.data.join("more"), [0; 8192]).is_err());
            disk.heal().unwrap();
            fs::write(disk.data.join("more"), [0; 8192]).unwrap();
            disk.save(&folder.path().join("saved")).unwrap();
            assert_eq!(fs::read(folder.path().join("saved/more")).unwrap().len(), 8192);
        } else {
            disk.fail().unwrap();
            assert_eq!(fs::read_to_string(&disk.control).unwrap(), "enospc");
            disk.heal().unwrap();
            assert_eq!(fs::read_to_string(&disk.control).unwrap(), "");
        }
    }
}
