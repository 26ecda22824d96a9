//! Which worker gets a frame: a small program that the kernel runs for each.
//!
//! The workers' sockets of one port form a fanout group, and a classic BPF program (socket(7), the kernel's
//! networking/filter.rst) says which member gets a frame: by the two addresses of its outermost IP packet, in
//! whichever order they stand, and by nothing else. So three things hold that the kernel's own choices don't
//! give: both directions of a flow meet in one worker although they come by different ports, since each port's
//! group runs the same program; all fragments of a datagram do, since ports and protocol are not looked at
//! (PACKET_FANOUT_HASH looks at them where they are, which is in the first fragment only); and it does not
//! matter how the frame is packed, since the program walks over VLAN tags, MPLS labels and PPPoE to the
//! addresses as [`frame`](crate::frame) does. What is not IP, or cut short, goes to the first worker.
//!
//! The result is a member's number modulo the number of members. Members are numbered as they joined, so they
//! join in the order of the workers; and when a link goes down and comes up again the kernel has them join anew
//! in the order in which the sockets were made, which is the same. That is why the sockets of a port are all
//! opened by one thread ([`berth`](super::berth)), however many workers will use them.

use libc::sock_filter;

/// VLAN tags that are walked over, and as many MPLS labels: what [`Depth`](crate::frame::Depth) allows.
const DEPTH: usize = 4;

/// Scratch memory: what the hash is made of.
const WORDS: u32 = 0;

const IPV4: u32 = 0x0800;
const IPV6: u32 = 0x86dd;
const TAGS: [u32; 3] = [0x8100, 0x88a8, 0x9100];
const MPLS: [u32; 2] = [0x8847, 0x8848];
const PPPOE_SESSION: u32 = 0x8864;
const PPP_IPV4: u32 = 0x0021;
const PPP_IPV6: u32 = 0x0057;

/// Where the kernel keeps the EtherType, which it has read already (linux/filter.h).
const PROTOCOL: u32 = (libc::SKF_AD_OFF + libc::SKF_AD_PROTOCOL) as u32;

/// 2^32 divided by the golden ratio (Knuth, The Art of Computer Programming, volume 3, section 6.4).
const SPREAD: u32 = 0x9e37_79b1;

/// A place in the program that is jumped to.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Label(usize);

/// Puts a program together; jumps lead forward.
#[derive(Default)]
struct Assembler {
    code: Vec<sock_filter>,
    /// The instruction that each label stands before, once it does.
    labels: Vec<Option<usize>>,
    /// Unconditional jumps, and where to.
    jumps: Vec<(usize, Label)>,
}

impl Assembler {
    fn op(&mut self, code: u32, k: u32) {
        self.code.push(sock_filter { code: code as u16, jt: 0, jf: 0, k });
    }

    fn label(&mut self) -> Label {
        self.labels.push(None);
        Label(self.labels.len() - 1)
    }

    fn place(&mut self, label: Label) {
        self.labels[label.0] = Some(self.code.len());
    }

    fn jump(&mut self, to: Label) {
        self.jumps.push((self.code.len(), to));
        self.op(libc::BPF_JMP | libc::BPF_JA, 0);
    }

    /// Goes to `to` if A is `value`.
    fn if_equal(&mut self, value: u32, to: Label) {
        self.test(libc::BPF_JEQ, value, to);
    }

    /// Goes to `to` if A has one of the bits.
    fn if_any(&mut self, bits: u32, to: Label) {
        self.test(libc::BPF_JSET, bits, to);
    }

    fn test(&mut self, test: u32, k: u32, to: Label) {
        let code = (libc::BPF_JMP | test | libc::BPF_K) as u16;
        // Not so: past the jump that follows, which reaches farther than a test can.
        self.code.push(sock_filter { code, jt: 0, jf: 1, k });
        self.jump(to);
    }

    /// A = `size` bytes at X + `at`, from the network header on.
    fn load(&mut self, size: u32, at: u32) {
        self.op(libc::BPF_LD | size | libc::BPF_IND, at);
    }

    /// X += `count`; A is kept.
    fn advance(&mut self, count: u32) {
        self.op(libc::BPF_ST, WORDS);
        self.op(libc::BPF_MISC | libc::BPF_TXA, 0);
        self.op(libc::BPF_ALU | libc::BPF_ADD | libc::BPF_K, count);
        self.op(libc::BPF_MISC | libc::BPF_TAX, 0);
        self.op(libc::BPF_LD | libc::BPF_MEM, WORDS);
    }

