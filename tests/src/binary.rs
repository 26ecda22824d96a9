//! The real `sekisho` binary as a process: where it is, and how it is run.
//!
//! It belongs to another package, so cargo names its path to no test of this one. It is built once per test
//! process, with the profile and into the target folder of the test itself, so that a plain `cargo test` is
//! all there is to do.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// No process of a test takes that long; one that does hangs.
const PATIENCE: Duration = Duration::from_secs(120);

/// Where cargo put the running test.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Layout {
    target: PathBuf,
    triple: Option<String>,
    profile: String,
}

impl Layout {
    /// From the path of a test or an example: `TARGET[/TRIPLE]/PROFILE/deps/NAME`, or `examples` for `deps`.
    fn of(test: &Path) -> Option<Self> {
        let is_kind = |folder: &&Path| folder.ends_with("deps") || folder.ends_with("examples");
        let profile_folder = test.parent().filter(is_kind)?.parent()?;
        let profile = match profile_folder.file_name()?.to_str()? {
            "debug" => "dev",
            other => other,
        };
        let above = profile_folder.parent()?;
        let is_target =
            |folder: &Path| folder.join("CACHEDIR.TAG").exists() || folder.join(".rustc_info.json").exists();
        let (target, triple) = if is_target(above) || !above.parent().is_some_and(is_target) {
            (above.to_owned(), None)
        } else {
            (above.parent()?.to_owned(), Some(above.file_name()?.to_str()?.to_owned()))
        };
        Some(Self { target, triple, profile: profile.to_owned() })
    }

    fn running() -> Self {
        let test = std::env::current_exe().expect("a test knows its own path");
        Self::of(&test).unwrap_or_else(|| panic!("{} is not where cargo puts tests", test.display()))
    }

    fn binary(&self) -> PathBuf {
        let mut path = self.target.clone();
        path.extend(&self.triple);
        path.push(if self.profile == "dev" { "debug" } else { &self.profile });
        path.join(format!("sekisho{}", std::env::consts::EXE_SUFFIX))
    }
}

/// The path of the binary, built if need be. `SEKISHO_BIN` names another one.
pub fn sekisho() -> &'static Path {
    static PATH: OnceLock<PathBuf> = OnceLock::new();
    PATH.get_or_init(|| std::env::var_os("SEKISHO_BIN").map_or_else(build, PathBuf::from))
}

/// The Debian package, built if need be from the binary that tests run. `SEKISHO_DEB` names another one.
pub fn package() -> &'static Path {
    static PATH: OnceLock<PathBuf> = OnceLock::new();
    PATH.get_or_init(|| std::env::var_os("SEKISHO_DEB").map_or_else(build_package, PathBuf::from))
}

fn build_package() -> PathBuf {
    let layout = Layout::running();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../package");
    let mut package = Command::new(script);
    package.arg(&layout.profile).env("CARGO_TARGET_DIR", &layout.target);
    let output = package.stderr(Stdio::inherit()).output().expect("./package starts");
    assert!(output.status.success(), "./package: {}", output.status);
    PathBuf::from(String::from_utf8_lossy(&output.stdout).trim())
}

fn build() -> PathBuf {
    let layout = Layout::running();
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.current_dir(env!("CARGO_MANIFEST_DIR"));
    cargo.args(["build", "--quiet", "--package", "sekisho-control", "--bin", "sekisho"]);
    cargo.args(["--profile", &layout.profile]);
    cargo.arg("--target-dir").arg(&layout.target);
    if let Some(triple) = &layout.triple {
        cargo.args(["--target", triple]);
    }
    let status = cargo.status().expect("cargo runs");
    assert!(status.success(), "cargo cannot build sekisho: {status}");
    layout.binary()
}

/// An empty folder of that name inside the target folder; another test process has another one.
pub fn scratch(name: &str) -> PathBuf {
    let folder = Layout::running().target.join("tmp").join(format!("{name}-{}", std::process::id()));
    match fs::remove_dir_all(&folder) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => panic!("{}: {e}", folder.display()),
        _ => {}
    }
    fs::create_dir_all(&folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
    folder
}

