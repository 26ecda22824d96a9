//! `sekisho explain`: one packet's verdict, with every table entry and rule on the way.

use std::io::Write;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;

use sekisho_dataplane::policy::{PhaseId, PoolId, PortId, Role, Taken, Trace};
pub(super) fn run(_arguments: &Arguments, _out: &mut impl Write) -> Result<(), Failure> { unreachable!() }
use super::Failure;
/// What `explain` is asked.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments { #[arg(short)] config: Option<PathBuf> }
