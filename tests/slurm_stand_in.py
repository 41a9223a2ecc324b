"""SLURM's commands on one machine, as far as submitit and Lightning need them for one job.

A job's script starts immediately; `srun` starts its tasks with SLURM's variables and writes them to `tasks.txt`.
`scontrol requeue` restarts the script after it has ended. Every call is written to `calls.txt`.
"""

import os
import re
import subprocess
import sys
from pathlib import Path

JOB = "1234"


def install(folder: Path) -> str:
    """Create a folder with the commands; return PATH with that folder first."""
    folder.mkdir()
    for name in ("sbatch", "srun", "sacct", "scontrol"):
        script = folder / name
        script.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{__file__}" "{folder}" {name} "$@"\n')
        script.chmod(0o755)
    return f"{folder}:{os.environ['PATH']}"


def sbatch(folder: Path, script: str) -> None:
    text = Path(script).read_text()
    (folder / "script.sh").write_text(text)
    options = dict(re.findall(r"^#SBATCH --([\w-]+)=(.*)$", text, flags=re.MULTILINE))
    assert options["nodes"] == "1"
    environment = {
        "SLURM_JOB_ID": JOB,
        "SLURM_JOB_NAME": options["job-name"],
        "SLURM_JOB_NUM_NODES": "1",
        "SLURM_NNODES": "1",
        "SLURM_NTASKS": options["ntasks-per-node"],
        "SLURM_NTASKS_PER_NODE": options["ntasks-per-node"],
        "SLURM_NODELIST": "127.0.0.1",
        "SLURM_JOB_NODELIST": "127.0.0.1",
    }
    again = folder / "again"
    loop = f'while bash "{script}"; [ -e "{again}" ]; do rm "{again}"; done'
    with (folder / "errors.txt").open("a") as errors:
        # submitit waits for the end of what sbatch prints, so the job must not hold it.
        subprocess.Popen(
            ["bash", "-c", loop],
            env={**os.environ, **environment},
            stdout=errors,
            stderr=errors,
            start_new_session=True,
        )
    print(f"Submitted batch job {JOB}")


def srun(folder: Path, *arguments: str) -> None:
    unbuffered, output, stdout, error, stderr, *command = arguments
    assert (unbuffered, output, error) == ("--unbuffered", "--output", "--error")
    tasks = []
    for rank in range(int(os.environ["SLURM_NTASKS"])):
        files = []
        for name in (stdout, stderr):
            path = Path(name.replace("%j", JOB).replace("%t", str(rank)))
            path.parent.mkdir(parents=True, exist_ok=True)
            files.append(path.open("a"))
        ranks = {"SLURM_PROCID": str(rank), "SLURM_LOCALID": str(rank), "SLURM_NODEID": "0"}
        tasks.append(subprocess.Popen(command, env={**os.environ, **ranks}, stdout=files[0], stderr=files[1]))
    (folder / "tasks.txt").write_text(" ".join(str(task.pid) for task in tasks))
    sys.exit(max(abs(task.wait()) for task in tasks))


def sacct(folder: Path, *arguments: str) -> None:
    print(f"JobID|State|NodeList\n{JOB}|RUNNING|here")


def scontrol(folder: Path, *arguments: str) -> None:
    assert arguments == ("requeue", JOB)
    (folder / "again").touch()


if __name__ == "__main__":
    folder, command, *rest = sys.argv[1:]
    with (Path(folder) / "calls.txt").open("a") as calls:
        calls.write(" ".join([command, *rest]) + "\n")
    globals()[command](Path(folder), *rest)