    /// Keeps the 32 bits at X + `at` as word `word`.
    fn keep(&mut self, word: u32, at: u32) {
        self.load(libc::BPF_W, at);
        self.op(libc::BPF_ST, WORDS + word);
    }

    /// A = A `operation` word `word`; X is lost.
    fn with(&mut self, operation: u32, word: u32) {
        self.op(libc::BPF_LDX | libc::BPF_MEM, WORDS + word);
        self.op(libc::BPF_ALU | operation | libc::BPF_X, 0);
    }

    fn finish(mut self) -> Vec<sock_filter> {
        for (at, label) in self.jumps {
            let to = self.labels[label.0].expect("every label that is used is placed");
            self.code[at].k = (to - at - 1) as u32;
        }
        self.code
    }
}

/// The program. X is always where the header that comes next starts, from the network header on.
pub(super) fn program() -> Vec<sock_filter> {
    let mut code = Assembler::default();
    let (ipv4, ipv6, pppoe, mpls, first_worker) =
        (code.label(), code.label(), code.label(), code.label(), code.label());

    code.op(libc::BPF_LDX | libc::BPF_IMM, 0);
    code.op(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, PROTOCOL);
    for _ in 0..=DEPTH {
        let tag = code.label();
        code.if_equal(IPV4, ipv4);
        code.if_equal(IPV6, ipv6);
        code.if_equal(PPPOE_SESSION, pppoe);
        MPLS.into_iter().for_each(|label| code.if_equal(label, mpls));
        TAGS.into_iter().for_each(|kind| code.if_equal(kind, tag));
        code.jump(first_worker);
        // IEEE 802.1Q: two bytes of control information, then the next EtherType.
        code.place(tag);
        code.load(libc::BPF_H, 2);
        code.advance(4);
    }
    code.jump(first_worker);

    // RFC 3032: the last bit of the third byte says that the label is the last; the version follows.
    code.place(mpls);
    let packet = code.label();
    for _ in 0..DEPTH {
        code.load(libc::BPF_B, 2);
        code.advance(4);
        code.if_any(1, packet);
    }
    code.jump(first_worker);
    code.place(packet);
    code.load(libc::BPF_B, 0);
    code.op(libc::BPF_ALU | libc::BPF_RSH | libc::BPF_K, 4);
    code.if_equal(4, ipv4);
    code.if_equal(6, ipv6);
    code.jump(first_worker);

    // RFC 2516: six bytes, then the PPP protocol in two bytes, or in one if that is odd (RFC 1661 §6.5).
    code.place(pppoe);
    let (short, known) = (code.label(), code.label());
    code.load(libc::BPF_B, 6);
    code.if_any(1, short);
    code.load(libc::BPF_H, 6);
    code.advance(8);
    code.jump(known);
    code.place(short);
    code.advance(7);
    code.place(known);
    code.if_equal(PPP_IPV4, ipv4);
    code.if_equal(PPP_IPV6, ipv6);

    code.place(first_worker);
    code.op(libc::BPF_RET | libc::BPF_K, 0);

    // RFC 8200 §3: the addresses' words, four each, folded.
    code.place(ipv6);
    (0..8).for_each(|word| code.keep(word, 8 + 4 * word));
    for address in [4, 0] {
        code.op(libc::BPF_LD | libc::BPF_MEM, WORDS + address);
        (1..4).for_each(|word| code.with(libc::BPF_XOR, address + word));
        code.op(libc::BPF_ST, WORDS + address);
    }
    code.with(libc::BPF_ADD, 4);
    let hash = code.label();
    code.jump(hash);

    // RFC 791 §3.1.
    code.place(ipv4);
    code.keep(0, 12);
    code.load(libc::BPF_W, 16);
    code.with(libc::BPF_ADD, 0);

    // A sum does not know which address was which. Its upper bits, once spread, depend on all of it.
    code.place(hash);
    code.op(libc::BPF_ALU | libc::BPF_MUL | libc::BPF_K, SPREAD);
    code.op(libc::BPF_ALU | libc::BPF_RSH | libc::BPF_K, 16);
    code.op(libc::BPF_RET | libc::BPF_A, 0);
    code.finish()
}
