use std::sync::atomic::{AtomicBool, Ordering};

use proptest::prelude::*;

use super::super::twin::{Numbers, Twin, addresses_4, prefix_4, twin_4};
use super::super::{BuildError, MAX_ID};
use super::*;

/// The prefixes in every structure, whether it suits them or not, for every kind of processor there is.
fn forms(twin: &Twin<u32>) -> Vec<Form> {
    let runs = flatten(&sorted(&twin.entries()).unwrap());
    let mut forms = Vec::new();
    for level in Level::all() {
        forms.push(Form::Packed(Packed::build(&runs, level).unwrap()));
        forms.extend(Paged::build(&runs, usize::MAX, level).map(Form::Paged));
    }
    forms
}

fn agrees(form: &Form, twin: &Twin<u32>, addresses: &[u32]) -> Result<(), TestCaseError> {
    let expected: Vec<u32> = addresses.iter().map(|address| twin.lookup(*address)).collect();
    let scalar: Vec<u32> = addresses.iter().map(|address| form.lookup(*address)).collect();
    prop_assert_eq!(&scalar, &expected);
    let mut burst = vec![u32::MAX; addresses.len()];
    form.lookup_burst(addresses, &mut burst);
    prop_assert_eq!(&burst, &expected);
    Ok(())
}

/// Random prefixes of the lengths of a router's table.
fn many(count: usize, numbers: &mut Numbers) -> Twin<u32> {
    let lengths = [8, 16, 18, 19, 20, 20, 21, 22, 22, 23, 24, 24, 24, 24, 24, 24, 25, 28, 30, 32];
    let prefixes = (0..count).map(|_| {
        let len = lengths[numbers.next() as usize % lengths.len()];
        let address = numbers.next() as u32 & !u32::MAX.checked_shr(len).unwrap_or(0);
        ((len as u8, address), 1 + numbers.next() as u32 % MAX_ID)
    });
    Twin(prefixes.collect())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn every_form_answers_as_the_twin(twin in twin_4(80), addresses in addresses_4(100)) {
        let mut addresses = addresses;
        addresses.extend(twin.boundaries());
        for form in forms(&twin) {
            agrees(&form, &twin, &addresses)?;
        }
    }
}

#[test]
fn a_burst_of_any_length_answers_as_one_lookup_at_a_time() {
    let mut numbers = Numbers(1);
    let twin = many(3000, &mut numbers);
    let inside: Vec<(u8, u32)> = twin.0.keys().copied().collect();
    for form in forms(&twin) {
        for length in 0..=200 {
            let addresses: Vec<u32> = (0..length)
                .map(|_| {
                    let (len, first) = inside[numbers.next() as usize % inside.len()];
                    first | (numbers.next() as u32 & u32::MAX.checked_shr(len.into()).unwrap_or(0))
                })
                .collect();
            agrees(&form, &twin, &addresses).unwrap();
        }
    }
}

#[test]
fn a_large_table_answers_as_the_twin_at_all_its_boundaries() {
    let twin = many(50_000, &mut Numbers(2));
    let boundaries = twin.boundaries();
    let table = Table4::build(&twin.entries()).unwrap();
    assert!(matches!(table.form, Form::Packed(_)));
    assert_eq!(table.prefixes(), twin.0.len());
    agrees(&table.form, &twin, &boundaries).unwrap();
}

#[test]
fn a_chunk_with_every_address_different_still_fits() {
    let hosts = (0..1u32 << 14).map(|host| ((32, 0x0a00_4000 | host), 1 + host % MAX_ID));
    let twin = Twin(hosts.collect());
    for form in forms(&twin) {
        agrees(&form, &twin, &twin.boundaries()).unwrap();
    }
}

#[test]
fn an_empty_table_and_one_with_a_default_route_alone_take_no_memory() {
    let empty = Table4::default();
    assert_eq!((empty.prefixes(), empty.memory_bytes(), empty.lookup(0x0a00_0001)), (0, 0, 0));
    let route = Table4::build(&[("0.0.0.0/0".parse().unwrap(), 7)]).unwrap();
    assert_eq!((route.prefixes(), route.memory_bytes(), route.lookup(u32::MAX)), (1, 0, 7));
    let mut ids = [9; 3];
    route.lookup_burst(&[0, 1, u32::MAX], &mut ids);
    assert_eq!(ids, [7; 3]);
}

