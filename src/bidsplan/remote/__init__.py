"""Materialising a plan in storage: in object stores, and wherever else fsspec writes."""

from __future__ import annotations

from bidsplan.remote.executor import RemoteExecutor, decide_only

__all__ = ["RemoteExecutor", "decide_only"]
