//! The families of metrics, read from the one registry of what is counted.

use std::fmt;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Unit;
use sekisho_dataplane::counters::Totals;
use sekisho_dataplane::policy::{PortId, Reason, Reasons, Taken};
use sekisho_dataplane::stages::StageTotals;

use crate::daemon::{Books, InForce, MirrorRead, Slot, TwinsRead};

/// Everything that is told. What is remembered between two readings keeps counters from going back.
pub(crate) struct Families {
    books: Arc<Books>,
    slot: Arc<Slot>,
    told: Mutex<Told>,
}

impl fmt::Debug for Families {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Families").finish_non_exhaustive()
    }
}

/// What was told last. A counter that goes back is a restart to whoever reads it.
#[derive(Default)]
struct Told {
    ports: Vec<PortTold>,
    workers: Vec<PollTime>,
}

/// Differences of counters, which a burst that is half booked would let go back.
#[derive(Clone, Copy, Default)]
struct PortTold {
    forwarded: u64,
    rejects_sent: u64,
    transmitted: u64,
    transmitted_bytes: u64,
}

/// Seconds of a worker's polling. The time since the last reading, less what it slept, is shared out as the rounds were
/// that were measured meanwhile; so the sum is the time that passed, and no rate of a clock has to be known.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct PollTime {
    busy: f64,
    idle: f64,
    asleep: f64,
    at: f64,
    busy_ticks: u64,
    idle_ticks: u64,
}

impl PollTime {
    fn advance(&mut self, at: f64, asleep: f64, busy_ticks: u64, idle_ticks: u64) {
        let busy = busy_ticks.saturating_sub(self.busy_ticks);
        let idle = idle_ticks.saturating_sub(self.idle_ticks);
        // Without a measured round there is nothing to share by; what passed waits for the next reading.
        if busy + idle == 0 {
            return;
        }
        let polled = ((at - self.at) - (asleep - self.asleep)).max(0.0);
        let share = busy as f64 / (busy + idle) as f64;
        *self = PollTime {
            busy: self.busy + polled * share,
            idle: self.idle + polled * (1.0 - share),
            asleep: asleep.max(self.asleep),
            at,
            busy_ticks,
            idle_ticks,
        };
    }
}

/// A port at one reading.
struct PortReading<'a> {
    name: &'a str,
    totals: Totals,
    told: PortTold,
    missed: u64,
    ring_full: u64,
    fill_empty: u64,
    transmit_missed: u64,
    up: bool,
}

type Written = Result<(), fmt::Error>;
type Label<'a> = (&'static str, &'a str);

/// Writes one family after the other.
struct Sheet<'a>(DescriptorEncoder<'a>);

