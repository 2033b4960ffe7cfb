"""Materialising a plan in storage: in object stores, and wherever else fsspec writes."""

from __future__ import annotations

from bidsplan.remote.deciding import decide_only
from bidsplan.remote.executor import RemoteExecutor

__all__ = ["RemoteExecutor", "decide_only"]
