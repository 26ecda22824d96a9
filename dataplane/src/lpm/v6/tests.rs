use std::sync::atomic::{AtomicBool, Ordering};

use proptest::prelude::*;

use super::super::twin::{Numbers, Twin, addresses_6, prefix_6, twin_6};
use super::super::{BuildError, MAX_ID};
use super::*;

impl Numbers {
    fn wide(&mut self) -> u128 {
        u128::from(self.next()) << 64 | u128::from(self.next())
    }
}

/// The prefixes below every width of index, for every kind of processor there is.
fn tries(twin: &Twin<u128>) -> Vec<Trie> {
    let runs = flatten(&sorted(&twin.entries()).unwrap());
    let all = Level::all().flat_map(|level| [8, 16].map(|bits| (level, bits)));
    all.map(|(level, bits)| Trie::with_index(&runs, bits, level).unwrap()).collect()
}

fn agrees(trie: &Trie, twin: &Twin<u128>, addresses: &[u128]) -> Result<(), TestCaseError> {
    let expected: Vec<u32> = addresses.iter().map(|address| twin.lookup(*address)).collect();
    let scalar: Vec<u32> = addresses.iter().map(|address| trie.lookup(*address)).collect();
    prop_assert_eq!(&scalar, &expected);
    let mut burst = vec![u32::MAX; addresses.len()];
    trie.lookup_burst(addresses, &mut burst);
    prop_assert_eq!(&burst, &expected);
    Ok(())
}

/// Random prefixes of the lengths of a router's table, in a few crowded regions.
fn many(count: usize, numbers: &mut Numbers) -> Twin<u128> {
    let lengths = [20, 29, 32, 32, 36, 40, 44, 44, 48, 48, 48, 48, 48, 48, 56, 64, 64, 127, 128, 128];
    let prefixes = (0..count).map(|_| {
        let len = lengths[numbers.next() as usize % lengths.len()];
        let region = [0x2001u128, 0x2400, 0x2a00, 0x2a01][numbers.next() as usize % 4] << 112;
        // Half of them within a /32, half of these within a /64.
        let spread =
            [u128::MAX >> 16, u128::MAX >> 16, u128::MAX >> 32, u128::MAX >> 64][numbers.next() as usize % 4];
        let address = (region | numbers.wide() & spread) & !u128::MAX.checked_shr(len).unwrap_or(0);
        ((len as u8, address), 1 + numbers.next() as u32 % MAX_ID)
    });
    Twin(prefixes.collect())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn every_trie_answers_as_the_twin(twin in twin_6(120), addresses in addresses_6(100)) {
        let mut addresses = addresses;
        addresses.extend(twin.boundaries());
        for trie in tries(&twin) {
            agrees(&trie, &twin, &addresses)?;
        }
    }
}

#[test]
fn a_burst_of_any_length_answers_as_one_lookup_at_a_time() {
    let mut numbers = Numbers(1);
    let twin = many(3000, &mut numbers);
    let inside: Vec<(u8, u128)> = twin.0.keys().copied().collect();
    for trie in tries(&twin) {
        for length in 0..=200 {
            let addresses: Vec<u128> = (0..length)
                .map(|_| {
                    let (len, first) = inside[numbers.next() as usize % inside.len()];
                    first | numbers.wide() & u128::MAX.checked_shr(len.into()).unwrap_or(0)
                })
                .collect();
            agrees(&trie, &twin, &addresses).unwrap();
        }
    }
}

#[test]
fn a_large_table_answers_as_the_twin_at_all_its_boundaries() {
    let twin = many(50_000, &mut Numbers(2));
    let table = Table6::build(&twin.entries()).unwrap();
    assert_eq!(table.prefixes(), twin.0.len());
    let Form::Trie(trie) = &table.form else { panic!("{:?}", table.form) };
    agrees(trie, &twin, &twin.boundaries()).unwrap();
}

