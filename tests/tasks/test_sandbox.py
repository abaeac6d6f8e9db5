# ruff: noqa: E501, a short program is easier to read on one line
"""What a stranger's code must not manage: escapes and bombs, each tried against both ways of isolating."""

import os
import platform
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from shoestring.errors import BadInput
from shoestring.tasks import sandbox, sandbox_start
from shoestring.tasks.sandbox import WAYS, Limits, Ran, Sandbox, SandboxFailed, Status, Way, describe, missing
from shoestring.tasks.seccomp import REFUSED, system_call_filter

SMALL = Limits(
    wall_s=5, cpu_s=5, memory_mib=256, processes=8, open_files=32, disk_mib=4, files=50, output_kib=64
)
SECRET = "the-secret-of-the-parent"


@pytest.fixture(params=WAYS)
def way(request: pytest.FixtureRequest) -> Way:
    if why := missing(request.param):
        pytest.skip(f"{request.param}: {why}")
    return request.param


@pytest.fixture(autouse=True)
def nothing_survives() -> Iterator[None]:
    """After each test no process of a sandbox is left, and we are unharmed."""
    yield
    patience = time.monotonic() + 5
    while (left := sandboxed()) and time.monotonic() < patience:
        time.sleep(0.02)
    assert not left, f"still there: {left}"
    assert subprocess.run(["true"], check=False).returncode == 0


def sandboxed() -> list[int]:
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and b"marshal.load(ASKED)" in (entry / "cmdline").read_bytes():
                found.append(int(entry.name))
        except OSError:  # it ended meanwhile
            continue
    return found


def run(way: Way, source: str, stdin: str = "", **changed: float) -> Ran:
    return Sandbox(SMALL.model_copy(update=changed), way).run(source, stdin)


# What ends well, and how other ends are told


def test_a_script_reads_and_prints(way: Way) -> None:
    ran = run(way, "name = input()\nprint('hello', name, __name__)", "you\n")
    assert (ran.status, ran.stdout, ran.stderr, ran.code, ran.cut) == (
        Status.OK,
        "hello you __main__\n",
        "",
        0,
        False,
    )


@pytest.mark.parametrize(
    ("source", "status", "code"),
    [
        ("raise SystemExit(3)", Status.FAILED, 3),
        ("import os; os._exit(7)", Status.FAILED, 7),
        ("1 / 0", Status.FAILED, 1),
        ("def", Status.FAILED, 1),
        ("import os; os.kill(os.getpid(), 9)", Status.KILLED, -9),
        ("import os; os.abort()", Status.KILLED, -6),
        ("import sys; sys.setrecursionlimit(10)\ndef f(): f()\nf()", Status.FAILED, 1),
        ("import threading; threading.Thread(target=print, args=('late',)).start()", Status.OK, 0),
    ],
)
def test_how_it_ended(way: Way, source: str, status: Status, code: int) -> None:
    ran = run(way, source)
    assert (ran.status, ran.code) == (status, code), ran


def test_what_it_raised_is_in_stderr(way: Way) -> None:
    assert run(way, "1 / 0").stderr.endswith("ZeroDivisionError: division by zero\n")


def test_deep_recursion_in_c(way: Way) -> None:
    ran = run(
        way, "import sys; sys.setrecursionlimit(10**9)\nclass A:\n def __repr__(s): return repr(s)\nrepr(A())"
    )
    assert ran.status in (Status.KILLED, Status.FAILED, Status.MEMORY)


def test_stdin_that_is_never_read(way: Way) -> None:
    assert run(way, "print('done')", "x" * 5_000_000).stdout == "done\n"


def test_stdin_cannot_be_written(way: Way) -> None:
    assert run(way, "import os; os.write(0, b'x')", "abc").status is Status.FAILED


def test_calls_give_their_results(way: Way) -> None:
    source = "def add(a, b):\n    print('noise')\n    return a + b"
    ran = Sandbox(SMALL, way).call(source, "add", ["[1, 2]", '["a", "b"]', '[1, "b"]'])
    assert ran.results[:2] == ('[0, "value", 3]', '[1, "value", "ab"]')
    assert ran.results[2].startswith('[2, "raised", "TypeError')
    method = "class Solution:\n    def double(self, x): return 2 * x"
    assert Sandbox(SMALL, way).call(method, "Solution.double", ["[4]"]).results == ('[0, "value", 8]',)


