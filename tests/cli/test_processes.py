"""The subprocess of a job, with shell scripts as jobs."""

import logging
import os
import signal
import threading
from types import SimpleNamespace

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser

from commands import wait_until
from twostream.cli import processes
from twostream.cli.processes import JobError, gpus_of_worker, run_in_subprocess, visible_gpus
from twostream.runs import read_run, update_run


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
    """Makes this process the third worker of a pool that process 1 has started; returns the parents it watches."""
    watched = []
    pool = SimpleNamespace(
        parent_process=lambda: SimpleNamespace(pid=1),
        current_process=lambda: SimpleNamespace(_identity=(3,)),
    )
    monkeypatch.setattr(processes, "multiprocessing", pool)
    monkeypatch.setattr(processes, "_watch_parent", watched.append)
    return watched


def test_a_job_is_called_with_its_overrides_and_its_folder(tmp_path, job):
    job('echo "$@" > "$FOLDER/arguments"; echo $TWOSTREAM_PARENT > "$FOLDER/parent"')
    run_in_subprocess(["seed=1", "data=synthetic"], tmp_path, 1)
    arguments = (tmp_path / "arguments").read_text()
    assert arguments == f"-m twostream.cli.train seed=1 data=synthetic hydra.run.dir='{tmp_path}'\n"
    assert (tmp_path / "parent").read_text().strip() == str(os.getpid())


@pytest.mark.parametrize("name", ["it's", 'a"b', "a,b c", "k=v", "{a}"])
def test_a_folder_may_have_any_name(tmp_path, job, name):
    job('echo "$4" > "$FOLDER/argument"')
    run_in_subprocess(["seed=1"], tmp_path / name, 1)
    argument = (tmp_path / "argument").read_text().strip()
    assert OverridesParser.create().parse_override(argument).value() == str(tmp_path / name)


def test_a_failed_job_is_an_error_with_the_reason_that_it_tells(tmp_path, job):
    job('echo "ValueError: no\nmore" > /proc/self/fd/$TWOSTREAM_REASON; exit 3')
    update_run(tmp_path, state="running", reason="of another process")
    with pytest.raises(JobError, match=r"failed: ValueError: no$"):
        run_in_subprocess([], tmp_path, 1)
    job("exit 3")
    with pytest.raises(JobError, match=r"failed: exit status 3, without a reason$"):
        run_in_subprocess([], tmp_path, 1)


def test_a_job_tells_its_errors_and_never_waits_for_the_sweep(monkeypatch):
    reader, writer = os.pipe()
    monkeypatch.setenv(processes.REASON, str(writer))
    before = list(logging.getLogger().handlers)
    processes.tell_sweep()
    (told,) = (handler for handler in logging.getLogger().handlers if handler not in before)
    try:
        assert processes.REASON not in os.environ, "the processes that a job starts do not have the pipe"
        logging.getLogger("job").warning("a warning")
        for _ in range(100):
            logging.getLogger("job").error("%s", "x" * 5000)
    finally:
        logging.getLogger().removeHandler(told)
        os.close(writer)
    with os.fdopen(reader) as pipe:
        assert pipe.readline().startswith("xxx")


def test_a_killed_job_is_a_failure(tmp_path, job):
    job("kill -9 $$")
    with pytest.raises(JobError, match="failed: killed by signal SIGKILL"):
        run_in_subprocess([], tmp_path, 1)
    assert read_run(tmp_path).state == "failed"


@pytest.fixture
def send(tmp_path, job):
    """Starts a job that saves a checkpoint on SIGTERM; sends this process signals while it runs."""
    job("""
        trap 'echo saved > "$FOLDER/checkpoint"; exit 1' TERM
        touch "$FOLDER/started"
        while true; do sleep 0.05; done
    """)
    main_thread = threading.get_ident()

    def send_when_started(*numbers):
        wait_until((tmp_path / "started").exists)
        for number in numbers:
            signal.pthread_kill(main_thread, number)

    return lambda *numbers: threading.Thread(target=send_when_started, args=numbers).start()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2])
def test_a_signal_is_forwarded_to_the_job_and_raised_again_after_it(tmp_path, send, number):
    seen = []
    before = signal.signal(number, lambda *_: seen.append((tmp_path / "checkpoint").is_file()))
    try:
        send(number, number)
        with pytest.raises(JobError, match="was stopped"):
            run_in_subprocess([], tmp_path, 1)
        assert seen == [True]
        assert not (tmp_path / "run.json").exists()
        signal.raise_signal(number)
        assert seen == [True, True], "the handler is restored"
    finally:
        signal.signal(number, before)


def test_an_interrupted_sweep_waits_for_the_checkpoint_of_its_job(tmp_path, send):
    # A process that a shell started in the background ignores Ctrl-C.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        send(signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            run_in_subprocess([], tmp_path, 1)
        assert (tmp_path / "checkpoint").is_file()
    finally:
        signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize(
    ("devices", "expected"), [(1, "c"), (2, "b,c"), (9, "a,b,c"), ("auto", "a,b,c"), (-1, "a,b,c")]
)
def test_a_worker_assigns_gpus_to_its_job(tmp_path, job, worker, monkeypatch, devices, expected):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "a,b,c")
    job("echo $CUDA_VISIBLE_DEVICES")
    run_in_subprocess([], tmp_path / "run", devices)
    assert (tmp_path / "run" / "output.log").read_text().strip() == expected


def test_a_worker_watched_its_pool_and_a_job_with_its_sweep(worker, monkeypatch):
    processes.end_with_parent()
    assert worker == [1]
    monkeypatch.setenv(processes.PARENT, "7")
    processes.end_with_parent()
    assert worker == [1, 7]
    assert processes.PARENT not in os.environ


def test_a_sweep_itself_has_no_parent_to_end_with(worker, monkeypatch):
    monkeypatch.delenv(processes.PARENT, raising=False)
    monkeypatch.setattr(processes.multiprocessing, "parent_process", lambda: None)
    processes.end_with_parent()
    assert worker == []


def test_without_gpus_a_worker_sets_no_devices(tmp_path, job, worker, monkeypatch):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(processes, "visible_gpus", list)
    job("echo ${CUDA_VISIBLE_DEVICES-unset}")
    run_in_subprocess([], tmp_path / "run", 1)
    assert (tmp_path / "run" / "output.log").read_text().strip() == "unset"


def test_gpus_are_assigned_to_workers_cyclically():
    gpus = ["0", "1", "2", "3"]
    assert [gpus_of_worker(worker, 1, gpus) for worker in (1, 2, 3, 4, 5)] == ["0", "1", "2", "3", "0"]
    assert [gpus_of_worker(worker, 2, gpus) for worker in (1, 2, 3)] == ["0,1", "2,3", "0,1"]


def test_the_visible_gpus_come_from_the_environment_or_the_driver(tmp_path, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,GPU-1a")
    assert visible_gpus() == ["2", "GPU-1a"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert visible_gpus() == []
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert visible_gpus() == []
    driver = tmp_path / "nvidia-smi"
    driver.write_text("""#!/bin/sh
        [ "$1" = -L ] || exit 1
        [ -z "$BROKEN" ] || exit 9
        echo 'GPU 0: NVIDIA H200 (UUID: GPU-1)'
        echo '  MIG 1g Device 0: (UUID: MIG-1)'
        echo 'GPU 1: NVIDIA H200 (UUID: GPU-2)'
    """)
    driver.chmod(0o755)
    assert visible_gpus() == ["0", "1"]
    monkeypatch.setenv("BROKEN", "1")
    assert visible_gpus() == []
