//! A worker's side of the routes.

use super::Snapshot;
use crate::lpm::{Reader4, Reader6};
use crate::publication::{Burst, Online, Reader};

/// What a worker reads routes with. It starts offline.
pub struct RouteReader {
    pub(super) v4: Reader4,
    pub(super) v6: Reader6,
    pub(super) snapshots: Reader<Snapshot>,
}

impl RouteReader {
    pub(super) fn new(mut v4: Reader4, mut v6: Reader6, snapshots: Reader<Snapshot>) -> RouteReader {
        v4.pause();
        v6.pause();
        RouteReader { v4, v6, snapshots }
    }

    /// Comes online: from now on the writer waits for this reader.
    pub fn online(&mut self) -> OnlineRoutes<'_> {
        let RouteReader { v4, v6, snapshots } = self;
        v4.resume();
        v6.resume();
        OnlineRoutes { v4, v6, snapshots: snapshots.online() }
    }
}

/// A reader that is online, until this is dropped.
pub struct OnlineRoutes<'a> {
    v4: &'a mut Reader4,
    v6: &'a mut Reader6,
    snapshots: Online<'a, Snapshot>,
}

/// Where the snapshot is taken.
pub(crate) struct Snapshots<'b, 'a>(&'b mut Online<'a, Snapshot>);

impl Snapshots<'_, '_> {
    /// Takes the snapshot in force.
    #[inline]
    pub(crate) fn burst(&mut self) -> Burst<'_, Snapshot> {
        self.0.burst()
    }
}

impl<'a> OnlineRoutes<'a> {
    /// The ids of the longest prefixes, for look-ups of a whole burst; the snapshot is taken after them.
    #[inline]
    pub fn tries(&self) -> (&Reader4, &Reader6) {
        (self.v4, self.v6)
    }

    /// The tries, and where the snapshot is taken after them.
    #[inline]
    pub(crate) fn parts(&mut self) -> (&Reader4, &Reader6, Snapshots<'_, 'a>) {
        (self.v4, self.v6, Snapshots(&mut self.snapshots))
    }

    /// Takes the snapshot in force. What was looked up before has its meaning in it.
    #[inline]
    pub fn snapshot(&mut self) -> Burst<'_, Snapshot> {
        self.snapshots.burst()
    }

    /// Says that nothing is held: no id and no snapshot. Between two bursts.
    #[inline]
    pub fn quiescent(&mut self) {
        self.v4.quiescent();
        self.v6.quiescent();
        self.snapshots.quiescent();
    }
}

impl Drop for OnlineRoutes<'_> {
    fn drop(&mut self) {
        self.v4.pause();
        self.v6.pause();
    }
}
