use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use proptest::prelude::*;

use super::*;
use crate::publication::publish;

fn v4(n: u32) -> u128 {
    Attempt::ends(&Addresses::V4 { source: n, destination: 0 }).0
}

fn attempt(customer: u128, other_end: u128) -> Attempt {
    Attempt {
        customer,
        other_end,
        pool: PoolId(1),
        destination: Destination::Other,
        monitored: false,
        opens: true,
        answer: false,
    }
}

fn at(micros: i64) -> Instant {
    Instant::from_utc_micros(micros)
}

fn book(recorder: &mut Recorder, attempt: Attempt, now: i64) {
    recorder.note(&attempt, at(now));
    recorder.book(at(now));
}

#[test]
fn a_customer_stands_there_with_everything_that_it_tried() {
    let affected = Affected::new(1, 64);
    let mut recorder = affected.recorder(0);
    let own = Attempt { destination: Destination::Own, pool: PoolId(2), ..attempt(v4(7), v4(1)) };
    book(&mut recorder, own, -5);
    book(&mut recorder, Attempt { monitored: true, opens: false, ..own }, 10);
    let listed = Attempt { destination: Destination::Listed, pool: PoolId(3), ..attempt(v4(7), v4(2)) };
    book(&mut recorder, Attempt { opens: false, answer: true, ..listed }, 20);
    book(&mut recorder, attempt(1 << 125, 5), 30);

    let report = affected.read();
    let [first, second] = &report.customers[..] else { panic!("{report:?}") };
    let record = &first.record;
    assert_eq!(record.customer, IpAddr::V4(Ipv4Addr::from_bits(7)));
    assert_eq!((record.pool, record.first_micros, record.last_micros), (PoolId(3), -5, 20));
    assert_eq!(record.packets, [[1, 1, 0], [1, 0, 0]]);
    assert_eq!((record.attempts(), record.denied(), record.would_deny()), (3, 2, 1));
    assert_eq!(Destination::ALL.map(|kind| record.to(kind)), [2, 1, 0]);
    assert_eq!((record.connections, record.answers, record.distinct.estimate()), (1, 1, 2));
    assert_eq!((record.inherited, first.at_most), (0, 3));
    assert_eq!(second.record.customer, "2000::".parse::<IpAddr>().unwrap());
    assert_eq!((report.attempts, report.displaced_customers, report.unlisted_at_most), (4, 0, 0));
}

#[test]
fn what_is_begun_anew_is_empty_and_the_former_list_rests() {
    let affected = Affected::new(2, 16);
    let mut recorders = [affected.recorder(0), affected.recorder(1)];
    for n in 0..100 {
        book(&mut recorders[n as usize % 2], attempt(v4(n), v4(1)), 1);
    }
    assert!(affected.read().displaced_customers > 0);
    assert_eq!(affected.former().attempts, 0, "there is none");
    let before = affected.read();
    affected.turn_over();
    let report = affected.read();
    assert!(report.customers.is_empty() && report.attempts == 0 && report.displaced_customers == 0);
    book(&mut recorders[1], attempt(v4(3), v4(1)), 2);
    let report = affected.read();
    assert_eq!((report.customers.len(), report.attempts, report.customers[0].at_most), (1, 1, 1));
    assert_eq!(report.customers[0].record.first_micros, 2);
    let former = affected.former();
    assert_eq!((&former.customers, former.attempts), (&before.customers, 100));
    affected.turn_over();
    assert_eq!((affected.read().attempts, affected.former().attempts), (0, 1), "the table was used before");
}

