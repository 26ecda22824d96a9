//! What is done with a packet besides forwarding or dropping it: answers and their budgets, and the way back of what was
//! diverted.

mod answer;
pub(crate) mod budget;
pub(crate) mod icmp;
pub(crate) mod reject;
pub(crate) mod returns;

pub(crate) use answer::ETHERNET_MINIMUM;
pub use answer::{Made, Replies, Reply};
pub use budget::RejectLimits;
