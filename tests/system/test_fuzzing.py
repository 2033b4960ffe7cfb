"""A hundred mutated plans and manifests, always the same; ``fuzzing.py`` runs thousands."""

from __future__ import annotations

from fuzzing import fuzz


def test_mutated_plans_and_manifests_get_clear_answers(tmp_path):
    fuzzer = fuzz(tmp_path, plans=60, manifests=50, seed=6)
    assert fuzzer.defects == []
    # The cases are worth their time only while many of them pass the first checks.
    assert fuzzer.counts["read plans"] > 5
    assert fuzzer.counts["manifests that validate says 0 to"] > 7
