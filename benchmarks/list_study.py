"""List a study as compiling it does, its subjects in parallel, and print how many keys there are.

python benchmarks/list_study.py s3://bucket/study --anonymous
"""

from __future__ import annotations

import argparse
import gc

from bidsplan import Access, open_store
from bidsplan.compile.survey.datasets import Dataset
from bidsplan.compile.survey.listing import Lister


def main() -> None:
    """List, and count."""
    # As the command does.
    gc.set_threshold(100_000)
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("url")
    signing = parser.add_mutually_exclusive_group()
    signing.add_argument("--anonymous", action="store_true")
    signing.add_argument("--signed", action="store_true")
    arguments = parser.parse_args()
    access = Access(anonymous=not arguments.signed)
    lister = Lister(access.jobs, lambda _: None)
    with open_store(arguments.url, access=access) as store:
        dataset = Dataset(store=store, root=0)
        [survey] = lister.list_roots([dataset])
        subjects = [(dataset, f"sub-{label}") for label in survey.subjects]
        print(len(survey.files) + sum(map(len, lister.directories(subjects))))
    lister.close()


if __name__ == "__main__":
    main()
