//! The policy: what is forwarded, what is not, and why.
//!
//! `rules` holds the order of the rules; the other files hold what the rules ask: phases and their latches,
//! destination sets, grants, the fragment table. The words that a configuration is written in are in `words`.

pub(crate) mod decision;
pub(crate) mod fragments;
pub(crate) mod grants;
pub(crate) mod phase;
mod reason;
pub(crate) mod rules;
pub(crate) mod sets;
mod words;

pub use decision::{Decision, PhaseId, PoolId, PortId, Taken};
pub use fragments::FragmentLimits;
pub use grants::Grant;
pub use phase::Latch;
pub use reason::{May, Reason, Reasons};
pub use rules::Trace;
pub use sets::Nat64;
pub use words::{Action, DivertFallback, Kind, RejectWith, ReversePath, Role, SourceValidation};