#[test]
fn prefixes_that_end_where_the_halves_meet_are_kept_apart() {
    // Every length from 50 to 80 around one address, and each one's neighbour, in the midst of many /64s.
    let address = 0x2001_0db8_0001_0203_0405_0607_0809_0a0bu128;
    let mut twin = Twin(Default::default());
    for len in 50..=80u8 {
        let first = address & !u128::MAX.checked_shr(len.into()).unwrap_or(0);
        twin.0.insert((len, first), u32::from(len));
        twin.0.insert((len, first ^ 1 << (128 - len)), 100 + u32::from(len));
    }
    for subnet in 0..300u128 {
        twin.0.insert((64, (0x2001_0db8_0001 << 80) | subnet << 64), 1000 + subnet as u32);
        twin.0.insert((128, address & !0xffff | subnet), 2000 + subnet as u32);
    }
    for trie in tries(&twin) {
        agrees(&trie, &twin, &twin.boundaries()).unwrap();
    }
}

#[test]
fn an_empty_table_and_one_with_a_default_route_alone_take_no_memory() {
    let empty = Table6::default();
    assert_eq!((empty.prefixes(), empty.memory_bytes(), empty.lookup(1)), (0, 0, 0));
    let route = Table6::build(&[("::/0".parse().unwrap(), 7)]).unwrap();
    assert_eq!((route.prefixes(), route.memory_bytes(), route.lookup(u128::MAX)), (1, 0, 7));
}

#[test]
fn a_small_table_is_small() {
    let pools = ["2001:db8::/32", "2001:db8:1::/48", "2001:db8:2:3::4/128"];
    let table = Table6::build(&pools.map(|pool| (pool.parse().unwrap(), 1))).unwrap();
    assert!(table.memory_bytes() < 8 << 10, "{}", table.memory_bytes());
}