#[test]
fn lists_that_are_begun_anew_while_workers_book_hold_every_attempt_together() {
    const WORKERS: usize = 2;
    let affected = Affected::new(WORKERS, 64);
    let (mut publisher, readers) = publish(0, WORKERS);
    let (stop, noted) = (AtomicBool::new(false), AtomicU64::new(0));
    std::thread::scope(|scope| {
        let workers: Vec<_> = readers
            .into_iter()
            .enumerate()
            .map(|(worker, mut reader)| {
                let (mut recorder, stop, noted) = (affected.recorder(worker), &stop, &noted);
                scope.spawn(move || {
                    let mut online = reader.online();
                    while !stop.load(Ordering::Relaxed) {
                        let _generation = online.burst();
                        // At most as many customers as there is room for, so that nothing is displaced.
                        for n in 0..5 {
                            recorder.note(&attempt(v4(n), v4(1)), at(1));
                        }
                        recorder.locate();
                        recorder.book(at(1));
                        noted.fetch_add(5, Ordering::Relaxed);
                    }
                })
            })
            .collect();
        let (mut listed, mut turn) = (0, 0);
        while turn < 200 || noted.load(Ordering::Relaxed) < 10_000 {
            turn += 1;
            affected.turn_over();
            publisher.publish(turn);
            while publisher.reclaim() > 0 {
                std::hint::spin_loop();
            }
            let former = affected.former();
            listed += former.attempts;
            assert_eq!(former.attempts, affected.former().attempts, "it rests");
        }
        stop.store(true, Ordering::Relaxed);
        workers.into_iter().for_each(|worker| worker.join().unwrap());
        assert_eq!(listed + affected.read().attempts, noted.load(Ordering::Relaxed));
    });
}

#[test]
fn a_burst_of_more_attempts_than_a_recorder_gathers_is_booked_whole() {
    let affected = Affected::new(1, 64);
    let mut recorder = affected.recorder(0);
    for n in 0..3 * MAX_BURST as u32 {
        recorder.note(&attempt(v4(n % 5), v4(n)), at(1));
    }
    recorder.book(at(1));
    assert_eq!(affected.read().attempts, 3 * MAX_BURST as u64);
}

#[test]
fn the_customers_with_many_attempts_stay_in_a_flood_of_those_with_one() {
    let affected = Affected::new(1, 1_024);
    let mut recorder = affected.recorder(0);
    let flood = 200_000u32;
    for n in 0..flood {
        book(&mut recorder, attempt(v4(1_000_000 + n), v4(1)), n.into());
        if n % 100 == 0 {
            for heavy in 0..20 {
                book(&mut recorder, attempt(v4(heavy), v4(n)), n.into());
            }
        }
    }
    let report = affected.read();
    assert_eq!(report.attempts, u64::from(flood) + u64::from(flood / 100) * 20);
    let heavy: Vec<_> = report.customers.iter().filter(|c| is_heavy(c.record.customer)).collect();
    assert_eq!(heavy.len(), 20);
    assert!(heavy.iter().all(|c| c.record.attempts() <= 2_000 && 2_000 <= c.at_most));
    assert!(report.displaced_customers > 190_000);
}

fn is_heavy(customer: IpAddr) -> bool {
    matches!(customer, IpAddr::V4(address) if address.to_bits() < 20)
}

/// Ends the other thread, however this one ends.
struct OnEnd<'a>(&'a AtomicBool);

impl Drop for OnEnd<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn readers_never_see_one_customers_numbers_under_another_ones_name() {
    // Sixteen places for many customers, each with a pool, an instant and a kind of its own.
    let affected = Affected::new(1, WAYS);
    let mut recorder = affected.recorder(0);
    let done = AtomicBool::new(false);
    let reads = std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut n = 0u32;
            while !done.load(Ordering::Relaxed) {
                n = n % 40_000 + 1;
                let own =
                    Attempt { pool: PoolId(n as u16), opens: n.is_multiple_of(2), ..attempt(v4(n), v4(n)) };
                for _ in 0..3 {
                    book(&mut recorder, own, n.into());
                }
            }
        });
        let end = OnEnd(&done);
        let begun = std::time::Instant::now();
        let (mut reads, mut seen) = (0u64, HashSet::new());
        while seen.len() < 2_000 && begun.elapsed() < std::time::Duration::from_secs(20) {
            for Customer { record, .. } in affected.read().customers {
                let IpAddr::V4(address) = record.customer else { panic!("{record:?}") };
                let n = address.to_bits();
                assert_eq!(u32::from(record.pool.0), n, "{record:?}");
                assert_eq!((record.first_micros, record.last_micros), (n.into(), n.into()), "{record:?}");
                assert!(record.attempts() <= 3 && record.distinct.estimate() <= 1, "{record:?}");
                // A packet may be half booked, and counts nothing for anybody else.
                let most = if n % 2 == 0 { 3 } else { 0 };
                assert!(record.connections <= most, "{record:?}");
                seen.insert(n);
                reads += 1;
            }
        }
        drop(end);
        reads
    });
    assert!(reads > 0);
}

