"""The notebook runs from its first cell to its last, and prints what it shows."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

NOTEBOOK = Path(__file__).resolve().parents[2] / "examples" / "notebook" / "first-look.ipynb"


def printed(notebook):
    """Return what each cell prints, but for its progress, and the kinds of its other outputs."""
    return [
        [
            output["text"] if output.output_type == "stream" else output["data"]["text/plain"]
            for output in cell.outputs
            if output.get("name") != "stderr"
        ]
        for cell in notebook.cells
        if cell.cell_type == "code"
    ]


@pytest.mark.filterwarnings("ignore:.*:DeprecationWarning")
def test_the_notebook_runs_and_prints_what_it_shows(tmp_path, monkeypatch):
    scripts = Path(sys.executable).parent
    monkeypatch.setenv("PATH", f"{scripts}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("MPLCONFIGDIR", str(tmp_path / "matplotlib"))
    work = tmp_path / "work"
    work.mkdir()
    shown = nbformat.read(NOTEBOOK, as_version=4)
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    NotebookClient(
        notebook,
        timeout=50,
        kernel_name="python3",
        resources={"metadata": {"path": str(work)}},
    ).execute()
    assert printed(notebook) == printed(shown)
    pictures = [
        output["data"]["image/png"]
        for cell in notebook.cells
        for output in cell.get("outputs", ())
        if "image/png" in output.get("data", {})
    ]
    assert len(pictures) == 2
    assert len(list((work / "data").rglob("*_T1w.nii.gz"))) == 6
