//! The general parser on frames of each shape: pnet's views, and the checks in front of them. (The straight path
//! reads frames of the common shape by itself; `pipeline` and `decide` have it.)

use std::hint::black_box;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use sekisho_bench::frames::{Frames, Packet, Part};
use sekisho_bench::print_line_rate_share;
use sekisho_bench::streams::Numbers;
use sekisho_dataplane::frame::{Depth, Frame, Link, parse};

const FRAMES: usize = 8_192;

fn shapes() -> Vec<(&'static str, Frames)> {
    let mut numbers = Numbers::new(25);
    let mut frames = |v6: bool, shape: &dyn Fn(usize, Packet) -> Packet| {
        Frames::new(
            (0..FRAMES)
                .map(|n| shape(n, Packet::new(address(&mut numbers, v6), address(&mut numbers, v6), 443))),
        )
    };
    let part = |n: usize| match n % 2 {
        0 => Part::First(n as u16),
        _ => Part::Later(n as u16),
    };
    vec![
        ("v4/plain", frames(false, &|_, packet| packet)),
        ("v4/vlan", frames(false, &|_, packet| Packet { tags: &[0x8100], ..packet })),
        ("v4/qinq", frames(false, &|_, packet| Packet { tags: &[0x88a8, 0x8100], ..packet })),
        ("v4/pppoe", frames(false, &|_, packet| Packet { pppoe: true, ..packet })),
        ("v4/fragments", frames(false, &|n, packet| Packet { part: part(n), ..packet })),
        ("v6/plain", frames(true, &|_, packet| packet)),
        ("v6/3-headers", frames(true, &|_, packet| Packet { extensions: &[0, 60, 43], ..packet })),
        ("v6/fragments", frames(true, &|n, packet| Packet { part: part(n), ..packet })),
    ]
}

fn address(numbers: &mut Numbers, v6: bool) -> IpAddr {
    match v6 {
        false => IpAddr::V4((0x0a00_0000 | numbers.draw() as u32 >> 8).into()),
        true => IpAddr::V6((0x2001_0db8 << 96 | numbers.wide() >> 32).into()),
    }
}

fn parse_all(frames: &Frames) -> usize {
    let depth = Depth::default();
    frames
        .iter()
        .filter(|frame| matches!(parse(Link::Ethernet, black_box(frame), depth), Frame::Ip(_)))
        .count()
}

fn bench(c: &mut Criterion) {
    let mut group = c.benchmark_group("parse");
    group.sample_size(20).warm_up_time(Duration::from_millis(300)).measurement_time(Duration::from_secs(1));
    for (name, frames) in shapes() {
        assert_eq!(parse_all(&frames), FRAMES, "{name}");
        group.throughput(Throughput::Elements(FRAMES as u64));
        group.bench_function(name, |b| b.iter(|| black_box(parse_all(&frames))));
        if name == "v4/plain" {
            let started = Instant::now();
            let packets: usize = (0..200).map(|_| black_box(parse_all(&frames))).sum();
            print_line_rate_share(&format!("parse/{name}"), packets as f64 / started.elapsed().as_secs_f64());
        }
    }
    group.finish();
}

criterion_group!(benches, bench);
criterion_main!(benches);
