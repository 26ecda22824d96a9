//! The program that the kernel runs for each frame of a port: to the socket of its queue, or on to the host's stack if
//! there is none. Five instructions (the kernel's bpf/standardization/instruction-set.rst), put together here, so that
//! neither a compiler nor an object file is needed:
//!
//! ```text
//! r2 = ctx->rx_queue_index
//! r1 = the map of sockets
//! r3 = XDP_PASS                      what is done if there is no socket
//! call bpf_redirect_map(r1, r2, r3)
//! exit
//! ```

/// Of `struct xdp_md`.
const RX_QUEUE_INDEX: u64 = 16;
const XDP_PASS: i32 = 2;
/// `BPF_FUNC_redirect_map`.
const REDIRECT_MAP: i32 = 51;
/// `BPF_PSEUDO_MAP_FD`, in place of a source register: the operand is the descriptor of a map.
const MAP: u64 = 1;

/// `BPF_LDX | BPF_MEM | BPF_W`, `BPF_LD | BPF_IMM | BPF_DW`, `BPF_ALU64 | BPF_MOV | BPF_K`, `BPF_JMP | BPF_CALL`,
/// `BPF_JMP | BPF_EXIT`.
const LOAD_WORD: u64 = 0x61;
const LOAD_LONG: u64 = 0x18;
const MOVE: u64 = 0xb7;
const CALL: u64 = 0x85;
const EXIT: u64 = 0x95;

/// One instruction: operation, registers, offset, operand.
const fn instruction(operation: u64, to: u64, from: u64, offset: u64, operand: i32) -> u64 {
    operation | to << 8 | from << 12 | offset << 16 | (operand as u32 as u64) << 32
}

/// The program for a map of sockets, given by its descriptor.
pub(super) fn redirect(map: i32) -> [u64; 6] {
    [
        instruction(LOAD_WORD, 2, 1, RX_QUEUE_INDEX, 0),
        instruction(LOAD_LONG, 1, MAP, 0, map),
        // The operand's upper half.
        instruction(0, 0, 0, 0, 0),
        instruction(MOVE, 3, 0, 0, XDP_PASS),
        instruction(CALL, 0, 0, 0, REDIRECT_MAP),
        instruction(EXIT, 0, 0, 0, 0),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_program_is_laid_out_as_the_kernel_reads_it() {
        let bytes: Vec<u8> = redirect(0x1234).iter().flat_map(|word| word.to_le_bytes()).collect();
        let expected = [
            [0x61, 0x12, 16, 0, 0, 0, 0, 0],
            [0x18, 0x11, 0, 0, 0x34, 0x12, 0, 0],
            [0, 0, 0, 0, 0, 0, 0, 0],
            [0xb7, 0x03, 0, 0, 2, 0, 0, 0],
            [0x85, 0x00, 0, 0, 51, 0, 0, 0],
            [0x95, 0x00, 0, 0, 0, 0, 0, 0],
        ];
        assert_eq!(bytes, expected.concat());
    }
}
