//! What the engine says of a packet.

use super::{DivertFallback, Reason, RejectWith};

/// A pool's number: stable for the life of the process, 0 is "in no pool".
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub struct PoolId(pub u16);

impl PoolId {
    /// In no pool.
    pub const NONE: PoolId = PoolId(0);
}

/// A phase's place in its generation's list of phases.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PhaseId(pub u16);

/// A port's place in the configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PortId(pub u8);

/// What was done with a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Taken {
    /// It left by the port's peer, byte-identical.
    Forward,
    /// It left nowhere.
    Drop,
    /// An answer left by the port it came in by.
    Reject,
    /// It left by the filter port, byte-identical.
    Divert,
}

impl Taken {
    /// All of them.
    pub const ALL: [Taken; 4] = [Taken::Forward, Taken::Drop, Taken::Reject, Taken::Divert];
}

/// The outcome for one packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decision {
    /// Why.
    pub reason: Reason,
    /// What was done.
    pub taken: Taken,
    /// The reason that a monitored deny would have had.
    pub would: Option<Reason>,
    /// A reject that its budget suppressed.
    pub suppressed: bool,
    /// The customer's pool: the source's outbound, the destination's inbound.
    pub pool: PoolId,
    /// The phase that decided.
    pub phase: Option<PhaseId>,
    /// The port that the packet, or the answer to it, leaves by.
    pub out: Option<PortId>,
}

impl Decision {
    /// What stands in a decision's place before it is made.
    pub const UNDECIDED: Decision = Decision {
        reason: Reason::NotIp,
        taken: Taken::Drop,
        would: None,
        suppressed: false,
        pool: PoolId::NONE,
        phase: None,
        out: None,
    };
}

/// What the rules say of a packet, before the action is carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ruling {
    pub(crate) reason: Reason,
    pub(crate) act: Act,
    pub(crate) would: Option<Reason>,
    pub(crate) phase: Option<PhaseId>,
}

/// What to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Act {
    Forward,
    Drop,
    Reject(RejectWith),
    Divert(DivertFallback, RejectWith),
}

impl Ruling {
    pub(crate) const fn forward(reason: Reason) -> Ruling {
        Ruling { reason, act: Act::Forward, would: None, phase: None }
    }

    pub(crate) const fn drop(reason: Reason) -> Ruling {
        Ruling { reason, act: Act::Drop, would: None, phase: None }
    }
}