/// Everything that was booked, without a bound.
#[derive(Default)]
struct Twin {
    customers: BTreeMap<u128, (u64, HashSet<u128>, i64, i64)>,
}

impl Twin {
    fn book(&mut self, attempt: &Attempt, now: i64) {
        let (count, ends, first, last) =
            self.customers.entry(attempt.customer).or_insert((0, HashSet::new(), now, now));
        *count += 1;
        ends.insert(attempt.other_end);
        (*first, *last) = ((*first).min(now), (*last).max(now));
    }
}

proptest! {
    #[test]
    fn what_has_room_is_as_exact_as_a_list_and_what_has_not_is_within_the_bound(
        customers in 1u32..400,
        places in prop::sample::select(vec![16usize, 64, 512, 8_192]),
        workers in 1usize..4,
        packets in proptest::collection::vec((any::<u16>(), 0u8..30), 1..1_500),
    ) {
        let affected = Affected::new(workers, places);
        let mut recorders: Vec<Recorder> = (0..workers).map(|worker| affected.recorder(worker)).collect();
        let mut twin = Twin::default();
        for (now, (who, to)) in packets.iter().enumerate() {
            // Few customers have most of the packets.
            let who = (((u32::from(*who) * u32::from(*who)) >> 16) * customers) >> 16;
            let attempt = attempt(v4(who), v4(u32::from(*to)));
            let worker = (who as usize + usize::from(*to)) % workers;
            book(&mut recorders[worker], attempt, now as i64);
            twin.book(&attempt, now as i64);
        }
        let report = affected.read();
        prop_assert_eq!(report.attempts, packets.len() as u64);
        prop_assert_eq!(report.unread, 0);
        let listed: u64 = report.customers.iter().map(|c| c.record.attempts()).sum();
        prop_assert_eq!(listed + report.displaced_attempts, report.attempts);
        let known: HashMap<u128, &Customer> =
            report.customers.iter().map(|c| (number(c.record.customer), c)).collect();
        prop_assert_eq!(known.len(), report.customers.len());
        for (customer, (count, ends, first, last)) in &twin.customers {
            let Some(Customer { record, at_most }) = known.get(customer) else {
                prop_assert!(*count <= report.unlisted_at_most, "{} of {}", count, report.unlisted_at_most);
                continue;
            };
            prop_assert!(record.attempts() <= *count && *count <= *at_most);
            prop_assert!(*first <= record.first_micros && record.last_micros <= *last);
            if report.displaced_customers == 0 {
                prop_assert_eq!((record.attempts(), *at_most, record.inherited), (*count, *count, 0));
                prop_assert_eq!((record.first_micros, record.last_micros), (*first, *last));
                let (estimate, exact) = (record.distinct.estimate() as f64, ends.len() as f64);
                prop_assert!((estimate - exact).abs() <= exact * STANDARD_ERROR * 5.0 + 1.0);
            }
        }
        prop_assert!(known.keys().all(|customer| twin.customers.contains_key(customer)));
        // The bound of the paper, set by set, over all workers.
        let bound: u64 = (0..workers).map(|_| packets.len() as u64 / WAYS as u64).sum();
        prop_assert!(report.unlisted_at_most <= bound);
    }
}
