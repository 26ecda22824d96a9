//! This host with the package installed, while the host itself stays as it is: its root file system below an overlay in
//! memory, in a mount namespace of its own.

use std::ffi::OsStr;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use super::Lab;
use super::namespace::command;

/// Mounts everything below the folder `$1`, says so, and keeps the mounts as long as its input is open.
const MOUNTS: &str = r#"
set -e
mount -t tmpfs tmpfs "$1"
mkdir "$1/upper" "$1/work" "$1/root"
mount -t overlay overlay -o "lowerdir=/,upperdir=$1/upper,workdir=$1/work" "$1/root"
for folder in proc sys dev; do mount --rbind "/$folder" "$1/root/$folder"; done
mount -t tmpfs -o mode=755 tmpfs "$1/root/run"
echo ready
exec cat
"#;

/// A host of its own, as far as files go.
pub struct Installation {
    folder: PathBuf,
    holder: Child,
}

impl Installation {
    /// Makes it; nothing is installed yet.
    ///
    /// # Panics
    /// When the kernel refuses an overlay.
    pub fn new(lab: &Lab) -> Installation {
        let folder = lab.file("host");
        fs::create_dir(&folder).expect("the lab's folder is writable");
        let mut holder = command("unshare")
            .args(["--mount", "--propagation", "private", "sh", "-c", MOUNTS, "sh"])
            .arg(&folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("unshare starts");
        let mut line = String::new();
        let told = holder.stdout.as_mut().expect("its output is a pipe");
        BufReader::new(told).read_line(&mut line).expect("its output can be read");
        let installation = Installation { folder, holder };
        assert_eq!(line, "ready\n", "the overlay is mounted");
        installation
    }

    /// What stands before a program's name to run it there: for commands of a network namespace.
    pub fn entered(&self) -> Vec<String> {
        let words = ["--mount", "--target", &self.holder.id().to_string(), "chroot"].map(str::to_owned);
        words
            .into_iter()
            .chain([self.folder.join("root").to_str().expect("a plain path").to_owned()])
            .collect()
    }

    /// A program there, to be run.
    pub fn command(&self, name: &str) -> Command {
        let mut inside = command("nsenter");
        inside.args(self.entered()).arg(name);
        inside
    }

    /// Runs a program there to its end.
    pub fn output<S: AsRef<OsStr>>(&self, name: &str, arguments: impl IntoIterator<Item = S>) -> Output {
        self.command(name).args(arguments).output().unwrap_or_else(|e| panic!("{name}: {e}"))
    }

    /// The same for what must succeed; gives what it printed.
    ///
    /// # Panics
    /// When it fails.
    pub fn run<S: AsRef<OsStr>>(&self, name: &str, arguments: impl IntoIterator<Item = S>) -> String {
        let output = self.output(name, arguments);
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        assert!(output.status.success(), "{name}: {}{}", text(&output.stdout), text(&output.stderr));
        text(&output.stdout)
    }

    /// Puts a file there from outside.
    pub fn copy(&self, from: &Path, to: &str) {
        let seen = PathBuf::from(format!("/proc/{}/root", self.holder.id()))
            .join(self.folder.strip_prefix("/").expect("an absolute path"));
        let to = seen.join("root").join(to.trim_start_matches('/'));
        fs::copy(from, &to).unwrap_or_else(|e| panic!("{}: {e}", to.display()));
    }
}

impl Drop for Installation {
    fn drop(&mut self) {
        // Its input ends with it; the mounts go with the last process of their namespace.
        drop(self.holder.stdin.take());
        let _ = self.holder.wait();
    }
}