#[test]
#[should_panic(expected = "one id for each address")]
fn a_burst_with_too_few_ids_panics() {
    Table6::default().lookup_burst(&[1, 2], &mut [0]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn a_live_table_answers_after_each_change_as_the_twin(
        twin in twin_6(60),
        changes in prop::collection::vec((prefix_6(), any::<bool>()), 1..40),
        addresses in addresses_6(40),
    ) {
        let mut twin = twin;
        let mut live = Live6::with_limit(&twin.entries(), 8 << 20).unwrap();
        let mut reader = live.reader();
        let known: Vec<_> = twin.0.keys().copied().collect();
        for (number, ((key, id), insert)) in changes.into_iter().enumerate() {
            // Every other removal finds something to remove.
            let key = if insert || known.is_empty() || number % 2 == 0 { key } else { known[number % known.len()] };
            let network = Ipv6Network::new(key.1.into(), key.0).unwrap();
            let before = if insert { live.insert(network, id).unwrap() } else { live.remove(network).unwrap() };
            prop_assert_eq!(before, if insert { twin.0.insert(key, id) } else { twin.0.remove(&key) });
            prop_assert_eq!(live.prefixes(), twin.0.len());
            let probes: Vec<u128> = addresses.iter().copied().chain(twin.boundaries()).collect();
            let expected: Vec<u32> = probes.iter().map(|address| twin.lookup(*address)).collect();
            let mut ids = vec![0; probes.len()];
            reader.lookup_burst(&probes, &mut ids);
            prop_assert_eq!(&ids, &expected);
            prop_assert!(probes.iter().all(|address| live.lookup(*address) == reader.lookup(*address)));
            reader.quiescent();
        }
    }
}

#[test]
fn a_table_that_is_emptied_gives_all_its_memory_back_but_for_a_line_for_each_id() {
    let twin = many(2000, &mut Numbers(4));
    let mut live = Live6::with_limit(&[], 16 << 20).unwrap();
    let empty = live.memory_bytes();
    for (network, id) in twin.entries() {
        live.insert(network, 1 + id % 50).unwrap();
    }
    for (network, _) in twin.entries() {
        live.remove(network).unwrap();
    }
    live.reclaim();
    assert_eq!(live.prefixes(), 0);
    // The tables themselves stay, as wide as they have become.
    let mut rest = live.memory_bytes() - empty;
    for region in [0x2001u128, 0x2400, 0x2a00, 0x2a01] {
        let network = Ipv6Network::new((region << 112).into(), 16).unwrap();
        live.insert(network, 1).unwrap();
        live.remove(network).unwrap();
    }
    live.reclaim();
    assert!(live.memory_bytes() - empty <= rest);
    rest = live.memory_bytes() - empty;
    assert!(rest <= 51 * 64, "{rest}");
}

#[test]
fn a_change_that_finds_no_room_changes_nothing() {
    let mut live = Live6::with_limit(&[], (256 << 10) + 4096).unwrap();
    let network = |host: u128| Ipv6Network::new((0x2001_0db8 << 96 | host << 64 | host).into(), 128).unwrap();
    let mut accepted = Vec::new();
    let error = (0..).find_map(|host| match live.insert(network(host), 1 + host as u32 % 3) {
        Ok(before) => {
            assert_eq!(before, None);
            accepted.push(host);
            None
        }
        Err(error) => Some(error),
    });
    assert_eq!(error, Some(BuildError::OutOfSpace));
    assert_eq!(live.prefixes(), accepted.len());
    for &host in &accepted {
        assert_eq!(live.lookup(network(host).ip().into()), 1 + host as u32 % 3);
    }
    assert_eq!(live.lookup(network(accepted.len() as u128).ip().into()), 0);
    for host in accepted.into_iter().rev() {
        live.remove(network(host)).unwrap();
    }
    assert_eq!((live.prefixes(), live.lookup(0x2001_0db8 << 96)), (0, 0));
}

#[test]
fn readers_see_the_old_or_the_new_id_and_nothing_else_while_the_table_changes() {
    let rounds = if cfg!(miri) { 20 } else { 4000 };
    let mut numbers = Numbers(3);
    // The prefixes that come and go are 1 or 2; around them is always 3.
    let mut live = Live6::with_limit(&[("2001:db8::/32".parse().unwrap(), 3)], 4 << 20).unwrap();
    let done = AtomicBool::new(false);
    let networks: Vec<Ipv6Network> = (0..64)
        .map(|_| {
            let len = [34, 36, 40, 48, 56, 64, 80, 128][numbers.next() as usize % 8];
            let address =
                0x2001_0db8 << 96 | u128::from(numbers.next() % 64) << 74 | u128::from(numbers.next() % 4);
            Ipv6Network::new((address & !u128::MAX.checked_shr(len).unwrap_or(0)).into(), len as u8).unwrap()
        })
        .collect();
    std::thread::scope(|scope| {
        for thread in 0..2 {
            let mut reader = live.reader();
            let (done, networks) = (&done, &networks);
            scope.spawn(move || {
                let mut numbers = Numbers(100 + thread);
                let mut ids = [0; 48];
                while !done.load(Ordering::Relaxed) {
                    let addresses: [u128; 48] = std::array::from_fn(|_| {
                        let network = networks[numbers.next() as usize % networks.len()];
                        u128::from(network.ip()) ^ u128::from(numbers.next() % 2)
                    });
                    reader.lookup_burst(&addresses, &mut ids);
                    assert!(ids.iter().all(|id| (1..=3).contains(id)), "{ids:?}");
                    reader.quiescent();
                    if numbers.next().is_multiple_of(64) {
                        reader = reader.rest().wake();
                    }
                }
            });
        }
        for _ in 0..rounds {
            let network = networks[numbers.next() as usize % networks.len()];
            match numbers.next() % 3 {
                0 => live.remove(network).unwrap(),
                id => live.insert(network, id as u32).unwrap(),
            };
            live.reclaim();
        }
        done.store(true, Ordering::Relaxed);
    });
    live.reclaim();
    for network in networks {
        live.remove(network).unwrap();
    }
    assert_eq!(live.prefixes(), 1);
    assert_eq!(live.lookup(0x2001_0db8 << 96 | 0x1234), 3);
}
