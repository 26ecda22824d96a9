//! The kernel's BPF objects, by bpf(2): a map of sockets, a program, and the link that puts the program onto an
//! interface. Each is there as long as its descriptor, so nothing is left behind however the process ends.

#![allow(unsafe_code)]

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use crate::port::system::Errno;

/// Commands and kinds of linux/bpf.h.
mod command {
    pub(super) const MAP_CREATE: u32 = 0;
    pub(super) const MAP_UPDATE_ELEM: u32 = 2;
    pub(super) const PROG_LOAD: u32 = 5;
    pub(super) const PROG_GET_FD_BY_ID: u32 = 13;
    pub(super) const OBJ_GET_INFO_BY_FD: u32 = 15;
    pub(super) const LINK_CREATE: u32 = 28;
    pub(super) const MAP_TYPE_XSKMAP: u32 = 17;
    pub(super) const PROG_TYPE_XDP: u32 = 6;
    pub(super) const ATTACH_XDP: u32 = 37;
}

/// `XDP_FLAGS_SKB_MODE` and `XDP_FLAGS_DRV_MODE` of linux/if_link.h.
const GENERIC: u32 = 1 << 1;
const NATIVE: u32 = 1 << 2;

/// What the objects are called where they are listed (`bpftool prog`).
pub(super) const NAME: &str = "sekisho";
const NAME_BYTES: [u8; 16] = *b"sekisho\0\0\0\0\0\0\0\0\0";
/// What stands for the name of a program that has none.
pub(super) const UNNAMED: &str = "without a name";

/// Room for what the verifier has to say.
const LOG: usize = 64 << 10;

/// Members of `union bpf_attr`, as far as they are used. Padding is spelled out, since the kernel refuses what is not zero.
#[repr(C)]
struct MapCreate {
    kind: u32,
    key_size: u32,
    value_size: u32,
    max_entries: u32,
    flags: u32,
    inner: u32,
    node: u32,
    name: [u8; 16],
}

#[repr(C)]
struct MapUpdate {
    map: u32,
    padding: u32,
    key: u64,
    value: u64,
    flags: u64,
}

#[repr(C)]
struct ProgramLoad {
    kind: u32,
    count: u32,
    instructions: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log: u64,
    kernel_version: u32,
    flags: u32,
    name: [u8; 16],
}

#[repr(C)]
struct LinkCreate {
    program: u32,
    interface: u32,
    attach: u32,
    flags: u32,
}

#[repr(C)]
struct Information {
    object: u32,
    length: u32,
    into: u64,
}

#[repr(C)]
struct ById {
    id: u32,
    next: u32,
    flags: u32,
}

/// # Safety
/// `attributes` is what the command takes, and what it points to is there as the command wants it.
unsafe fn bpf<T>(command: u32, attributes: &mut T) -> Result<i32, Errno> {
    // SAFETY: the pointer and the size describe `attributes`; the rest is the caller's matter.
    let result = unsafe {
        libc::syscall(libc::SYS_bpf, command, std::ptr::from_mut(attributes), size_of::<T>() as u32)
    };
    match result {
        0.. => Ok(result as i32),
        _ => Err(Errno::last()),
    }
}

fn owned(descriptor: i32) -> OwnedFd {
    // SAFETY: the kernel has just given this descriptor to us, and nobody else has it.
    unsafe { OwnedFd::from_raw_fd(descriptor) }
}

fn pointer<T: ?Sized>(to: *const T) -> u64 {
    to.cast::<u8>().expose_provenance() as u64
}

/// A map of sockets by queue (BPF_MAP_TYPE_XSKMAP).
pub(super) struct SocketMap(OwnedFd);

impl SocketMap {
    pub(super) fn new(queues: u32) -> Result<SocketMap, Errno> {
        let mut create = MapCreate {
            kind: command::MAP_TYPE_XSKMAP,
            key_size: 4,
            value_size: 4,
            max_entries: queues,
            flags: 0,
            inner: 0,
            node: 0,
            name: NAME_BYTES,
        };
        // SAFETY: the attributes of this command, which point to nothing.
        unsafe { bpf(command::MAP_CREATE, &mut create) }.map(|descriptor| SocketMap(owned(descriptor)))
    }

    /// Has a queue's frames go to a socket. The kernel takes it out when the socket is closed.
    pub(super) fn set(&self, queue: u32, socket: BorrowedFd<'_>) -> Result<(), Errno> {
        let value = socket.as_raw_fd();
        let mut update = MapUpdate {
            map: self.0.as_raw_fd() as u32,
            padding: 0,
            key: pointer(&raw const queue),
            value: pointer(&raw const value),
            flags: 0,
        };
        // SAFETY: the attributes of this command; both pointers are to numbers of the sizes that the map was made
        // with, which outlive the call.
        unsafe { bpf(command::MAP_UPDATE_ELEM, &mut update) }.map(drop)
    }

