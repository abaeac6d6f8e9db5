"""What runs on the other side of sandbox.py: closes a room around itself, then plays a stranger's code in it.

isolated.py starts it as `python -I -S -c BOOT WAY REPORT ASKED`. ASKED is the descriptor of a file in memory:
this module's code, then a dict, both marshalled by our own parent. REPORT is a socket of whole messages:
"ready" (then we wait for "go"), "exit N", "signal N", or "refused WHY". Nothing of shoestring is imported and
little of the standard library: starting has to be cheap.

  plain    this process makes the namespaces and the tree, forks their first process and waits for it
  bwrap    bubblewrap has made them; this process is their first one already
  stage    as root, bubblewrap's user can't reach a Python under /root: lay the tree out, then become bwrap

Root's uid is dropped BEFORE the limits are set, because the kernel doesn't count root's processes.
"""

import ctypes
import marshal
import os
import resource
import sys

LIBC = ctypes.CDLL(None, use_errno=True)
LIBC.syscall.restype = ctypes.c_long
NEW_NS, NEW_UTS, NEW_IPC, NEW_USER, NEW_PID, NEW_NET = (
    0x20000,
    0x4000000,
    0x8000000,
    1 << 28,
    1 << 29,
    1 << 30,
)
NOSUID, NODEV, NOEXEC, BIND, REC, PRIVATE = 2, 4, 8, 4096, 16384, 1 << 18
RDONLY, NO_SYMLINKS = 1, 256
DETACH = 2
PDEATHSIG, DUMPABLE, SECCOMP, CAPBSET_DROP, NO_NEW_PRIVS, CAP_AMBIENT = 1, 4, 22, 24, 38, 47
PIVOT_ROOT, CAPSET = {"x86_64": (155, 126), "aarch64": (41, 91)}.get(os.uname().machine, (0, 0))
MOUNT_SETATTR = 442  # alike everywhere
TREE = "/tmp"  # the new tree is laid out over this folder, in our own mount namespace
NOBODY = 65534
INSIDE = 1000  # who the code is inside


def call(name, *arguments):
    """A libc function. Raises OSError with its name."""
    if getattr(LIBC, name)(*arguments) == -1:
        code = ctypes.get_errno()
        raise OSError(code, f"{name}: {os.strerror(code)}")


def long_call(name, number, *arguments):
    if not number or LIBC.syscall(ctypes.c_long(number), *arguments) == -1:
        code = ctypes.get_errno()
        raise OSError(code, f"{name}: {os.strerror(code)}")


def mount(source, target, kind, flags, options=None):
    encoded = [None if text is None else text.encode() for text in (source, target, kind, options)]
    call("mount", encoded[0], encoded[1], encoded[2], ctypes.c_ulong(flags), encoded[3])


def seal(path, flags, recursive):
    """Add RDONLY, NOSUID, NODEV, NOEXEC to a mount, and to all below it."""
    attributes = (ctypes.c_uint64 * 4)(flags, 0, 0, 0)
    at = ctypes.c_uint(0x8000 if recursive else 0)
    size = ctypes.c_size_t(ctypes.sizeof(attributes))
    long_call("mount_setattr", MOUNT_SETATTR, ctypes.c_int(-100), path.encode(), at, attributes, size)


def lay_out(asked):
    """A tree on a small tmpfs: the folders of `asked["show"]` read-only, devices, and /work to write in."""
    mount(None, "/", None, REC | PRIVATE)
    sources = {path: os.open(path, os.O_PATH) for path in asked["show"]}  # before anything is covered
    devices = {name: os.open(f"/dev/{name}", os.O_PATH) for name in asked["devices"]}
    binds = {path: os.open(f"/proc/self/fd/{fd}", os.O_PATH) for path, fd in sources.items()}
    mount("tmpfs", TREE, "tmpfs", NOSUID | NODEV, "size=1m,nr_inodes=1k,mode=755")
    for path, fd in binds.items():
        os.makedirs(TREE + path, exist_ok=True)
        mount(f"/proc/self/fd/{fd}", TREE + path, None, BIND | REC)
        seal(TREE + path, RDONLY | NOSUID | NODEV, recursive=True)
    for link, target in asked["links"].items():
        os.symlink(target, TREE + link)
    os.makedirs(TREE + "/dev")
    for name, fd in devices.items():
        os.close(os.open(f"{TREE}/dev/{name}", os.O_CREAT | os.O_WRONLY, 0o666))
        mount(f"/proc/self/fd/{fd}", f"{TREE}/dev/{name}", None, BIND)
        seal(f"{TREE}/dev/{name}", NOSUID | NOEXEC, recursive=False)
    os.makedirs(TREE + "/work")
    room = f"size={asked['disk_bytes']},nr_inodes={asked['max_files']},mode=1777"
    mount("tmpfs", TREE + "/work", "tmpfs", NOSUID | NODEV | NOEXEC, room)
    os.symlink("/work", TREE + "/tmp")
    seal(TREE, RDONLY, recursive=False)
    for fd in (*sources.values(), *binds.values(), *devices.values()):
        os.close(fd)


def leave_the_old_tree():
    os.chdir(TREE)
    long_call("pivot_root", PIVOT_ROOT, b".", b".")
    call("umount2", b".", DETACH)
    os.chdir("/work")


def map_user(proc, uid, gid):
    """Inside a new user namespace: we are INSIDE, nobody else exists. `proc` is a descriptor of /proc."""
    for name, text in (
        ("setgroups", "deny"),
        ("uid_map", f"{INSIDE} {uid} 1"),
        ("gid_map", f"{INSIDE} {gid} 1"),
    ):
        fd = os.open(f"self/{name}", os.O_WRONLY, dir_fd=proc)
        os.write(fd, text.encode())
        os.close(fd)


