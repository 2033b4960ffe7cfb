"""From a manifest and a listing to a plan. Reads names; writes nothing."""

from __future__ import annotations

from bidsplan.compile.compiler import Compiled, compile_manifest, explain_manifest
from bidsplan.compile.explain import Answer, Explanation

__all__ = ["Answer", "Compiled", "Explanation", "compile_manifest", "explain_manifest"]
