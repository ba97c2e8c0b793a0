//! Programs under test: started in a folder of their own, measured from outside, killed by their own id.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};

/// How long a program may take to be ready.
const START_TIME: Duration = Duration::from_mins(1);
/// How long a program may take to stop when it is asked to.
const STOP_TIME: Duration = Duration::from_mins(1);
/// How often, and in which rhythm, a dropped program is looked after until it is gone.
const REAP_TRIES: u32 = 200;
const REAP_PAUSE: Duration = Duration::from_millis(2);
/// One tick of `/proc/PID/stat`: the kernel's fixed unit towards programs, whatever its own clock does.
const TICK: Duration = Duration::from_millis(10);

/// What a server is started with.
#[derive(Debug, Clone)]
pub(crate) struct ServerOptions {
    /// The program.
    pub(crate) program: PathBuf,
    /// Variables it is given; it sees no others of ours.
    pub(crate) env: Vec<(String, String)>,
    /// The core it is kept on, so that the load generator does not run beside it.
    pub(crate) core: Option<usize>,
}

/// A program that serves at an address. Killed when dropped.
#[derive(Debug)]
pub(crate) struct Process {
    child: Child,
    pid: u32,
    base: String,
    /// Read on and thrown away, since a full pipe would stop the program.
    drain: tokio::task::JoinHandle<()>,
}

/// Where a server keeps its things; removed when dropped.
pub(crate) fn data_folder() -> anyhow::Result<TempDir> {
    tempfile::Builder::new()
        .prefix("ensemble-bench-")
        .tempdir()
        .context("no folder for the data could be made")
}

impl Process {
    /// Starts an Ensemble server with its data in `data`.
    pub(crate) async fn server(options: &ServerOptions, data: &Path) -> anyhow::Result<Self> {
        let mut command = command(&options.program, options.core);
        command.args(["serve", "--listen", "127.0.0.1:0", "--data"]).arg(data.join("data"));
        // A configuration file or a key of whoever runs this must not change what is measured.
        command.current_dir(data).env_clear();
        for name in ["PATH", "HOME", "TMPDIR"] {
            if let Some(value) = std::env::var_os(name) {
                command.env(name, value);
            }
        }
        command.envs(options.env.iter().cloned());
        Self::start(command, &data.join("server.log")).await
    }

    /// Starts the bare relay of this very program.
    pub(crate) async fn relay(core: Option<usize>, data: &Path) -> anyhow::Result<Self> {
        let program = std::env::current_exe().context("this program does not know where it is")?;
        let mut command = command(&program, core);
        command.arg("relay");
        Self::start(command, &data.join("relay.log")).await
    }

    async fn start(mut command: Command, log: &Path) -> anyhow::Result<Self> {
        let log_file = std::fs::OpenOptions::new().create(true).append(true).open(log)?;
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(log_file).kill_on_drop(true);
        let mut child = command.spawn().context("the program could not be started")?;
        let pid = child.id().context("the program ended at once")?;
        let stdout = child.stdout.take().context("the program has no output")?;
        let mut lines = BufReader::new(stdout).lines();
        let base = match tokio::time::timeout(START_TIME, ready(&mut lines)).await {
            Ok(Ok(base)) => base,
            outcome => {
                let said = std::fs::read_to_string(log).unwrap_or_default();
                let said: Vec<&str> = said.lines().rev().take(20).collect();
                let said = said.into_iter().rev().collect::<Vec<_>>().join("\n");
                match outcome {
                    Ok(Err(error)) => return Err(error.context(format!("it said:\n{said}"))),
                    _ => bail!("the program was not ready within {START_TIME:?}; it said:\n{said}"),
                }
            }
        };
        let drain = tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        Ok(Self { child, pid, base, drain })
    }

    /// Its address, `http://127.0.0.1:PORT`.
    pub(crate) fn base(&self) -> &str {
        &self.base
    }

    /// CPU time used so far, by the program and in the kernel for it.
    pub(crate) fn cpu(&self) -> Option<Duration> {
        cpu_of(self.pid)
    }