impl Sheet<'_> {
    fn family(
        &mut self,
        (name, unit): (&str, Option<Unit>),
        help: &str,
        kind: MetricType,
        write: impl FnOnce(&mut MetricEncoder<'_>) -> Written,
    ) -> Written {
        write(&mut self.0.encode_descriptor(name, help, unit.as_ref(), kind)?)
    }

    fn counters<'l, const N: usize>(
        &mut self,
        name: (&str, Option<Unit>),
        help: &str,
        series: impl IntoIterator<Item = ([Label<'l>; N], u64)>,
    ) -> Written {
        self.family(name, help, MetricType::Counter, |encoder| {
            series.into_iter().try_for_each(|(labels, count)| {
                encoder.encode_family(&labels)?.encode_counter::<NoLabelSet, _, u64>(&count, None)
            })
        })
    }

    fn counted_seconds<'l>(
        &mut self,
        name: &str,
        help: &str,
        series: impl IntoIterator<Item = ([Label<'l>; 1], f64)>,
    ) -> Written {
        self.family((name, Some(Unit::Seconds)), help, MetricType::Counter, |encoder| {
            series.into_iter().try_for_each(|(labels, seconds)| {
                encoder.encode_family(&labels)?.encode_counter::<NoLabelSet, _, u64>(&seconds, None)
            })
        })
    }

    fn gauges<'l, const N: usize>(
        &mut self,
        name: (&str, Option<Unit>),
        help: &str,
        series: impl IntoIterator<Item = ([Label<'l>; N], f64)>,
    ) -> Written {
        self.family(name, help, MetricType::Gauge, |encoder| {
            series
                .into_iter()
                .try_for_each(|(labels, value)| encoder.encode_family(&labels)?.encode_gauge(&value))
        })
    }

    fn gauge(&mut self, name: (&str, Option<Unit>), help: &str, value: f64) -> Written {
        self.family(name, help, MetricType::Gauge, |encoder| encoder.encode_gauge(&value))
    }
}

fn packets(name: &str) -> (&str, Option<Unit>) {
    (name, Some(Unit::Other("packets".to_owned())))
}

fn bytes(name: &str) -> (&str, Option<Unit>) {
    (name, Some(Unit::Bytes))
}

fn seconds(name: &str) -> (&str, Option<Unit>) {
    (name, Some(Unit::Seconds))
}

fn denied(totals: &Totals, reason: Reason) -> u64 {
    let by_taken = &totals.decided[reason as usize];
    [Taken::Drop, Taken::Reject, Taken::Divert].iter().map(|taken| by_taken[*taken as usize]).sum()
}

/// Whether the policy has a deny for the reason: then its series are there from the start, and a first deny is an
/// increase that a rate sees.
fn can_deny(reason: Reason) -> bool {
    // A bridge never has a router's reasons; a router's are there once they happen.
    reason.rule() != "route" && Reasons::DENIES.has(reason)
}

/// Whether a monitored deny can have the reason.
fn can_be_monitored(reason: Reason) -> bool {
    reason == Reason::SpoofedSource || Reasons::PORT_25.has(reason)
}

impl Families {
    /// The kernel's tables, where they are followed.
    fn write_kernel(&self, sheet: &mut Sheet<'_>) -> Written {
        let kernel = self.books.kernel.read();
        if !kernel.is_followed() {
            return Ok(());
        }
        if let Some(mirror) = &kernel.mirror {
            write_mirror(sheet, mirror)?;
        }
        if let Some(twins) = self.books.twins() {
            write_twins(sheet, &twins)?;
        }
        let names: Vec<String> = kernel.tables.iter().map(|table| table.table.to_string()).collect();
        let tables =
            || kernel.tables.iter().zip(&names).map(|(table, name)| (table, [("table", name.as_str())]));
        sheet.gauges(
            ("kernel_table_prefixes", None),
            "Prefixes in a routing table of the kernel that a pool or a set follows.",
            tables().map(|(table, label)| (label, table.prefixes as f64)),
        )?;
        sheet.gauges(
            ("kernel_table_held_prefixes", None),
            "Prefixes that the table lost and that stay in force for a time.",
            tables().map(|(table, label)| (label, table.held as f64)),
        )?;
        let one = |count: u64| [([] as [Label<'_>; 0], count)];
        sheet.counters(
            ("kernel_notifications", None),
            "What the kernel has told of routes, dumps included.",
            one(kernel.events),
        )?;
        sheet.counters(
            ("kernel_resynchronisations", None),
            "Times that all routes were asked for, the start included.",
            one(kernel.resyncs),
        )?;
        sheet.counters(
            ("kernel_overruns", None),
            "Times that notifications of the kernel were lost.",
            one(kernel.overruns),
        )
    }

    pub(crate) fn new(books: Arc<Books>, slot: Arc<Slot>) -> Families {
        Families { books, slot, told: Mutex::default() }
    }

    fn read<'a>(&self, in_force: &'a InForce, told: &mut Told) -> Vec<PortReading<'a>> {
        told.ports.resize(in_force.config.ports.len(), PortTold::default());
        let ports = in_force.config.ports.iter().zip(&mut told.ports).enumerate();
        let reading = |(at, (port, told)): (usize, (&'a crate::config::Port, &mut PortTold))| {
            let id = PortId(at as u8);
            let totals = self.books.port(id);
            let statistics = self.books.statistics(id).unwrap_or_default();
            *told = PortTold {
                transmitted: totals.transmitted.max(told.transmitted),
                transmitted_bytes: totals.transmitted_bytes.max(told.transmitted_bytes),
                forwarded: totals.forwarded().max(told.forwarded),
                rejects_sent: totals
                    .taken(Taken::Reject)
                    .saturating_sub(totals.replies_lost)
                    .max(told.rejects_sent),
            };
            PortReading {
                name: &port.name,
                told: *told,
                missed: statistics.kernel_drops,
                ring_full: statistics.receive_ring_full,
                fill_empty: statistics.fill_ring_empty,
                transmit_missed: statistics.oversize
                    + statistics.transmit_full
                    + statistics.transmit_failed
                    + statistics.transmit_down,
                up: self.books.outage(id).is_none(),
                totals,
            }
        };
        ports.map(reading).collect()
    }

    fn write(&self, sheet: &mut Sheet<'_>) -> Written {
        let in_force = self.slot.get();
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        let ports = self.read(&in_force, &mut told);
        write_ports(sheet, &ports)?;
        self.write_punts(sheet, &in_force)?;
        self.write_workers(sheet, &mut told.workers)?;
        self.write_pools(sheet, &in_force)?;
        self.write_generation(sheet, &in_force)
    }

    /// Frames for the router itself, where ports have twins.
    fn write_punts(&self, sheet: &mut Sheet<'_>, in_force: &InForce) -> Written {
        let ports = in_force.config.ports.iter().enumerate();
        let of_port = |(at, port): (usize, &'_ crate::config::Port)| {
            Some((port.name.clone(), self.books.punts(PortId(at as u8))?))
        };
        let ports: Vec<_> = ports.filter_map(of_port).collect();
        if ports.is_empty() {
            return Ok(());
        }
        let shares = || {
            ports.iter().flat_map(|(name, classes)| {
                classes
                    .iter()
                    .map(move |punts| (("port", name.as_str()), ("class", punts.class.as_str()), punts))
            })
        };
        sheet.counters(
            packets("port_punted"),
            "Frames for the router itself that came by the port and were handed over, by class.",
            shares().map(|(port, class, punts)| ([port, class], punts.punted)),
        )?;
        sheet.counters(
            packets("port_punts_lost"),
            "Frames for the router itself over the port's share of a second (limited) or of the places (full).",
            shares().flat_map(|(port, class, punts)| {
                [("limited", punts.limited), ("full", punts.full)]
                    .map(|(why, count)| ([port, class, ("why", why)], count))
            }),
        )
    }

    fn write_workers(&self, sheet: &mut Sheet<'_>, times: &mut Vec<PollTime>) -> Written {
        let workers = &self.books.workers;
        times.resize(workers.len(), PollTime::default());
        let numbers: Vec<String> = (0..workers.len()).map(|number| number.to_string()).collect();
        for (worker, time) in workers.iter().zip(times.iter_mut()) {
            let ticks = StageTotals::of_workers([&*worker.counters]);
            let asleep = worker.pulse.rounds().asleep_micros as f64 / 1e6;
            // One that has ended does not poll any more.
            if worker.is_running() {
                time.advance(self.books.uptime_seconds(), asleep, ticks.busy, ticks.idle);
            }
        }
        let label = |at: usize| [("worker", numbers[at].as_str())];
        let totals = workers.iter().map(|worker| Totals::of([&*worker.counters]).received);
        sheet.counters(
            packets("worker"),
            "Packets that a worker judged.",
            totals.enumerate().map(|(at, count)| (label(at), count)),
        )?;
        let of = |part: fn(&PollTime) -> f64| {
            times.iter().enumerate().map(move |(at, time)| (at, part(time))).collect::<Vec<_>>()
        };
        for (name, help, part) in [
            (
                "poll_busy",
                "Time in rounds that found packets, estimated from measured rounds.",
                (|time| time.busy) as fn(&PollTime) -> f64,
            ),
            ("poll_idle", "Time in rounds that found none, estimated from measured rounds.", |time| {
                time.idle
            }),
            ("poll_asleep", "Time asleep until a packet came.", |time| time.asleep),
        ] {
            sheet.counted_seconds(
                name,
                help,
                of(part).into_iter().map(|(at, seconds)| (label(at), seconds)),
            )?;
        }
        let running = workers.iter().map(|worker| f64::from(u8::from(worker.is_running())));
        sheet.gauges(
            ("worker_running", None),
            "Whether a worker polls its ports.",
            running.enumerate().map(|(at, value)| (label(at), value)),
        )
    }

    fn write_pools(&self, sheet: &mut Sheet<'_>, in_force: &InForce) -> Written {
        let ids = in_force.names.pools_in_order(&in_force.config);
        let pools = in_force.config.pools.iter().zip(ids);
        let read = pools.map(|(pool, id)| (pool.name.as_str(), self.books.pool(id)));
        let seen: Vec<_> = read.filter(|(_, totals)| totals.packets > 0).collect();
        let series = |part: fn(&sekisho_dataplane::counters::PoolTotals) -> u64| {
            seen.iter().map(move |(name, totals)| ([("pool", *name)], part(totals)))
        };
        sheet.counters(
            packets("pool"),
            "Packets from a pool's customers, and to them.",
            series(|totals| totals.packets),
        )?;
        sheet.counters(packets("pool_denied"), "Of these, denied.", series(|totals| totals.denied))?;
        sheet.counters(
            packets("pool_would_deny"),
            "Of these, forwarded though a monitored rule would have denied them.",
            series(|totals| totals.would),
        )
    }

    fn write_generation(&self, sheet: &mut Sheet<'_>, in_force: &InForce) -> Written {
        sheet.gauge(("generation", None), "The generation in force.", in_force.generation as f64)?;
        sheet.gauge(
            seconds("generation_start_time"),
            "Since when it is in force, as Unix time.",
            in_force.since_micros as f64 / 1e6,
        )?;
        let reloads = self.books.reloads.read();
        sheet.family(
            seconds("reload"),
            "How long reloads took that put a generation in force.",
            MetricType::Histogram,
            |encoder| {
                encoder.encode_histogram::<NoLabelSet>(reloads.seconds, reloads.done, &reloads.buckets, None)
            },
        )?;
        sheet.family(
            ("reloads_refused", None),
            "Reloads that changed nothing.",
            MetricType::Counter,
            |encoder| encoder.encode_counter::<NoLabelSet, _, u64>(&reloads.refused, None),
        )?;
        let grants = self.books.grants.load(Ordering::Relaxed);
        sheet.gauge(("grants", None), "Grants that are not over.", grants as f64)?;
        let tables = || in_force.tables.iter().map(|table| (table, [("table", table.table.as_str())]));
        sheet.gauges(
            ("table_prefixes", None),
            "Prefixes in a table.",
            tables().map(|(table, label)| (label, table.prefixes as f64)),
        )?;
        sheet.gauges(
            bytes("table"),
            "Bytes that a table takes.",
            tables().map(|(table, label)| (label, table.bytes as f64)),
        )?;
        self.write_kernel(sheet)?;
        let phases = || {
            in_force.phases().map(|(policy, phase, begun)| {
                let label = [("policy", policy.name.as_str()), ("phase", phase.name.as_str())];
                (label, phase.from_micros, begun)
            })
        };
        sheet.gauges(
            ("phase_begun", None),
            "Whether a phase has begun.",
            phases().map(|(label, _, begun)| (label, f64::from(u8::from(begun)))),
        )?;
        sheet.gauges(
            seconds("phase_start_time"),
            "When a phase begins or began, as Unix time.",
            phases().map(|(label, from, _)| (label, from as f64 / 1e6)),
        )?;
        sheet.gauge(
            seconds("start_time"),
            "When the daemon started, as Unix time.",
            self.books.started_micros as f64 / 1e6,
        )?;
        sheet.family(("build", None), "The build that runs.", MetricType::Info, |encoder| {
            encoder.encode_info(&[("version", env!("CARGO_PKG_VERSION"))])
        })
    }
}

fn write_ports(sheet: &mut Sheet<'_>, ports: &[PortReading<'_>]) -> Written {
    let series =
        |part: fn(&PortReading<'_>) -> u64| ports.iter().map(move |port| ([("port", port.name)], part(port)));
    sheet.counters(packets("received"), "Packets received.", series(|port| port.totals.received))?;
    sheet.counters(bytes("received"), "Their bytes.", series(|port| port.totals.received_bytes))?;
    sheet.counters(
        packets("forwarded"),
        "Packets received here that were forwarded and left, monitored ones included.",
        series(|port| port.told.forwarded),
    )?;
    let by_reason = |known: fn(Reason) -> bool, part: fn(&Totals, Reason) -> u64| {
        ports.iter().flat_map(move |port| {
            let reasons = Reason::ALL.iter().map(move |reason| (*reason, part(&port.totals, *reason)));
            let some = reasons.filter(move |(reason, count)| known(*reason) || *count > 0);
            some.map(move |(reason, count)| ([("port", port.name), ("reason", reason.code())], count))
        })
    };
    sheet.counters(
        packets("denied"),
        "Packets received here that were dropped, rejected or diverted; diverts that found no room too.",
        by_reason(can_deny, denied),
    )?;
    sheet.counters(
        packets("would_deny"),
        "Packets received here that were forwarded though a monitored rule would have denied them.",
        by_reason(can_be_monitored, |totals, reason| totals.would[reason as usize]),
    )?;
    sheet.counters(
        ("rejects_sent", None),
        "Denied packets received here that were answered.",
        series(|port| port.told.rejects_sent),
    )?;
    sheet.counters(
        ("rejects_suppressed", None),
        "Denied packets received here that were not answered, over their budget.",
        series(|port| port.totals.suppressed),
    )?;
    sheet.counters(
        ("replies_lost", None),
        "Answers that found no room on their way out.",
        series(|port| port.totals.replies_lost),
    )?;
    sheet.counters(
        ("rx_missed", None),
        "Packets that the interface received and no worker was given: the ring was full.",
        series(|port| port.missed),
    )?;
    sheet.counters(
        ("rx_ring_full", None),
        "Of these, packets for which the receive ring of an AF_XDP socket had no room.",
        series(|port| port.ring_full),
    )?;
    sheet.counters(
        ("fill_ring_empty", None),
        "Times that the kernel found no free frame in the fill ring of an AF_XDP socket.",
        series(|port| port.fill_empty),
    )?;
    sheet.counters(
        ("tx_missed", None),
        "Frames that the driver could not send.",
        series(|port| port.transmit_missed),
    )?;
    sheet.counters(
        ("receive_errors", None),
        "Packets received here that the driver could not hand over.",
        series(|port| port.totals.receive_errors),
    )?;
    sheet.counters(
        ("forwards_lost", None),
        "Packets received here that were to be forwarded and found no room on their way out.",
        series(|port| port.totals.forwards_lost),
    )?;
    sheet.counters(
        ("diverts_lost", None),
        "Packets received here that were to be diverted and found no room on their way to the filter.",
        series(|port| port.totals.diverts_lost),
    )?;
    sheet.counters(
        ("fragments_unremembered", None),
        "Fragments whose datagram could not be remembered.",
        series(|port| port.totals.unremembered),
    )?;
    sheet.counters(
        packets("fragmented"),
        "Packets received here that left as fragments, in route mode.",
        series(|port| port.totals.fragmented),
    )?;
    sheet.counters(
        packets("kernel_sent"),
        "Frames of the kernel that left by the port, in route mode.",
        series(|port| port.totals.kernel_sent),
    )?;
    sheet.gauges(
        ("waiting_packets", None),
        "Packets received here that wait for their next hop's MAC, in route mode.",
        ports.iter().map(|port| ([("port", port.name)], port.totals.waiting as f64)),
    )?;
    sheet.counters(
        packets("transmitted"),
        "Frames that left by the port, answers included.",
        series(|port| port.told.transmitted),
    )?;
    sheet.counters(bytes("transmitted"), "Their bytes.", series(|port| port.told.transmitted_bytes))?;
    sheet.gauges(
        ("port_up", None),
        "Whether a port works.",
        ports.iter().map(|port| ([("port", port.name)], f64::from(u8::from(port.up)))),
    )
}

/// What is mirrored of the kernel's routes.
fn write_mirror(sheet: &mut Sheet<'_>, mirror: &MirrorRead) -> Written {
    let routes = [("4", mirror.routes_v4), ("6", mirror.routes_v6)];
    sheet.gauges(
        ("routes", None),
        "Routes of the dataplane.",
        routes.map(|(version, count)| ([("ip", version)], count as f64)),
    )?;
    sheet.gauge(("neighbours", None), "Neighbours whose MAC is known.", mirror.neighbours as f64)?;
    sheet.gauge(("links", None), "Links that work.", mirror.links as f64)?;
    let one = |count: u64| [([] as [Label<'_>; 0], count)];
    sheet.counters(
        ("route_changes", None),
        "Changes made to routes, neighbours and links.",
        one(mirror.changes),
    )?;
    sheet.counters(
        ("route_changes_refused", None),
        "Changes that could not be made.",
        one(mirror.refused),
    )?;
    sheet.gauge(
        seconds("route_lag"),
        "How long the last batch of changes took, from being read to being in force.",
        mirror.last_seconds,
    )
}

/// What was carried between workers and the kernel.
fn write_twins(sheet: &mut Sheet<'_>, twins: &TwinsRead) -> Written {
    let one = |count: u64| [([] as [Label<'_>; 0], count)];
    sheet.counters(
        packets("punted"),
        "Frames for the router itself that the kernel was given.",
        one(twins.to_kernel),
    )?;
    let lost = [("refused", twins.refused), ("limited", twins.limited), ("full", twins.full)];
    sheet.counters(
        packets("punts_lost"),
        "Frames for the router itself that it was not given.",
        lost.map(|(why, count)| ([("why", why)], count)),
    )?;
    sheet.counters(packets("from_kernel"), "Frames that the kernel sent.", one(twins.from_kernel))?;
    sheet.counters(
        packets("from_kernel_lost"),
        "Of these, lost on the way to their port.",
        one(twins.unsent),
    )?;
    sheet.counters(
        ("neighbours_wanted", None),
        "Addresses that workers wanted to know the MACs of.",
        one(twins.wanted),
    )?;
    sheet.counters(
        ("neighbours_unasked", None),
        "Packets whose next hop was not asked for: its link had asked for too many.",
        one(twins.wants_lost),
    )
}

impl Collector for Families {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> Written {
        self.write(&mut Sheet(encoder))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn poll_time_adds_up_to_the_time_that_passed_and_never_goes_back() {
        let mut time = PollTime::default();
        time.advance(10.0, 2.0, 300, 100);
        assert_eq!((time.busy, time.idle, time.asleep), (6.0, 2.0, 2.0));
        let before = time;
        time.advance(11.0, 2.0, 300, 100);
        assert_eq!(time, before, "nothing was measured: the second waits");
        time.advance(12.0, 2.0, 300, 200);
        assert_eq!((time.busy, time.idle, time.asleep), (6.0, 4.0, 2.0));
        // The worker booked its sleep later than it was read.
        time.advance(12.5, 3.0, 400, 200);
        assert_eq!((time.busy, time.idle, time.asleep), (6.0, 4.0, 3.0));
    }
}
