"""The process of one job, with shell scripts in the job's place."""

import json
import os
import signal
import threading
from types import SimpleNamespace

import pytest

from commands import wait_until
from twostream.cli import processes
from twostream.cli.processes import gpus_of_worker, run_in_own_process, visible_gpus
from twostream.files import write_json


@pytest.fixture
def job(tmp_path, monkeypatch):
    """Makes the job a shell script, which finds its folder in FOLDER."""
    monkeypatch.setenv("FOLDER", str(tmp_path))

    def become(script):
        path = tmp_path / "job.sh"
        path.write_text("#!/bin/sh\n" + script)
        path.chmod(0o755)
        monkeypatch.setattr(processes.sys, "executable", str(path))

    return become


@pytest.fixture
def worker(monkeypatch):
    """Makes this process the third worker of a pool that process 1 has started; returns what it is to end with."""
    ends_with = []
    pool = SimpleNamespace(
        parent_process=lambda: SimpleNamespace(pid=1),
        current_process=lambda: SimpleNamespace(_identity=(3,)),
    )
    monkeypatch.setattr(processes, "multiprocessing", pool)
    monkeypatch.setattr(processes, "_end_with", ends_with.append)
    return ends_with


def test_a_job_gets_its_overrides_and_its_folder(tmp_path, job):
    job('echo "$@" > "$FOLDER/arguments"; echo $TWOSTREAM_PARENT > "$FOLDER/parent"')
    run_in_own_process(["seed=1", "data=synthetic"], tmp_path, 1)
    arguments = (tmp_path / "arguments").read_text()
    assert arguments == f"-m twostream.cli.train seed=1 data=synthetic hydra.run.dir='{tmp_path}'\n"
    assert (tmp_path / "parent").read_text().strip() == str(os.getpid())


def test_a_job_that_fails_gives_its_reason(tmp_path, job):
    job("exit 3")
    write_json(tmp_path / "run.json", {"state": "failed", "reason": "ValueError: no"})
    with pytest.raises(RuntimeError, match="failed: ValueError: no"):
        run_in_own_process([], tmp_path, 1)


def test_a_job_that_is_killed_is_a_failure(tmp_path, job):
    job("kill -9 $$")
    with pytest.raises(RuntimeError, match="failed: killed by signal SIGKILL"):
        run_in_own_process([], tmp_path, 1)
    assert json.loads((tmp_path / "run.json").read_text())["state"] == "failed"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2])
def test_a_signal_stops_the_job_first_and_then_goes_to_whom_it_was_for(tmp_path, job, number):
    job("""
        trap 'echo saved > "$FOLDER/checkpoint"; exit 1' TERM
        touch "$FOLDER/started"
        while true; do sleep 0.05; done
    """)
    seen = []
    before = signal.signal(number, lambda *_: seen.append((tmp_path / "checkpoint").is_file()))
    main_thread = threading.get_ident()

    def ask():
        wait_until((tmp_path / "started").exists)
        for _ in range(2):
            signal.pthread_kill(main_thread, number)

    try:
        threading.Thread(target=ask).start()
        with pytest.raises(RuntimeError, match="was stopped"):
            run_in_own_process([], tmp_path, 1)
        assert seen == [True]
        assert not (tmp_path / "run.json").exists()
        signal.raise_signal(number)
        assert seen == [True, True], "the handler is in its place again"
    finally:
        signal.signal(number, before)


def test_an_interrupted_sweep_waits_for_its_jobs_checkpoint(tmp_path, job):
    job("""
        trap 'echo saved > "$FOLDER/checkpoint"; exit 1' TERM
        touch "$FOLDER/started"
        while true; do sleep 0.05; done
    """)
    main_thread = threading.get_ident()

    def interrupt():
        wait_until((tmp_path / "started").exists)
        signal.pthread_kill(main_thread, signal.SIGINT)

    threading.Thread(target=interrupt).start()
    with pytest.raises(KeyboardInterrupt):
        run_in_own_process([], tmp_path, 1)
    assert (tmp_path / "checkpoint").is_file()


@pytest.mark.parametrize(
    ("devices", "expected"), [(1, "c"), (2, "b,c"), (9, "a,b,c"), ("auto", "a,b,c"), (-1, "a,b,c")]
)
def test_a_worker_gives_its_job_a_share_of_the_gpus(tmp_path, job, worker, monkeypatch, devices, expected):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "a,b,c")
    job("echo $CUDA_VISIBLE_DEVICES")
    run_in_own_process([], tmp_path / "run", devices)
    assert (tmp_path / "run" / "output.log").read_text().strip() == expected


def test_a_worker_ends_with_its_pool_and_a_job_with_its_sweep(worker, monkeypatch):
    processes.end_with_parent()
    assert worker == [1]
    monkeypatch.setenv(processes.PARENT, "7")
    processes.end_with_parent()
    assert worker == [1, 7]
    assert processes.PARENT not in os.environ


def test_a_sweep_itself_ends_with_nobody(worker, monkeypatch):
    monkeypatch.delenv(processes.PARENT, raising=False)
    monkeypatch.setattr(processes.multiprocessing, "parent_process", lambda: None)
    processes.end_with_parent()
    assert worker == []


def test_without_gpus_a_worker_sets_nothing(tmp_path, job, worker, monkeypatch):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(processes, "visible_gpus", list)
    job("echo ${CUDA_VISIBLE_DEVICES-unset}")
    run_in_own_process([], tmp_path / "run", 1)
    assert (tmp_path / "run" / "output.log").read_text().strip() == "unset"


def test_workers_take_turns_with_the_gpus():
    gpus = ["0", "1", "2", "3"]
    assert [gpus_of_worker(worker, 1, gpus) for worker in (1, 2, 3, 4, 5)] == ["0", "1", "2", "3", "0"]
    assert [gpus_of_worker(worker, 2, gpus) for worker in (1, 2, 3)] == ["0,1", "2,3", "0,1"]


def test_the_gpus_are_those_that_are_named_or_that_the_driver_lists(tmp_path, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,GPU-1a")
    assert visible_gpus() == ["2", "GPU-1a"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert visible_gpus() == []
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert visible_gpus() == []
    driver = tmp_path / "nvidia-smi"
    driver.write_text('#!/bin/sh\n[ "$1" = -L ] || exit 1\n[ -z "$BROKEN" ] || exit 9\n')
    with driver.open("a") as script:
        script.write("echo 'GPU 0: NVIDIA H200 (UUID: GPU-1)'\necho '  MIG 1g Device 0: (UUID: MIG-1)'\n")
        script.write("echo 'GPU 1: NVIDIA H200 (UUID: GPU-2)'\n")
    driver.chmod(0o755)
    assert visible_gpus() == ["0", "1"]
    monkeypatch.setenv("BROKEN", "1")
    assert visible_gpus() == []
