//! The whole pipeline in memory: receive, parse, look up, decide, act, count.

use std::time::{Duration, Instant};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use sekisho_bench::{Load, line_rate_share};
use sekisho_control::bench::traffic::{Shape, Size};
use sekisho_dataplane::tap::Wanted;

fn pipeline(c: &mut Criterion) {
    let mut group = c.benchmark_group("pipeline");
    let base = Shape { size: Size::Fixed(64), flows: 10_000, smtp_permille: 10, frames: 32_768 };
    let loads = [
        ("v4/64-byte/1000-pools/1%-smtp", false, 1_000, 4, base),
        ("v6/64-byte/1000-pools/1%-smtp", true, 1_000, 4, base),
        ("v4/imix/1000-pools/1%-smtp", false, 1_000, 4, Shape { size: Size::Imix, ..base }),
        ("v4/64-byte/64-pools-4-sets/1%-smtp", false, 64, 4, base),
        ("v4/64-byte/10000-pools-1000-sets/1%-smtp", false, 10_000, 1_000, base),
        ("v4/64-byte/1000-pools/100%-smtp", false, 1_000, 4, Shape { smtp_permille: 1000, ..base }),
    ];
    for (name, v6, pools, sets, shape) in loads {
        let mut load = Load::new(v6, pools, sets, shape);
        let packets = 32_768;
        group.throughput(Throughput::Elements(packets));
        group.bench_function(name, |b| {
            b.iter(|| load.carry(packets));
        });
        line_rate_share(name, &mut load);
    }
    group.finish();
}

/// The same while a capture runs. The time is the worker's alone: copies are taken by another thread in the daemon, and
/// between the bursts here.
fn captured(c: &mut Criterion) {
    let mut group = c.benchmark_group("pipeline-captured");
    let shape = Shape { size: Size::Fixed(64), flows: 10_000, smtp_permille: 10, frames: 32_768 };
    let denies = Wanted { denied: true, ..Wanted::ALL };
    for (name, wanted) in [("nothing", None), ("denies", Some(denies)), ("everything", Some(Wanted::ALL))] {
        let mut load = Load::new(false, 1_000, 4, shape);
        if let Some(wanted) = wanted {
            load.capture(wanted);
        }
        let packets = 2_048;
        group.throughput(Throughput::Elements(packets));
        group.bench_function(format!("v4/64-byte/1000-pools/1%-smtp/{name}"), |b| {
            b.iter_custom(|turns| {
                let mut time = Duration::ZERO;
                for _ in 0..turns {
                    let begun = Instant::now();
                    load.carry(packets);
                    time += begun.elapsed();
                    assert_eq!(load.take_copies().1, 0, "none is lost");
                }
                time
            });
        });
    }
    group.finish();
}

criterion_group!(benches, pipeline, captured);
criterion_main!(benches);
