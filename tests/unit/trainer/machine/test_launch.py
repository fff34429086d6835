"""Processes: launcher variables, host lists, local processes with signals and exit codes."""

import os
import signal
import socket
import subprocess
import sys
import time

import pytest

from segfoundry.trainer.machine import launch
from segfoundry.trainer.machine.launch import Ranks, first_host, free_port, launch_local, process_count, read_ranks
from segfoundry.utils.errors import UserError

TORCHRUN = {
    "RANK": "3",
    "WORLD_SIZE": "8",
    "LOCAL_RANK": "1",
    "LOCAL_WORLD_SIZE": "2",
    "MASTER_ADDR": "h",
    "MASTER_PORT": "9",
}
SLURM = {"SLURM_PROCID": "5", "SLURM_STEP_NUM_TASKS": "8", "SLURM_LOCALID": "1", "SLURM_STEP_TASKS_PER_NODE": "4(x2)"}
OMPI = {f"OMPI_COMM_WORLD_{n}": v for n, v in {"RANK": "1", "SIZE": "2", "LOCAL_RANK": "1", "LOCAL_SIZE": "2"}.items()}


def test_one_process_without_a_launcher():
    assert read_ranks({}) == Ranks() and Ranks().main


def test_torchrun():
    assert read_ranks(TORCHRUN) == Ranks(3, 8, 1, 2, "torchrun", "h", 9)


def test_torchrun_wins_over_slurm_and_open_mpi():
    assert read_ranks({**OMPI, **SLURM, **TORCHRUN}).source == "torchrun"


def test_slurm_step_on_two_machines():
    ranks = read_ranks({**SLURM, "SLURM_STEP_NODELIST": "gpu[07-08]"}, port="123")
    assert ranks == Ranks(5, 8, 1, 4, "Slurm", "gpu07", 123)


def test_slurm_batch_script_outside_srun_is_one_process():
    assert read_ranks({"SLURM_PROCID": "0", "SLURM_NTASKS": "8", "SLURM_JOB_NODELIST": "a"}) == Ranks()


def test_open_mpi():
    assert read_ranks(OMPI, port="7") == Ranks(1, 2, 1, 2, "Open MPI", "127.0.0.1", 7)
    with pytest.raises(UserError, match="MASTER_ADDR"):
        read_ranks({**OMPI, "OMPI_COMM_WORLD_LOCAL_SIZE": "1"})


@pytest.mark.parametrize(("name", "value"), [("RANK", "x"), ("RANK", "8"), ("WORLD_SIZE", "")])
def test_nonsense_variables_are_named(name, value):
    with pytest.raises(UserError, match=name):
        read_ranks({**TORCHRUN, name: value})


@pytest.mark.parametrize(
    ("nodes", "host"),
    [("a", "a"), ("a,b", "a"), ("gpu[07-09,12],x", "gpu07"), ("n[1,3]-ib", "n1-ib"), ("r1-n[2]", "r1-n2")],
)
def test_first_host(nodes, host):
    assert first_host(nodes) == host


def test_free_port_can_be_listened_on():
    with socket.socket() as server:
        server.bind(("127.0.0.1", free_port()))
        server.listen()


def test_process_count():
    assert process_count("3") == 3 and process_count("auto") >= 1
    for wrong in ("0", "two", "-1"):
        with pytest.raises(UserError, match="--num-gpus"):
            process_count(wrong)


@pytest.fixture
def program(tmp_path, monkeypatch):
    """Lets the launcher start a small script in the place of the command line."""

    def write(text):
        (tmp_path / "entry.py").write_text("import os, signal, sys, time\nrank = int(os.environ['RANK'])\n" + text)
        monkeypatch.setattr(launch, "product_root", lambda: tmp_path)
        return tmp_path

    return write


def test_local_processes_get_their_ranks_and_words(program):
    folder = program(
        "names = 'RANK LOCAL_RANK WORLD_SIZE LOCAL_WORLD_SIZE MASTER_ADDR'.split()\n"
        "words = [*(os.environ[n] for n in names), *sys.argv[1:]]\n"
        "open(f'{os.path.dirname(__file__)}/{rank}', 'w').write(' '.join(words))\n"
    )
    assert launch_local(2, ["train", "x"]) == 0
    assert [(folder / str(r)).read_text() for r in (0, 1)] == [f"{r} {r} 2 2 127.0.0.1 train x" for r in (0, 1)]


def test_failure_of_one_ends_the_others_and_gives_its_code(program, monkeypatch):
    monkeypatch.setattr(launch, "_GRACE_SECONDS", 0.2)
    program("sys.exit(2) if rank == 1 else time.sleep(800)\n")
    started = time.monotonic()
    assert launch_local(2, []) == 2
    assert time.monotonic() - started < 700


def test_signals_are_passed_on(tmp_path):
    (tmp_path / "entry.py").write_text(
        "import os, signal, sys, time\n"
        "signal.signal(signal.SIGTERM, lambda *a: sys.exit(143))\n"
        "open(f'{os.path.dirname(__file__)}/ready' + os.environ['RANK'], 'w')\n"
        "time.sleep(800)\n"
    )
    script = (
        "import sys, pathlib\n"
        "from segfoundry.trainer.machine import launch\n"
        "launch.product_root = lambda: pathlib.Path(sys.argv[1])\n"
        "sys.exit(launch.launch_local(2, []))\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", script, str(tmp_path)])
    deadline = time.monotonic() + 300
    while not all((tmp_path / f"ready{r}").exists() for r in (0, 1)):
        assert parent.poll() is None and time.monotonic() < deadline
        time.sleep(0.02)
    os.kill(parent.pid, signal.SIGTERM)
    assert parent.wait(300) == 143
