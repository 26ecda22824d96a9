#!/bin/sh
# Makes this host take what a checkpoint diverts to it, and gives it to the Postfix here.
#
#     divert-to-postfix.sh DEVICE CHECK4/LEN ROUTER_MAC POSTFIX4 [POSTFIX6]
#
#     DEVICE        the interface on the cable to the checkpoint's `filter` port; nothing else is on it
#     CHECK4/LEN    an address of its own for DEVICE, which the checkpoint may check: 169.254.25.1/30
#     ROUTER_MAC    who gets the answers: the router on the customers' side of the checkpoint
#     POSTFIX4, 6   addresses of this host that Postfix listens at, not on DEVICE
#
# Postfix sends mail on by another interface of this host. Called again, it begins afresh. Needs root, nft and ip.
set -eu
[ $# -ge 4 ] || { sed -n '2,12s/^# \{0,1\}//p' "$0" >&2; exit 2; }
device=$1 check=$2 router=$3 postfix4=$4 postfix6=${5:-}
mark=25

ip address replace "$check" dev "$device"
# A switch would not show frames to others' addresses to anybody; the checkpoint sends them here.
ip link set "$device" promisc on up
for where in all "$device"; do
    echo 0 >"/proc/sys/net/ipv4/conf/$where/rp_filter"
done

# Answers of diverted connections leave as they came, by DEVICE. There is no ARP for customers there.
ip -4 route replace default via 169.254.25.254 dev "$device" onlink table $mark
ip -4 neighbour replace 169.254.25.254 lladdr "$router" dev "$device" nud permanent
network=$(ip -4 route show dev "$device" proto kernel scope link | awk 'NR == 1 { print $1 }')
[ -z "$network" ] || ip -4 route replace "$network" dev "$device" table $mark
ip -4 rule del fwmark $mark lookup $mark 2>/dev/null || true
ip -4 rule add fwmark $mark lookup $mark
if [ -n "$postfix6" ]; then
    ip -6 route replace default via fe80::25:254 dev "$device" onlink table $mark
    ip -6 neighbour replace fe80::25:254 lladdr "$router" dev "$device" nud permanent
    ip -6 rule del fwmark $mark lookup $mark 2>/dev/null || true
    ip -6 rule add fwmark $mark lookup $mark
fi

nft -f - <<END
table netdev sekisho
delete table netdev sekisho
table netdev sekisho {
    # The frames are for the router that the customer meant; here they are for this host.
    chain ingress {
        type filter hook ingress device "$device" priority -500;
        ether type { ip, ip6 } meta pkttype set host
    }
}
table inet sekisho
delete table inet sekisho
table inet sekisho {
    chain divert {
        type nat hook prerouting priority dstnat;
        iifname "$device" meta nfproto ipv4 tcp dport 25 ct mark set $mark dnat ip to $postfix4
        ${postfix6:+iifname "$device" meta nfproto ipv6 tcp dport 25 ct mark set $mark dnat ip6 to $postfix6}
    }
    chain answers {
        type route hook output priority mangle;
        ct mark $mark meta mark set ct mark
    }
}
END
