"""A plan of many subjects and columns, of which some files are missing."""

from __future__ import annotations

import random

from bidsplan.plan import Entry, Plan, Root

RAW = ["anat/T1w", "anat/T2w", "dwi/dwi", "func/bold", "fmap/epi", "perf/asl", "eeg/eeg", "beh/beh"]
PIPELINES = {
    "fmriprep": ["anat/dseg", "func/boldref"],
    "qsiprep": ["anat/dseg", "dwi/dwi"],
    "freesurfer": ["mri/aseg", "surf/pial", "stats/aseg", "label/aparc"],
    "mriqc": ["anat/T1w", "func/bold"],
    "aslprep": ["perf/cbf", "anat/T1w"],
    "afq": ["dwi/profiles", "tracts/csd"],
}


def large_plan(subjects=3000, *, seed=1):
    """Make a plan whose view by datatype has 20 columns."""
    numbers = random.Random(seed)
    labels = [f"NDAR{number:05}" for number in range(subjects)]
    entries = []
    for label in labels:
        for folder, kinds in {"": RAW, **PIPELINES}.items():
            top = f"derivatives/{folder}/" if folder else ""
            for kind in kinds:
                if numbers.random() < 0.07:
                    continue
                datatype, _, suffix = kind.partition("/")
                for extension, size in ((".nii.gz", 20_000_000), (".json", 900)):
                    path = f"{top}sub-{label}/{datatype}/sub-{label}_{suffix}{extension}"
                    size += numbers.randrange(size)
                    entries.append(Entry(path=path, key=path, size=size, reason="selected"))
    return Plan.build(
        entries,
        manifest_sha256="0" * 64,
        study="large",
        roots=[Root(url="s3://bucket/large", anonymous=True)],
        subjects=labels,
    )