/// What a process left behind.
#[derive(Clone, Debug)]
pub struct Finished {
    /// Its exit code; `None`: a signal ended it.
    pub code: Option<i32>,
    /// What it printed.
    pub stdout: String,
    /// Where it complained.
    pub stderr: String,
}

impl Finished {
    /// The signs that a program broke instead of refusing; empty: none.
    pub fn broke(&self) -> Vec<String> {
        let mut signs = Vec::new();
        if self.code.is_none_or(|code| code > 2) {
            signs.push(format!("exit code {:?}, {}", self.code, self.stderr.trim()));
        }
        if self.stderr.contains("panicked at") {
            signs.push(format!("a panic: {}", self.stderr.trim()));
        }
        signs
    }
}

/// Runs `sekisho` in a folder, which keeps what it prints.
pub fn run<S: AsRef<OsStr>>(folder: &Path, arguments: impl IntoIterator<Item = S>) -> Finished {
    let [out, err] = ["stdout", "stderr"].map(|name| folder.join(name));
    let create = |path: &Path| File::create(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let mut child = Command::new(sekisho())
        .args(arguments)
        .current_dir(folder)
        .stdin(Stdio::null())
        .stdout(create(&out))
        .stderr(create(&err))
        .spawn()
        .expect("sekisho starts");
    let started = Instant::now();
    let mut pause = Duration::from_micros(500);
    let status = loop {
        if let Some(status) = child.try_wait().expect("a child can be waited for") {
            break status;
        }
        if started.elapsed() > PATIENCE {
            child.kill().expect("a child can be killed");
            child.wait().expect("a child can be waited for");
            panic!("sekisho hangs in {}", folder.display());
        }
        thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(10));
    };
    let read = |path: &Path| String::from_utf8_lossy(&fs::read(path).expect("its output")).into_owned();
    Finished { code: status.code(), stdout: read(&out), stderr: read(&err) }
}

/// Does something with every item, with as many at a time as there are cores, and gathers the failures in
/// order.
pub fn failures_of_all<T: Sync>(items: &[T], failures_of: impl Fn(&T) -> Vec<String> + Sync) -> Vec<String> {
    sekisho();
    let next = AtomicUsize::new(0);
    let workers = thread::available_parallelism().map_or(1, usize::from);
    let mut all: Vec<(usize, Vec<String>)> = thread::scope(|scope| {
        let work = || {
            let mut own = Vec::new();
            loop {
                let index = next.fetch_add(1, Ordering::Relaxed);
                let Some(item) = items.get(index) else {
                    return own;
                };
                own.push((index, failures_of(item)));
            }
        };
        let threads: Vec<_> = (0..workers).map(|_| scope.spawn(work)).collect();
        threads.into_iter().flat_map(|thread| thread.join().expect("no panic in a worker")).collect()
    });
    all.sort_by_key(|(index, _)| *index);
    all.into_iter().flat_map(|(_, failures)| failures).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_layout_follows_from_the_path_of_a_test() {
        let root = std::env::temp_dir().join(format!("sekisho-layout-{}", std::process::id()));
        fs::create_dir_all(&root).unwrap();
        fs::write(root.join("CACHEDIR.TAG"), "").unwrap();
        let layout = |path: &str| Layout::of(&root.join(path));
        let plain = layout("debug/deps/vectors-1").unwrap();
        let cross = layout("aarch64-unknown-linux-musl/release/deps/vectors-1").unwrap();
        let elsewhere = layout("debug/vectors-1");
        fs::remove_dir_all(&root).unwrap();

        assert_eq!(plain, Layout { target: root.clone(), triple: None, profile: "dev".to_owned() });
        assert!(plain.binary().starts_with(root.join("debug")));
        assert_eq!(
            (cross.triple.as_deref(), cross.profile.as_str()),
            (Some("aarch64-unknown-linux-musl"), "release")
        );
        assert!(cross.binary().starts_with(root.join("aarch64-unknown-linux-musl/release")));
        assert_eq!(elsewhere, None);
    }
}