    pub(super) fn descriptor(&self) -> i32 {
        self.0.as_raw_fd()
    }
}

/// Why a program was not loaded.
#[derive(Debug)]
pub(super) struct Rejected {
    pub(super) errno: Errno,
    /// What the verifier said.
    pub(super) log: String,
}

/// Loads an XDP program.
pub(super) fn load(instructions: &[u64]) -> Result<OwnedFd, Rejected> {
    match load_with(instructions, &mut []) {
        Ok(program) => Ok(program),
        // Once more, to be told why. Where it was not the verifier, it says nothing.
        Err(errno) => {
            let mut log = vec![0u8; LOG];
            match load_with(instructions, &mut log) {
                Ok(program) => Ok(program),
                Err(_) => {
                    let end = log.iter().position(|byte| *byte == 0).unwrap_or(log.len());
                    let log = String::from_utf8_lossy(&log[..end]).trim().to_owned();
                    Err(Rejected { errno, log })
                }
            }
        }
    }
}

fn load_with(instructions: &[u64], log: &mut [u8]) -> Result<OwnedFd, Errno> {
    let license = c"Apache-2.0";
    let mut load = ProgramLoad {
        kind: command::PROG_TYPE_XDP,
        count: instructions.len() as u32,
        instructions: pointer(instructions.as_ptr()),
        license: pointer(license.as_ptr()),
        log_level: u32::from(!log.is_empty()),
        log_size: log.len() as u32,
        log: if log.is_empty() { 0 } else { log.as_mut_ptr().expose_provenance() as u64 },
        kernel_version: 0,
        flags: 0,
        name: NAME_BYTES,
    };
    // SAFETY: the attributes of this command: instructions with their count, a string, and a log with its size, into
    // which the kernel writes; all outlive the call.
    unsafe { bpf(command::PROG_LOAD, &mut load) }.map(owned)
}

/// Puts a program onto an interface, as long as what is given here is not dropped.
pub(super) fn link(program: BorrowedFd<'_>, interface: u32, native: bool) -> Result<OwnedFd, Errno> {
    let mut create = LinkCreate {
        program: program.as_raw_fd() as u32,
        interface,
        attach: command::ATTACH_XDP,
        flags: if native { NATIVE } else { GENERIC },
    };
    // SAFETY: the attributes of this command, which point to nothing.
    unsafe { bpf(command::LINK_CREATE, &mut create) }.map(owned)
}

/// Asks about an object. The kernel writes as much as it knows and there is room for.
fn information(object: BorrowedFd<'_>, into: &mut [u8]) -> Result<(), Errno> {
    let mut ask = Information {
        object: object.as_raw_fd() as u32,
        length: into.len() as u32,
        into: into.as_mut_ptr().expose_provenance() as u64,
    };
    // SAFETY: the attributes of this command: a buffer with its size, which outlives the call.
    unsafe { bpf(command::OBJ_GET_INFO_BY_FD, &mut ask) }.map(drop)
}

/// The interface that a link has its program on; none if it is no more.
pub(super) fn interface_of(link: BorrowedFd<'_>) -> Option<u32> {
    // struct bpf_link_info: kind, number, program, and from byte 16 on what an XDP link has: the interface.
    let mut link_information = [0u8; 64];
    information(link, &mut link_information).ok()?;
    let interface = u32::from_ne_bytes(link_information[16..20].try_into().ok()?);
    (interface != 0).then_some(interface)
}

/// The name of a program that is loaded, or [`UNNAMED`]. Asking takes CAP_SYS_ADMIN.
pub(super) fn name_of(program: u32) -> Result<String, Errno> {
    let mut by_id = ById { id: program, next: 0, flags: 0 };
    // SAFETY: the attributes of this command, which point to nothing.
    let program = unsafe { bpf(command::PROG_GET_FD_BY_ID, &mut by_id) }.map(owned)?;
    // struct bpf_prog_info: the name is the 16 bytes from byte 64 on.
    let mut program_information = [0u8; 80];
    information(program.as_fd(), &mut program_information)?;
    let name = &program_information[64..80];
    let end = name.iter().position(|byte| *byte == 0).unwrap_or(name.len());
    Ok(if end == 0 { UNNAMED.to_owned() } else { String::from_utf8_lossy(&name[..end]).into_owned() })
}
