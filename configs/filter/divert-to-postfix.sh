#!/bin/sh
# Makes this host take what a checkpoint diverts to it, and gives it to the Postfix here.
#
#     divert-to-postfix.sh DEVICE CHECK4/LEN ROUTER_MAC POSTFIX4 [POSTFIX6]
#     divert-to-postfix.sh --undo
#
#     DEVICE        the interface on the cable to the checkpoint's `filter` port; nothing else is on it
#     CHECK4/LEN    an address of its own for DEVICE, which the checkpoint may check: 169.254.25.1/30
#     ROUTER_MAC    who gets the answers: the router on the customers' side of the checkpoint
#     POSTFIX4, 6   addresses of this host that Postfix listens at, not on DEVICE
#
# Postfix sends mail on by another interface of this host, where the default route leads. What is set concerns DEVICE
# and port 25 on it alone, and --undo takes it back. Called again, it begins afresh. Needs root, nft and ip.
set -eu
mark=25
gateway4=169.254.25.254 gateway6=fe80::25:254

# How DEVICE was before stands in the comment of a table, which is there as long as what was set.
undo() {
    before=$(nft list table inet sekisho 2>/dev/null | sed -n 's/.*comment "before: \(.*\)".*/\1/p')
    for family in -4 -6; do
        ip $family rule del fwmark $mark lookup $mark 2>/dev/null || true
        ip $family route flush table $mark 2>/dev/null || true
    done
    for table in "netdev sekisho" "inet sekisho"; do
        nft delete table $table 2>/dev/null || true
    done
    [ -n "$before" ] || return 0
    set -- $before
    ip -4 neighbour del $gateway4 dev "$1" 2>/dev/null || true
    ip -6 neighbour del $gateway6 dev "$1" 2>/dev/null || true
    echo "$2" >"/proc/sys/net/ipv4/conf/$1/rp_filter" 2>/dev/null || true
    [ "$3" = promisc ] || ip link set "$1" promisc off 2>/dev/null || true
    [ "$4" = - ] || ip address del "$4" dev "$1" 2>/dev/null || true
}

if [ "${1:-}" = --undo ] && [ $# -eq 1 ]; then
    undo
    exit
fi
[ $# -ge 4 ] || { sed -n '2,14s/^# \{0,1\}//p' "$0" >&2; exit 2; }
device=$1 check=$2 router=$3 postfix4=$4 postfix6=${5:-}
undo

rp_filter=$(cat "/proc/sys/net/ipv4/conf/$device/rp_filter")
promisc=-
[ -z "$(ip -oneline link show dev "$device" | grep '<.*PROMISC.*>')" ] || promisc=promisc
added=$check
[ -z "$(ip -4 -oneline address show dev "$device" | grep -F " $check ")" ] || added=-
nft -f - <<END
table inet sekisho {
    comment "before: $device $rp_filter $promisc $added"
}
END

ip address replace "$check" dev "$device"
# A switch would not show frames to others' addresses to anybody; the checkpoint sends them here.
ip link set "$device" promisc on up
# Customers come by DEVICE, and the way back to them leads elsewhere. Loose (2) is more than strict (1), so this holds
# whatever `all` says, and for this interface alone.
echo 2 >"/proc/sys/net/ipv4/conf/$device/rp_filter"

# Answers of diverted connections leave as they came, by DEVICE. There is no ARP for customers there.
ip -4 route replace default via $gateway4 dev "$device" onlink table $mark
ip -4 neighbour replace $gateway4 lladdr "$router" dev "$device" nud permanent
network=$(ip -4 route show dev "$device" proto kernel scope link | awk 'NR == 1 { print $1 }')
[ -z "$network" ] || ip -4 route replace "$network" dev "$device" table $mark
ip -4 rule add fwmark $mark lookup $mark
if [ -n "$postfix6" ]; then
    ip -6 route replace default via $gateway6 dev "$device" onlink table $mark
    ip -6 route show dev "$device" proto kernel | awk '$1 !~ /^(fe80|ff|default)/ { print $1 }' | while read -r network; do
        ip -6 route replace "$network" dev "$device" table $mark
    done
    ip -6 neighbour replace $gateway6 lladdr "$router" dev "$device" nud permanent
    ip -6 rule add fwmark $mark lookup $mark
fi

nft -f - <<END
table netdev sekisho {
    # The frames are for the router that the customer meant; here they are for this host.
    chain ingress {
        type filter hook ingress device "$device" priority -500;
        ether type { ip, ip6 } meta pkttype set host
    }
}
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
