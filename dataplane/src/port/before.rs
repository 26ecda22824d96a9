//! What has to be done at an interface before its port is opened, at the start and each time that it has come back.
//!
//! An interface that was removed and made again has nothing of what was set at the one before, whatever its name is. So whoever needs
//! something there is asked with its number, on the thread that opens the port, and a port for which that fails stays closed.

use std::fmt;
use std::io;
use std::sync::Arc;

use super::error::InterfaceError;
use super::system::Errno;

type Step = dyn Fn(u32) -> io::Result<()> + Send + Sync;

/// See the module's documentation. Nothing, unless it is said.
#[derive(Clone, Default)]
pub struct Before(Option<Arc<Step>>);

impl Before {
    /// Does this, which is given the interface's number.
    pub fn new(step: impl Fn(u32) -> io::Result<()> + Send + Sync + 'static) -> Before {
        Before(Some(Arc::new(step)))
    }

    pub(super) fn run(&self, interface: &str, index: u32) -> Result<(), InterfaceError> {
        let Some(step) = &self.0 else { return Ok(()) };
        step(index).map_err(|error| {
            let interface = interface.to_owned();
            match Errno::from(error) {
                Errno(libc::ENODEV | libc::ENXIO) => InterfaceError::Absent { interface },
                errno => InterfaceError::Heard { interface, errno },
            }
        })
    }
}

impl fmt::Debug for Before {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "Before(..)" } else { "Before" })
    }
}

impl PartialEq for Before {
    fn eq(&self, other: &Before) -> bool {
        match (&self.0, &other.0) {
            (None, None) => true,
            (Some(one), Some(other)) => Arc::ptr_eq(one, other),
            _ => false,
        }
    }
}

impl Eq for Before {}
