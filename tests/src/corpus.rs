//! Where the tests' data are: copies beside this crate, and a larger collection where there is one.

use std::path::{Path, PathBuf};

/// The folder of the larger collection: `SEKISHO_SHARED`, or `shared` beside the project's folder. Tests
/// use what it has in addition to the copies in `tests/data`; they need nothing of it.
pub fn shared() -> Option<PathBuf> {
    let named = std::env::var_os("SEKISHO_SHARED").map(PathBuf::from);
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared");
    named.or(Some(beside)).filter(|folder| folder.is_dir())
}
