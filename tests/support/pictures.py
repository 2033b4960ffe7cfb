"""Small images, and their bytes."""

from __future__ import annotations

import gzip

import nibabel as nib
import numpy as np

RANDOM = np.random.default_rng(0)
KINDS = [nib.Nifti1Image, nib.Nifti2Image]
NAMES = ["x.nii", "x.nii.gz"]
AFFINE = np.diag([2.0, 2.0, 2.0, 1.0])


def image(shape=(5, 6, 7, 3), kind=nib.Nifti1Image, dtype="int16"):
    return kind(RANDOM.integers(-999, 999, shape).astype(dtype), AFFINE)


def data_of(img):
    return np.asanyarray(img.dataobj)


def packed(img, name="x.nii"):
    return gzip.compress(img.to_bytes(), 1) if name.endswith(".gz") else img.to_bytes()