    /// Resident memory now, in bytes.
    pub(crate) fn memory(&self) -> Option<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid)).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
        Some(line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()? * 1024)
    }

    /// Kills it without warning (`kill -9`) and waits until it is gone.
    pub(crate) async fn kill(mut self) -> anyhow::Result<()> {
        self.child.start_kill().context("the program was gone already")?;
        self.child.wait().await?;
        self.drain.abort();
        Ok(())
    }

    /// Takes it off its feet for a while (`kill -STOP`, `kill -CONT`), as a suspended machine does.
    pub(crate) async fn suspend(&self, time: Duration) -> anyhow::Result<()> {
        self.signal("-STOP").await?;
        tokio::time::sleep(time).await;
        self.signal("-CONT").await
    }

    async fn signal(&self, signal: &str) -> anyhow::Result<()> {
        let sent = Command::new("kill").arg(signal).arg(self.pid.to_string()).status().await?;
        if sent.success() { Ok(()) } else { bail!("the program was gone already") }
    }

    /// Asks it to stop (`kill -TERM`) and waits until it has.
    ///
    /// Fails if it does not stop in time, or not well.
    pub(crate) async fn stop(mut self) -> anyhow::Result<()> {
        self.signal("-TERM").await?;
        let ended = tokio::time::timeout(STOP_TIME, self.child.wait())
            .await
            .with_context(|| format!("the program did not stop within {STOP_TIME:?}"))??;
        self.drain.abort();
        if ended.success() { Ok(()) } else { bail!("the program stopped with {ended}") }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Gone before its folder is removed, or it would write into it again. Fails where it has ended already.
        let _ = self.child.start_kill();
        for _ in 0..REAP_TRIES {
            if !matches!(self.child.try_wait(), Ok(None)) {
                return;
            }
            std::thread::sleep(REAP_PAUSE);
        }
    }
}

async fn ready(lines: &mut Lines<BufReader<ChildStdout>>) -> anyhow::Result<String> {
    while let Some(line) = lines.next_line().await? {
        if let Some((_, base)) = line.split_once(" is ready at ") {
            let base = base.split_whitespace().next().unwrap_or_default();
            return Ok(base.trim_end_matches('/').to_owned());
        }
    }
    bail!("the program ended before it was ready")
}

fn command(program: &Path, core: Option<usize>) -> Command {
    match core {
        Some(core) => {
            let mut command = Command::new("taskset");
            command.arg("-c").arg(core.to_string()).arg(program);
            command
        }
        None => Command::new(program),
    }
}

/// Chooses a core for the programs under test and keeps this program off it, so that both get a core to
/// themselves. Nothing where there is one core only, or no `taskset`.
pub(crate) async fn take_core() -> Option<usize> {
    let cores = std::thread::available_parallelism().ok()?.get();
    if cores < 2 {
        return None;
    }
    let ours = format!("1-{}", cores - 1);
    let pid = std::process::id().to_string();
    let status = Command::new("taskset")
        .args(["-acp", &ours, &pid])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .await;
    status.is_ok_and(|status| status.success()).then_some(0)
}

/// Reads what the scheduler counted, in nanoseconds; falls back to ticks where a thread that ended took its
/// count along, or where the system keeps none.
fn cpu_of(pid: u32) -> Option<Duration> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let ticked = ticks(&stat)?;
    let Some(counted) = scheduled(pid) else { return Some(ticked) };
    Some(if counted + 2 * TICK < ticked { ticked } else { counted })
}

fn ticks(stat: &str) -> Option<Duration> {
    // The name in parentheses may hold spaces; user and system time are the 12th and 13th field after it.
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
    let user: u32 = fields.next()?.parse().ok()?;
    let system: u32 = fields.next()?.parse().ok()?;
    Some(TICK * (user + system))
}

fn scheduled(pid: u32) -> Option<Duration> {
    let mut nanoseconds = 0_u64;
    for thread in std::fs::read_dir(format!("/proc/{pid}/task")).ok()? {
        let counts = std::fs::read_to_string(thread.ok()?.path().join("schedstat")).ok()?;
        nanoseconds += counts.split_whitespace().next()?.parse::<u64>().ok()?;
    }
    Some(Duration::from_nanos(nanoseconds))
}

/// The CPU time between two readings.
#[derive(Debug)]
pub(crate) struct CpuMeter {
    from: Option<Duration>,
    since: Instant,
}

impl CpuMeter {
    /// Begins to measure.
    pub(crate) fn start(process: &Process) -> Self {
        Self { from: process.cpu(), since: Instant::now() }
    }

    /// CPU time and wall-clock time since the start; no CPU time where the system does not tell it.
    pub(crate) fn stop(&self, process: &Process) -> (Option<Duration>, Duration) {
        let used = self.from.zip(process.cpu()).map(|(from, to)| to.saturating_sub(from));
        (used, self.since.elapsed())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_time_is_read_after_a_name_with_spaces() {
        let stat = "7 (a (b) c) S 1 7 7 0 -1 4194560 100 0 0 0 12 3 0 0 20 0 1 0 100 1 1";
        assert_eq!(ticks(stat), Some(TICK * 15));
    }
}
