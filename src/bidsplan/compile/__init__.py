"""From a manifest and a listing to a plan. Reads names; writes nothing."""

from __future__ import annotations

from bidsplan.compile.compiler import Compiled, compile_manifest

__all__ = ["Compiled", "compile_manifest"]