def become_nobody():
    os.setgroups([])
    os.setresgid(NOBODY, NOBODY, NOBODY)
    os.setresuid(NOBODY, NOBODY, NOBODY)
    call("prctl", DUMPABLE, 1, 0, 0, 0)  # else /proc/self stays root's and nothing there can be written


def plain(asked, report):
    die_with_parent()
    proc = os.open("/proc", os.O_PATH | os.O_DIRECTORY)
    uid, gid, spaces = os.getuid(), os.getgid(), NEW_NS | NEW_UTS | NEW_IPC | NEW_PID | NEW_NET
    call("unshare", spaces if uid == 0 else spaces | NEW_USER)
    if uid != 0:
        map_user(proc, uid, gid)
    lay_out(asked)
    call("sethostname", b"sandbox", ctypes.c_size_t(7))
    leave_the_old_tree()
    first = os.fork()
    if first:
        os.close(report)
        os.waitpid(first, 0)  # returns when every process of the namespace is gone
        os._exit(0)
    if uid == 0:
        become_nobody()
        try:  # so that processes are counted by sandbox, not for all of nobody's
            call("unshare", NEW_USER)
            map_user(proc, NOBODY, NOBODY)
        except OSError:
            pass  # a kernel that lets only root make one: the uid is dropped all the same
    die_with_parent()
    os.close(proc)
    serve(asked, report)


def stage(asked):
    die_with_parent()
    call("unshare", NEW_NS)
    lay_out(asked)
    become_nobody()
    die_with_parent()
    os.chdir("/")
    os.execve(asked["bwrap"][0], asked["bwrap"], dict(os.environ))


def die_with_parent():
    """Asked anew after every change of user, which forgets it."""
    call("prctl", PDEATHSIG, 9, 0, 0, 0)


def serve(asked, report):
    """The namespace's first process: it starts the code, says how that ended, and takes all else with it."""
    call("prctl", DUMPABLE, 0, 0, 0, 0)
    drop_capabilities()
    if os.getpgrp() != os.getpid():
        os.setsid()  # kill(0) reaches a process group even outside the namespace
    if asked["calls"] is not None:
        import json  # noqa: F401, not on the code's clock
    os.write(report, b"ready")
    if os.read(report, 16) != b"go":
        os._exit(0)
    code = os.fork()
    if not code:
        os.close(report)
        os.setsid()
        confine(asked)
        return play(asked)
    for fd in (0, 1, 2, asked["results"]):
        os.close(fd)
    ended = 0
    while ended != code:  # whoever loses its parent is ours to reap as well
        ended, status = os.waitpid(-1, 0)
    kind, number = ("signal", os.WTERMSIG(status)) if os.WIFSIGNALED(status) else ("exit", status >> 8)
    os.write(report, f"{kind} {number}".encode())
    os._exit(0)


def drop_capabilities():
    call("prctl", CAP_AMBIENT, 4, 0, 0, 0)
    for capability in range(64):
        LIBC.prctl(CAPBSET_DROP, capability, 0, 0, 0)  # fails past the last one, and where we have none
    header, nothing = (ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)()
    long_call("capset", CAPSET, header, nothing)


def confine(asked):
    """Limits, no way to more rights, and the filter of system calls; none of it can be undone."""
    for name, limit in asked["limits"].items():
        resource.setrlimit(getattr(resource, name), limit)
    call("prctl", NO_NEW_PRIVS, 1, 0, 0, 0)
    if asked["filter"]:
        rules = ctypes.create_string_buffer(asked["filter"], len(asked["filter"]))

        class Program(ctypes.Structure):
            _fields_ = (("length", ctypes.c_ushort), ("rules", ctypes.c_void_p))

        program = Program(len(asked["filter"]) // 8, ctypes.addressof(rules))
        call("prctl", SECCOMP, 2, ctypes.byref(program), 0, 0)


def play(asked):
    """Run the code as the main module; then, where calls are asked for, its function, one line a result."""
    results = asked["results"]
    main = type(sys)("__main__")
    vars(main)["__builtins__"] = __builtins__
    calls, entry, write = asked["calls"], asked["entry"], os.write
    if calls is not None:
        dumps, loads = sys.modules["json"].dumps, sys.modules["json"].loads
    sys.modules["__main__"], sys.argv = main, ["answer.py"]
    sys.path.insert(0, "/work")
    source = asked["source"]
    asked.clear()
    exec(compile(source, "answer.py", "exec"), vars(main))
    if calls is None:
        return
    found = main
    for part in entry.split("."):
        found = found() if isinstance(found, type) else found
        found = getattr(found, part)
    for i, text in enumerate(calls):
        try:
            line = dumps([i, "value", found(*loads(text))])
        except Exception as error:
            line = dumps([i, "raised", f"{type(error).__name__}: {error}"[:200]])
        rest = line.encode() + b"\n"
        while rest:
            rest = rest[write(results, rest) :]


def main():
    way, report = sys.argv[1], int(sys.argv[2])
    file = globals()["ASKED"]  # BOOT's; this code was read from its beginning
    asked = marshal.load(file)
    if way != "stage":  # bubblewrap's Python will read it again
        os.close(file.fileno())
    try:
        if way == "stage":
            stage(asked)
        elif way == "plain":
            return plain(asked, report)
    except OSError as error:
        os.write(report, f"refused {error.strerror}".encode())
        os._exit(1)
    return serve(asked, report)


if __name__ == "__main__":
    main()