#[test]
fn a_small_table_is_small() {
    let pools = ["10.0.0.0/8", "192.0.2.0/24", "198.51.100.17/32"];
    let table = Table4::build(&pools.map(|pool| (pool.parse().unwrap(), 1))).unwrap();
    assert!(table.memory_bytes() < 64 << 10, "{}", table.memory_bytes());
}

#[test]
#[should_panic(expected = "one id for each address")]
fn a_burst_with_too_few_ids_panics() {
    Table4::default().lookup_burst(&[1, 2], &mut [0]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    #[test]
    fn a_live_table_answers_after_each_change_as_the_twin(
        twin in twin_4(30),
        changes in prop::collection::vec((prefix_4(), any::<bool>()), 1..25),
        addresses in addresses_4(40),
    ) {
        let mut twin = twin;
        let mut live = Live4::with_limit(&twin.entries(), 16 << 20).unwrap();
        let mut reader = live.reader();
        let known: Vec<_> = twin.0.keys().copied().collect();
        for (number, ((key, id), insert)) in changes.into_iter().enumerate() {
            // Every other removal finds something to remove.
            let key = if insert || known.is_empty() || number % 2 == 0 { key } else { known[number % known.len()] };
            let network = Ipv4Network::new(key.1.into(), key.0).unwrap();
            let before = if insert { live.insert(network, id).unwrap() } else { live.remove(network).unwrap() };
            prop_assert_eq!(before, if insert { twin.0.insert(key, id) } else { twin.0.remove(&key) });
            prop_assert_eq!(live.prefixes(), twin.0.len());
            let probes: Vec<u32> = addresses.iter().copied().chain(twin.boundaries()).collect();
            let expected: Vec<u32> = probes.iter().map(|address| twin.lookup(*address)).collect();
            let mut ids = vec![0; probes.len()];
            reader.lookup_burst(&probes, &mut ids);
            prop_assert_eq!(&ids, &expected);
            prop_assert!(probes.iter().all(|address| live.lookup(*address) == reader.lookup(*address)));
            reader.quiescent();
        }
        let rebuilt = Live4::with_limit(&twin.entries(), 16 << 20).unwrap();
        // What stays behind is at most a block for each id that once filled a chunk.
        prop_assert!(live.memory_bytes() <= rebuilt.memory_bytes() + 64 * 16);
    }
}

#[test]
fn a_change_that_finds_no_room_changes_nothing() {
    let mut live = Live4::with_limit(&[], (1 << 20) + 4096).unwrap();
    let network =
        |second: u32, host: u32| Ipv4Network::new((0x0a00_0000 | second << 16 | host).into(), 32).unwrap();
    let mut accepted = Vec::new();
    let error = (0..).find_map(|host| match live.insert(network(host % 8, host), 1 + host) {
        Ok(before) => {
            assert_eq!(before, None);
            accepted.push(host);
            None
        }
        Err(error) => Some(error),
    });
    assert_eq!(error, Some(BuildError::OutOfSpace));
    assert_eq!(live.prefixes(), accepted.len());
    for host in &accepted {
        assert_eq!(live.lookup(network(host % 8, *host).ip().into()), 1 + host);
    }
    let refused = accepted.len() as u32;
    assert_eq!(live.lookup(network(refused % 8, refused).ip().into()), 0);
    for host in accepted {
        live.remove(network(host % 8, host)).unwrap();
    }
    assert_eq!((live.prefixes(), live.lookup(0x0a00_0000)), (0, 0));
}

#[test]
fn readers_see_the_old_or_the_new_id_and_nothing_else_while_the_table_changes() {
    let rounds = if cfg!(miri) { 20 } else { 4000 };
    let mut numbers = Numbers(3);
    // The prefixes that come and go are 1 or 2; around them is always 3.
    let mut live = Live4::with_limit(&[("10.0.0.0/8".parse().unwrap(), 3)], 4 << 20).unwrap();
    let done = AtomicBool::new(false);
    let networks: Vec<Ipv4Network> = (0..64)
        .map(|_| {
            let len = [12, 17, 18, 22, 24, 25, 29, 32][numbers.next() as usize % 8];
            let address = 0x0a00_0000 | (numbers.next() as u32 % (1 << 18)) << 4;
            Ipv4Network::new((address & !u32::MAX.checked_shr(len).unwrap_or(0)).into(), len as u8).unwrap()
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
                    let addresses: [u32; 48] = std::array::from_fn(|_| {
                        let network = networks[numbers.next() as usize % networks.len()];
                        u32::from(network.ip()) ^ (numbers.next() as u32 & 1)
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
    assert_eq!(live.lookup(0x0a12_3456), 3);
}