def test_several_threads_may_use_one(way: Way) -> None:
    box, said = Sandbox(SMALL, way), {}

    def ask(i: int) -> None:
        said[i] = box.run(f"print({i})").stdout

    threads = [threading.Thread(target=ask, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert said == {i: f"{i}\n" for i in range(4)}


# Bombs


def test_fork_bomb(way: Way) -> None:
    source = "import os\nn = 0\ntry:\n  while True:\n    if os.fork() == 0:\n      import time; time.sleep(60)\n    n += 1\n"
    source += "except OSError as error:\n  print(n, error.errno)"
    ran = run(way, source)
    made, number = ran.stdout.split()
    assert int(made) <= SMALL.processes
    assert int(number) == 11  # EAGAIN


def test_fork_bomb_without_mercy(way: Way) -> None:
    source = "import os\nwhile True:\n  try:\n    os.fork()\n  except OSError:\n    pass"
    ran = run(way, source, wall_s=1, cpu_s=3)
    assert ran.status in (Status.TIMEOUT, Status.KILLED)
    assert ran.seconds < 5


def test_thread_bomb(way: Way) -> None:
    source = "import threading, time\nfor i in range(100):\n  threading.Thread(target=time.sleep, args=(60,), daemon=True).start()"
    ran = run(way, source)
    assert ran.status is Status.FAILED
    assert "can't start new thread" in ran.stderr


@pytest.mark.parametrize(
    "source",
    [
        "x = bytearray(1 << 40)",
        "x = []\nwhile True: x.append(bytearray(1 << 20))",
        "x = 'a'\nwhile True: x += x",
        "import mmap; x = mmap.mmap(-1, 1 << 33)",
    ],
)
def test_memory_bomb(way: Way, source: str) -> None:
    ran = run(way, source)
    assert ran.status is Status.MEMORY or "Cannot allocate memory" in ran.stderr, ran


def test_memory_that_address_space_does_not_count(way: Way) -> None:
    source = "import os\nprint(hasattr(os, 'memfd_create'))\nos.memfd_create('x')"
    assert "PermissionError" in run(way, source).stderr


def test_disk_filling(way: Way) -> None:
    source = "for i in range(40):\n  with open(f'f{i}', 'wb') as f: f.write(bytes(1 << 20))"
    assert "No space left on device" in run(way, source).stderr


def test_a_huge_file(way: Way) -> None:
    source = "f = open('f', 'wb')\nwhile True: f.write(bytes(1 << 16))"
    ran = run(way, source)
    assert "File too large" in ran.stderr or "No space left" in ran.stderr


def test_many_empty_files(way: Way) -> None:
    if way == "bwrap" and os.getuid() != 0:
        pytest.skip("bubblewrap's own folder has no limit on the number of files; see docs/sandbox.md")
    ran = run(way, "i = 0\nwhile True:\n  open(f'f{i}', 'w').close(); i += 1", wall_s=5)
    assert "No space left on device" in ran.stderr


def test_a_flood_is_cut_and_ended(way: Way) -> None:
    for stream in ("stdout", "stderr"):
        ran = run(way, f"import sys\nwhile True: sys.{stream}.write('x' * 1000)")
        assert (ran.status, ran.cut) == (Status.OUTPUT, True)
        assert len(ran.stdout + ran.stderr) == SMALL.output_kib * 1024
        assert ran.seconds < 4


def test_output_up_to_the_cap_is_whole(way: Way) -> None:
    ran = run(way, "print('x' * (64 * 1024 - 1))")
    assert (ran.status, ran.cut, len(ran.stdout)) == (Status.OK, False, 64 * 1024)


@pytest.mark.parametrize(
    "source",
    [
        "while True: pass",
        "import time; time.sleep(1000)",
        "import signal, time\nfor n in range(1, 65):\n  try: signal.signal(n, signal.SIG_IGN)\n  except (OSError, ValueError): pass\ntime.sleep(1000)",
        "import os, time\nos.close(1); os.close(2); time.sleep(1000)",
        "import os, signal; os.kill(os.getpid(), signal.SIGSTOP)",
    ],
)
def test_the_clock(way: Way, source: str) -> None:
    ran = run(way, source, wall_s=0.3)
    assert ran.status is Status.TIMEOUT
    assert 0.3 <= ran.seconds < 2


def test_the_processors_clock(way: Way) -> None:
    assert run(way, "while True: pass", cpu_s=1).status is Status.TIMEOUT
    # more processor time than the hard limit can't be had by ignoring the warning
    ignoring = "import signal; signal.signal(signal.SIGXCPU, signal.SIG_IGN)\nwhile True: pass"
    ran = run(way, ignoring, cpu_s=1)
    assert ran.status in (Status.KILLED, Status.TIMEOUT)


def test_limits_cannot_be_raised(way: Way) -> None:
    source = "import resource as r\nfor n in (r.RLIMIT_AS, r.RLIMIT_NPROC, r.RLIMIT_CPU):\n  try:\n    r.setrlimit(n, (r.RLIM_INFINITY,) * 2); print('raised')\n  except (ValueError, PermissionError): pass"
    assert run(way, source).stdout == ""


def test_a_daemon_does_not_survive(way: Way) -> None:
    source = "import os, time\nif os.fork() == 0:\n  os.setsid()\n  if os.fork() == 0:\n    time.sleep(1000)\n  os._exit(0)\nos.wait(); print('done')"
    start = time.monotonic()
    assert run(way, source).stdout == "done\n"
    assert time.monotonic() - start < 4  # its open stdout holds nobody up


def test_a_killed_parent_takes_its_sandbox_along(way: Way) -> None:
    source = f"from shoestring.tasks.sandbox import *\nprint(1, flush=True)\nSandbox(Limits(wall_s=600), {way!r}).run('import time; time.sleep(600)')"
    parent = subprocess.Popen([sys.executable, "-c", source], stdout=subprocess.PIPE)
    assert parent.stdout is not None
    with parent.stdout:
        parent.stdout.readline()
        patience = time.monotonic() + 20
        while not sandboxed() and time.monotonic() < patience:
            time.sleep(0.01)
        time.sleep(0.5)
        assert sandboxed()
        parent.kill()
        parent.wait()


# Escapes: files


def test_nothing_of_the_host_is_seen(way: Way, tmp_path: Path) -> None:
    secret = tmp_path / "secret.txt"
    secret.write_text(SECRET)
    places = [
        str(secret),
        "/etc/passwd",
        "/etc/shadow",
        "/proc/1/environ",
        "/proc/self/environ",
        str(Path(__file__)),
    ]
    places += [
        str(Path.home() / ".ssh"),
        str(Path.home() / ".bashrc"),
        "/sys",
        "/proc",
        "/run",
        "/var",
        "/home",
        "/boot",
    ]
    source = f"import os\nfor p in {places!r}:\n  if os.path.exists(p): print(p)\nprint(sorted(os.listdir('/dev')))"
    assert run(way, source).stdout == "['full', 'null', 'random', 'urandom', 'zero']\n"


def test_symlinks_lead_nowhere(way: Way) -> None:
    source = "import os\nfor i, t in enumerate(['/etc/passwd', '../../../etc/passwd', '/proc/self/root/etc/passwd']):\n  os.symlink(t, f'l{i}')\n  try: print(open(f'l{i}').read())\n  except OSError: pass"
    assert run(way, source).stdout == ""


@pytest.mark.parametrize(
    "place", ["/x", "/usr/x", "/usr/lib/x", "/dev/x", f"{os.path.realpath(sys.base_prefix)}/lib/x", "/bin/x"]
)
def test_no_writing_outside(way: Way, place: str) -> None:
    ran = run(way, f"open({place!r}, 'w').write('x')")
    assert "Read-only file system" in ran.stderr or "Permission denied" in ran.stderr
    assert not Path(place).exists()


def test_work_is_private_and_fresh(way: Way) -> None:
    assert run(way, "import os; open('/work/a', 'w'); print(os.listdir('.'))").stdout == "['a']\n"
    assert run(way, "import os; print(os.listdir('.'), os.listdir('/tmp'))").stdout == "[] []\n"


def test_environment_is_our_choice(way: Way, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("API_KEY", SECRET)
    ran = run(way, "import os; print(sorted(os.environ))")
    assert set(eval(ran.stdout)) <= {"HOME", "LANG", "LC_CTYPE", "LD_LIBRARY_PATH", "PATH", "PWD", "TMPDIR"}


def test_no_descriptor_is_left_open(way: Way) -> None:
    source = "import os\nopen_ = []\nfor fd in range(3, 1000):\n  try: os.fstat(fd); open_.append(fd)\n  except OSError: pass\nprint(len(open_))"
    assert int(run(way, source).stdout) <= 1  # the results' pipe
    fd = os.open(__file__, os.O_RDONLY)
    os.set_inheritable(fd, True)
    try:
        assert int(run(way, source).stdout) <= 1
    finally:
        os.close(fd)


def test_setuid_programs_give_nothing(way: Way) -> None:
    source = "import subprocess, os\nfor p in ('/usr/bin/su', '/usr/bin/mount', '/usr/bin/passwd'):\n  if os.path.exists(p):\n    done = subprocess.run([p, '--help'], capture_output=True)\nprint(os.geteuid(), [l for l in open('/usr/bin/su', 'rb').read(4)] if os.path.exists('/usr/bin/su') else '')"
    assert run(way, source).stdout.startswith("1000 ")
    status = "import ctypes; print(ctypes.CDLL(None).prctl(39, 0, 0, 0, 0))"  # PR_GET_NO_NEW_PRIVS
    assert run(way, status).stdout == "1\n"
    for call in (
        "setuid(0)",
        "setresuid(0, 0, 0)",
        "setgid(0)",
        "setgroups([0])",
        "chroot('/work')",
        "nice(-5)",
    ):
        assert run(way, f"import os; os.{call}").status is Status.FAILED, call


# Escapes: processes


@pytest.mark.parametrize("number", [9, 15, 19])
def test_signals_reach_nobody_outside(way: Way, number: int) -> None:
    source = f"import os\nfor p in ({os.getpid()}, {os.getppid()}, 1, -1, os.getppid()):\n  try: os.kill(p, {number})\n  except OSError as e: print(e.errno)\nprint('here')"
    ran = run(way, source)
    assert ran.status is Status.OK
    assert ran.stdout.endswith("here\n")


def test_a_process_group_holds_only_the_codes_own(way: Way) -> None:
    ran = run(way, "import os; os.kill(0, 9)")
    assert (ran.status, ran.code) == (Status.KILLED, -9)


def test_its_keeper_can_be_neither_read_nor_hurt(way: Way) -> None:
    source = """
import ctypes, os, resource
libc = ctypes.CDLL(None, use_errno=True)
def tried(number, *arguments):
    if libc.syscall(number, *arguments) != -1: print('managed', number)
numbers = {numbers}
tried(numbers['ptrace'], 16, 1, 0, 0)
tried(numbers['process_vm_readv'], 1, 0, 0, 0, 0, 0)
tried(numbers['pidfd_getfd'], 0, 0, 0)
try: resource.prlimit(1, resource.RLIMIT_CPU, (0, 0)); print('managed')
except OSError: pass
for p in ('/proc/1/mem', '/proc/1/environ'):
    try: open(p, 'rb'); print('managed', p)
    except OSError: pass
print('tried')
"""
    column = 0 if platform.machine() == "x86_64" else 1
    numbers = {name: both[column] for name, both in REFUSED.items()}
    assert run(way, source.replace("{numbers}", repr(numbers))).stdout == "tried\n"


def test_refused_system_calls(way: Way) -> None:
    if system_call_filter() is None:
        pytest.skip(f"no filter for {platform.machine()}")
    column = 0 if platform.machine() == "x86_64" else 1
    numbers = {name: both[column] for name, both in REFUSED.items() if both[column] is not None}
    source = f"import ctypes\nlibc = ctypes.CDLL(None, use_errno=True)\nfor name, n in {numbers!r}.items():\n  r = libc.syscall(n, -1, -1, -1, -1, -1)\n  if (r, ctypes.get_errno()) != (-1, 1): print(name, r, ctypes.get_errno())"
    assert run(way, source).stdout == ""


def test_no_new_namespaces_by_any_call(way: Way) -> None:
    clone, clone3 = (56, 435) if platform.machine() == "x86_64" else (220, 435)
    source = f"""
import ctypes, os
libc = ctypes.CDLL(None, use_errno=True)
for flag in (0x20000, 0x2000000, 0x4000000, 0x8000000, 1 << 28, 1 << 29, 1 << 30):
    for name, arguments in (('unshare', (flag,)), ('syscall', ({clone}, flag | 17, 0, 0, 0, 0))):
        r = getattr(libc, name)(*arguments)
        if r == 0 and name == 'syscall': os._exit(1)
        if (r, ctypes.get_errno()) != (-1, 1): print(name, hex(flag), r)
print(libc.syscall({clone3}, 0, 0), ctypes.get_errno())
print(libc.mount(b'tmpfs', b'/work', b'tmpfs', 0, None))
"""
    assert run(way, source).stdout == "-1 38\n-1\n"


def test_the_other_numbering_of_system_calls_is_fatal(way: Way) -> None:
    if platform.machine() != "x86_64":
        pytest.skip("x86_64 alone has x32")
    ran = run(way, "import ctypes; ctypes.CDLL(None).syscall(0x40000000 + 39)")
    assert (ran.status, ran.code) == (Status.KILLED, -31)  # SIGSYS


# Escapes: network


def test_no_network(way: Way) -> None:
    server = socket.create_server(("127.0.0.1", 0))
    with server:
        port = server.getsockname()[1]
        source = f"import socket\nsocket.create_connection(('127.0.0.1', {port}), 2); print('connected')"
        ran = run(way, source)
        assert (ran.status, ran.stdout) == (Status.FAILED, "")
        server.settimeout(0.05)
        with pytest.raises(TimeoutError):
            server.accept()
    assert (
        run(way, "import socket; print(socket.gethostbyname('localhost.localdomain'))").status
        is Status.FAILED
    )


def test_no_socket_of_the_host(way: Way, tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "s"))
        server.listen()
        source = f"import socket; s = socket.socket(socket.AF_UNIX); s.connect({str(tmp_path / 's')!r})"
        assert run(way, source).status is Status.FAILED


def test_the_network_is_gone_even_without_the_filter(way: Way, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two walls, each tried alone: abstract sockets of the host too belong to its network namespace."""
    monkeypatch.setattr(sandbox_start, "system_call_filter", lambda: None)
    name = f"\0shoestring-{os.getpid()}"
    with socket.socket(socket.AF_UNIX) as server, socket.create_server(("127.0.0.1", 0)) as local:
        server.bind(name)
        server.listen()
        source = f"""
import socket
for family, address in ((socket.AF_UNIX, {name!r}), (socket.AF_INET, ('127.0.0.1', {local.getsockname()[1]}))):
    s = socket.socket(family)
    try: s.connect(address); print('connected')
    except OSError as error: print(type(error).__name__)
"""
        ran = run(way, source)
    assert "connected" not in ran.stdout
    assert len(ran.stdout.split()) == 2


def test_asyncio_works(way: Way) -> None:
    source = "import asyncio\nasync def f(): await asyncio.sleep(0.01); print('slept')\nasyncio.run(f())"
    assert run(way, source).stdout == "slept\n"


# Where it can't be done, and what is told


def test_no_isolation_is_a_refusal(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(program: object, limits: object, way: str) -> Ran:
        raise SandboxFailed(f"{way} is forbidden")

    monkeypatch.setattr(sandbox, "run_isolated", fails)
    missing.cache_clear()
    try:
        with pytest.raises(BadInput, match=r"can't isolate code, so none is run .*plain is forbidden"):
            Sandbox()
        with pytest.raises(BadInput, match="no sandbox by 'plain' here: plain is forbidden"):
            Sandbox(way="plain")
        assert "plain is forbidden" in describe()
    finally:
        missing.cache_clear()


def test_a_machine_that_is_not_linux(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    missing.cache_clear()
    try:
        with pytest.raises(BadInput, match="it needs Linux"):
            Sandbox()
    finally:
        monkeypatch.undo()
        missing.cache_clear()


def test_a_refused_namespace_says_which(monkeypatch: pytest.MonkeyPatch) -> None:
    if missing("plain"):
        pytest.skip(missing("plain"))
    box = Sandbox(way="plain")
    monkeypatch.setattr(sandbox_start, "shown", lambda: ("/no/such/folder",))
    with pytest.raises(SandboxFailed, match="No such file"):
        box.run("pass")


def test_the_filter_exists_for_known_machines_alone() -> None:
    x86, arm = system_call_filter("x86_64"), system_call_filter("aarch64")
    assert x86 is not None
    assert arm is not None
    assert len(x86) % 8 == len(arm) % 8 == 0
    assert x86 != arm
    assert system_call_filter("riscv64") is None


def test_describe_names_the_way() -> None:
    if all(missing(way) for way in WAYS):
        assert "can't isolate" in describe()
    else:
        assert describe().startswith("isolated by ")
