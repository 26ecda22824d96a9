//! A network namespace for one test: pairs of interfaces, and stations at their far ends.
//!
//! A thread has the namespace and is gone with the test, and the namespace with it.

#![allow(unsafe_code)]

use std::os::fd::{AsFd, AsRawFd};
use std::process::Command;
use std::time::{Duration, Instant};

use super::moves::{Watched, await_state};
use crate::policy::PortId;
use crate::port::PortState;
use crate::port::interface::{Interfaces, Name};
use crate::port::packet::arrival::offload_header;
use crate::port::packet::socket::Socket;

pub(in crate::port) const A: PortId = PortId(0);
pub(in crate::port) const B: PortId = PortId(1);

/// How long it is quiet when nothing more comes.
pub(in crate::port) const QUIET: Duration = Duration::from_millis(30);
/// How long what must come may take, on a machine that has other things to do.
pub(in crate::port) const PATIENCE: Duration = Duration::from_secs(10);

/// Two pairs with a driver at the near ends, and stations at the far ends.
pub(in crate::port) fn bridge_of<D: Watched>(open: impl FnOnce() -> D) -> (D, Station, Station) {
    pair("near0", "far0");
    pair("near1", "far1");
    let mut driver = open();
    await_state(&mut driver, A, &PortState::Up);
    await_state(&mut driver, B, &PortState::Up);
    (driver, Station::at("far0"), Station::at("far1"))
}

/// Runs a test in a network namespace of its own.
pub(in crate::port) fn in_namespace<T: Send>(test: impl FnOnce() -> T + Send) -> T {
    let run = || {
        // SAFETY: takes no pointers; concerns this thread alone.
        if unsafe { libc::unshare(libc::CLONE_NEWNET) } != 0 {
            let error = std::io::Error::last_os_error();
            panic!("this test makes a network namespace, which needs root (CAP_SYS_ADMIN): {error}");
        }
        // Else the kernel sends router solicitations and the like from every interface.
        let quiet = std::fs::write("/proc/sys/net/ipv6/conf/default/disable_ipv6", "1");
        assert!(quiet.is_ok() || !std::fs::exists("/proc/sys/net/ipv6").unwrap_or(false), "{quiet:?}");
        test()
    };
    std::thread::scope(|scope| match scope.spawn(run).join() {
        Ok(value) => value,
        Err(panic) => std::panic::resume_unwind(panic),
    })
}

/// `ip` with these words.
pub(in crate::port) fn ip(words: &str) {
    let output = Command::new("ip").args(words.split_whitespace()).output();
    let output = output.expect("this test needs the program `ip` (Debian: iproute2)");
    assert!(output.status.success(), "ip {words}: {}", String::from_utf8_lossy(&output.stderr));
}

/// Makes a pair of interfaces, both on.
pub(in crate::port) fn pair(near: &str, far: &str) {
    ip(&format!("link add {near} type veth peer name {far}"));
    ip(&format!("link set {near} up"));
    ip(&format!("link set {far} up"));
}

/// Who sends and receives at the far end of a pair, by system calls and without a ring.
pub(in crate::port) struct Station {
    socket: Socket,
    /// Sends frames that the device shall finish.
    unfinished: Socket,
}

impl Station {
    pub(in crate::port) fn at(interface: &str) -> Station {
        let interfaces = Interfaces::new().unwrap();
        let index =
            interfaces.index(&Name::new(interface).unwrap()).unwrap().expect("the interface is there");
        let socket = Socket::new().unwrap();
        socket.ignore_outgoing().unwrap();
        let number = socket.as_fd().as_raw_fd();
        set(number, libc::SOL_PACKET, libc::PACKET_AUXDATA, 1);
        set(number, libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, 256 << 20);
        socket.set_send_buffer(16 << 20).unwrap();
        socket.bind_to_receive(index).unwrap();
        let unfinished = Socket::new().unwrap();
        unfinished.enable_offload_header().unwrap();
        unfinished.bind_to_send(index).unwrap();
        Station { socket, unfinished }
    }

    /// Sends a frame.
    pub(in crate::port) fn send(&self, frame: &[u8]) {
        send(&self.socket, frame);
    }

