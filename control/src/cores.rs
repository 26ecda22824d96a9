//! Which cores the workers run on.

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// The cores of the configuration, or one per available core less one for control.
///
/// # Errors
/// When a core does not exist or is not this process's to use; the message says which are.
pub fn choose(wanted: Option<&[usize]>) -> Result<Vec<usize>, String> {
    let available = all()?;
    let Some(wanted) = wanted else {
        // The first core is left to the control thread, where there is another.
        let workers = if available.len() > 1 { &available[1..] } else { &available[..] };
        return Ok(workers.to_vec());
    };
    match wanted.iter().find(|core| !available.contains(core)) {
        None => Ok(wanted.to_vec()),
        Some(missing) => Err(format!(
            "core {missing} of `cores` is not available to this process; available: {}",
            ranges(&available)
        )),
    }
}

/// Binds the calling thread to a core.
///
/// # Errors
/// When the kernel refuses.
pub fn pin(core: usize) -> Result<(), rustix::io::Errno> {
    let mut set = CpuSet::new();
    set.set(core);
    sched_setaffinity(None, &set)
}

/// Keeps the calling thread off the workers' cores. It stays where it is if they have all of `all`, or the kernel
/// refuses: that costs speed and nothing else.
pub fn keep_off(workers: &[usize], all: &[usize]) {
    let mut set = CpuSet::new();
    all.iter().filter(|core| !workers.contains(core)).for_each(|core| set.set(*core));
    if set.count() > 0 {
        let _ = sched_setaffinity(None, &set);
    }
}

/// All cores that this process may use.
///
/// # Errors
/// When the kernel does not say.
pub fn all() -> Result<Vec<usize>, String> {
    let set = sched_getaffinity(None)
        .map_err(|error| format!("the cores of this process can't be told: {error}"))?;
    Ok((0..CpuSet::MAX_CPU).filter(|core| set.is_set(*core)).collect())
}

/// `0-3, 6`.
fn ranges(cores: &[usize]) -> String {
    let runs = cores.chunk_by(|a, b| a + 1 == *b).map(|run| match run {
        [one] => one.to_string(),
        [first, .., last] => format!("{first}-{last}"),
        [] => String::new(),
    });
    runs.collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_core_that_does_not_exist_is_refused_by_its_number() {
        let message = choose(Some(&[CpuSet::MAX_CPU - 1])).unwrap_err();
        assert!(message.contains(&(CpuSet::MAX_CPU - 1).to_string()), "{message}");
    }

    #[test]
    fn without_a_wish_there_is_at_least_one_worker() {
        assert!(!choose(None).unwrap().is_empty());
    }

    #[test]
    fn cores_are_listed_in_ranges() {
        assert_eq!(ranges(&[0, 1, 2, 5, 7, 8]), "0-2, 5, 7-8");
    }
}
