//! What interfaces of VLANs on a twin are called.

use super::LONGEST_NAME;

/// The name of the interface of a VLAN on a twin: both, with a dot between. Where that is too long, the twin's is cut and has four
/// digits that follow from the whole of it, so that twins that begin alike have other names on them.
pub fn vlan_name(twin: &str, tag: u16) -> String {
    let whole = format!("{twin}.{tag}");
    if whole.len() <= LONGEST_NAME {
        return whole;
    }
    // FNV-1a, which is the same wherever and whenever it is asked.
    let hash =
        twin.bytes().fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    let end = format!("{:04x}.{tag}", (hash >> 16 ^ hash) & 0xffff);
    let room = LONGEST_NAME.saturating_sub(end.len());
    twin.chars().take(room).chain(end.chars()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vlans_on_twins_that_begin_alike_have_names_of_their_own_that_stay_the_same() {
        assert_eq!(vlan_name("sk-access", 100), "sk-access.100");
        let long: Vec<String> = ["sk-customers-a", "sk-customers-b", "sk-customers-ab"]
            .into_iter()
            .flat_map(|twin| [100, 4094].map(|tag| vlan_name(twin, tag)))
            .collect();
        assert_eq!(long[0], "sk-custa24a.100");
        for (at, name) in long.iter().enumerate() {
            assert!(name.len() <= LONGEST_NAME && !long[..at].contains(name), "{long:?}");
        }
    }
}
