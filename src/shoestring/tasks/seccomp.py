"""The filter of system calls that a sandbox runs under: a classic BPF program, as seccomp takes it.

It names what is refused, not what is allowed: namespaces, limits and the missing rights carry the isolation;
this closes doors that lead into rarely used parts of the kernel, or to memory that no limit counts."""

import errno
import platform
import struct

ALLOW, KILL, REFUSE = (
    0x7FFF0000,
    0x80000000,
    0x00050000,
)  # REFUSE | errno: the call fails, the program goes on
LOAD, JUMP_EQUAL, JUMP_AT_LEAST, JUMP_ANY_BIT, RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
NUMBER, ARCHITECTURE, FIRST_ARGUMENT = 0, 4, 16  # offsets into struct seccomp_data
SECOND_ARGUMENT = 24
X32 = 0x40000000  # calls of x86_64's other numbering start here; it would walk around the list

ARCHITECTURES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}

# call -> (number on x86_64, number on aarch64); None where the architecture has no such call
REFUSED = {
    # other processes' memory and descriptors
    "ptrace": (101, 117),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "process_madvise": (440, 440),
    "pidfd_getfd": (438, 438),
    "kcmp": (312, 272),
    # the tree and namespaces
    "mount": (165, 40),
    "umount2": (166, 39),
    "pivot_root": (155, 41),
    "chroot": (161, 51),
    "unshare": (272, 97),
    "setns": (308, 268),
    "open_tree": (428, 428),
    "move_mount": (429, 429),
    "fsopen": (430, 430),
    "fsconfig": (431, 431),
    "fsmount": (432, 432),
    "fspick": (433, 433),
    "mount_setattr": (442, 442),
    "name_to_handle_at": (303, 264),
    "open_by_handle_at": (304, 265),
    "swapon": (167, 224),
    "swapoff": (168, 225),
    "quotactl": (179, 60),
    "mknod": (133, None),
    "mknodat": (259, 33),
    # the kernel itself
    "bpf": (321, 280),
    "perf_event_open": (298, 241),
    "userfaultfd": (323, 282),
    "io_uring_setup": (425, 425),
    "io_uring_enter": (426, 426),
    "io_uring_register": (427, 427),
    "kexec_load": (246, 104),
    "kexec_file_load": (320, 294),
    "init_module": (175, 105),
    "finit_module": (313, 273),
    "delete_module": (176, 106),
    "reboot": (169, 142),
    "acct": (163, 89),
    "syslog": (103, 116),
    "iopl": (172, None),
    "ioperm": (173, None),
    "keyctl": (250, 219),
    "add_key": (248, 217),
    "request_key": (249, 218),
    "fanotify_init": (300, 262),
    # memory and queues that the address-space limit doesn't see
    "memfd_create": (319, 279),
    "memfd_secret": (447, 447),
    "shmget": (29, 194),
    "shmat": (30, 196),
    "shmctl": (31, 195),
    "semget": (64, 190),
    "msgget": (68, 186),
    "mq_open": (240, 180),
    # every family of sockets; a pair of connected ones (asyncio needs it) reaches nobody
    "socket": (41, 198),
}
CLONE, CLONE3, PRLIMIT, IOCTL = (56, 220), (435, 435), (302, 261), (16, 29)
NAMESPACES = 0x7E020000  # mount, cgroup, uts, ipc, user, pid, net
TYPE_INTO_TERMINAL = 0x5412  # TIOCSTI


def system_call_filter(machine: str | None = None) -> bytes | None:
    """The program's bytes (8 an instruction), or None for an architecture whose numbers aren't known here."""
    machine = machine or platform.machine()
    if machine not in ARCHITECTURES:
        return None
    column = list(ARCHITECTURES).index(machine)
    refuse = REFUSE | errno.EPERM
    code = [
        (LOAD, 0, 0, ARCHITECTURE),
        (JUMP_EQUAL, 1, 0, ARCHITECTURES[machine]),
        (RETURN, 0, 0, KILL),
        (LOAD, 0, 0, NUMBER),
        (JUMP_AT_LEAST, 0, 1, X32),
        (RETURN, 0, 0, KILL),
    ]
    for numbers in REFUSED.values():
        number = numbers[column]
        if number is not None:
            code += [(JUMP_EQUAL, 0, 1, number), (RETURN, 0, 0, refuse)]
    # its flags lie in memory, where a filter can't look: libc then uses clone
    code += [(JUMP_EQUAL, 0, 1, CLONE3[column]), (RETURN, 0, 0, REFUSE | errno.ENOSYS)]
    code += _if_argument(CLONE[column], FIRST_ARGUMENT, (JUMP_ANY_BIT, NAMESPACES), refuse)
    code += _if_argument(
        PRLIMIT[column], FIRST_ARGUMENT, (JUMP_ANY_BIT, 0xFFFFFFFF), refuse
    )  # own limits only
    code += _if_argument(IOCTL[column], SECOND_ARGUMENT, (JUMP_EQUAL, TYPE_INTO_TERMINAL), refuse)
    code.append((RETURN, 0, 0, ALLOW))
    return b"".join(struct.pack("HBBI", *instruction) for instruction in code)


def _if_argument(number: int, offset: int, test: tuple[int, int], result: int) -> list[tuple[int, ...]]:
    """For call `number`: `result` where the argument's low half passes the test, else allowed."""
    jump, value = test
    return [
        (JUMP_EQUAL, 0, 4, number),
        (LOAD, 0, 0, offset),
        (jump, 0, 1, value),
        (RETURN, 0, 0, result),
        (RETURN, 0, 0, ALLOW),
    ]