    /// Sends a frame whose checksum, from `start` on, is not there yet.
    pub(in crate::port) fn send_without_checksum(&self, frame: &[u8], start: u16, offset: u16) {
        self.send_unfinished(frame, [1, 0], start as usize, [0, start, offset]);
    }

    /// Sends a frame that is to be cut into segments of `size` bytes after its `headers`; `kind` says of what.
    pub(in crate::port) fn send_uncut(
        &self,
        frame: &[u8],
        kind: u8,
        headers: usize,
        size: u16,
        start: u16,
        offset: u16,
    ) {
        self.send_unfinished(frame, [1, kind], headers, [size, start, offset]);
    }

    fn send_unfinished(&self, frame: &[u8], what: [u8; 2], headers: usize, numbers: [u16; 3]) {
        let mut bytes = what.to_vec();
        bytes.extend((headers as u16).to_ne_bytes());
        bytes.extend(numbers.iter().flat_map(|number| number.to_ne_bytes()));
        assert_eq!(bytes.len(), offload_header::SIZE);
        bytes.extend(frame);
        send(&self.unfinished, &bytes);
    }

    /// The next frame that comes, with the tag that the kernel took out; none if none does for long.
    pub(in crate::port) fn receive(&self) -> Option<Vec<u8>> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match receive(&self.socket) {
                None if Instant::now() < deadline => std::thread::sleep(Duration::from_micros(200)),
                frame => return frame,
            }
        }
    }

    /// The next frame, if there is one already.
    pub(in crate::port) fn receive_now(&self) -> Option<Vec<u8>> {
        receive(&self.socket)
    }
}

fn set(socket: i32, level: i32, option: i32, value: i32) {
    let (pointer, size) = (std::ptr::from_ref(&value).cast(), size_of::<i32>() as u32);
    // SAFETY: the pointer and the size describe `value`.
    let done = unsafe { libc::setsockopt(socket, level, option, pointer, size) };
    assert_eq!(done, 0, "{}", std::io::Error::last_os_error());
}

fn send(socket: &Socket, bytes: &[u8]) {
    loop {
        // SAFETY: the pointer and the length describe `bytes`.
        let sent = unsafe { libc::send(socket.as_fd().as_raw_fd(), bytes.as_ptr().cast(), bytes.len(), 0) };
        if sent == bytes.len() as isize {
            return;
        }
        let error = std::io::Error::last_os_error();
        let is_full = matches!(error.raw_os_error(), Some(libc::EAGAIN | libc::ENOBUFS));
        assert!(is_full, "a station can't send {} bytes: {error}", bytes.len());
        std::thread::sleep(Duration::from_micros(100));
    }
}

fn receive(socket: &Socket) -> Option<Vec<u8>> {
    let mut bytes = vec![0u8; 70_000];
    let mut control = [0u64; 16];
    let mut part = libc::iovec { iov_base: bytes.as_mut_ptr().cast(), iov_len: bytes.len() };
    // SAFETY: zeros are a valid message header.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    (message.msg_iov, message.msg_iovlen) = (&mut part, 1);
    (message.msg_control, message.msg_controllen) = (control.as_mut_ptr().cast(), size_of_val(&control) as _);
    // SAFETY: the message points to buffers that outlive the call, with their sizes.
    let length = unsafe { libc::recvmsg(socket.as_fd().as_raw_fd(), &mut message, libc::MSG_DONTWAIT) };
    bytes.truncate(usize::try_from(length).ok()?);
    // SAFETY: the kernel filled the control messages and says in `message` how many.
    let first = unsafe { libc::CMSG_FIRSTHDR(&message) };
    if !first.is_null() {
        // SAFETY: PACKET_AUXDATA alone was asked for, so that is what stands there; unaligned at most.
        let auxiliary: libc::tpacket_auxdata =
            unsafe { libc::CMSG_DATA(first).cast::<libc::tpacket_auxdata>().read_unaligned() };
        if auxiliary.tp_status & libc::TP_STATUS_VLAN_VALID != 0 {
            let tag = [auxiliary.tp_vlan_tpid.to_be_bytes(), auxiliary.tp_vlan_tci.to_be_bytes()].concat();
            bytes.splice(12..12, tag);
        }
    }
    Some(bytes)
}
