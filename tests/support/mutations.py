"""Documents that are nearly right: what plans, manifests and answers are changed to at random."""

from __future__ import annotations

import copy
import hashlib
import json
import random

import yaml

DESCRIPTION = b'{"Name": "x", "BIDSVersion": "1.8.0"}'
STUDY = {
    "dataset_description.json": DESCRIPTION,
    "participants.tsv": b"participant_id\tsex\tage\nsub-1\tF\t9\nsub-2\tM\tn/a\n",
    "sub-1/anat/sub-1_T1w.nii.gz": b"image",
    "sub-1/anat/sub-1_T1w.json": b"{}",
    "sub-1/ses-a/func/sub-1_ses-a_task-rest_run-1_bold.nii.gz": b"more",
    "sub-2/fmap/sub-2_epi.json": b'{"IntendedFor": ["anat/sub-2_T1w.nii.gz"]}',
    "sub-2/fmap/sub-2_epi.nii.gz": b"map",
    "sub-2/anat/sub-2_T1w.nii.gz": b"",
    "derivatives/afq/dataset_description.json": DESCRIPTION,
    "derivatives/afq/sub-1/sub-1_dwi_profiles.csv": b"1,2\n",
    "phenotype/age.tsv": b"participant_id\n",
}
MANIFESTS = [
    "manifest_version: 1\nstudy: {id: x, url: study}\n",
    "manifest_version: 1\nstudy:\n  id: x\n  url: study\nsubjects:\n  from: both\n"
    "  where: {sex: F, age: {min: 8, max: 12}}\n  sample: {count: 1, stratify_by: [sex]}\n"
    "random_seed: 3\nfiles:\n  - {suffixes: [T1w], extensions: [.nii.gz]}\n"
    "  - {suffixes: [bold], entities: {task: rest, run: 1, acq: {absent: true}}}\n"
    "derivatives: {afq: {include: ['**/*_profiles.csv'], dataset_files: none}}\n",
    "manifest_version: 1\nstudy: {id: x, url: study, layout: subject-first}\n"
    "subjects: {include: ['*'], exclude: ['2'], missing: skip, table: {file: cohort.csv}}\n"
    "sessions: {include: [a], sessionless: include}\nderivatives: all\ndirectories: [phenotype]\n"
    "companions: {fieldmaps: false, tables: auto}\nlimits: {max_bytes: 5GB, max_files: 100}\n",
    "manifest_version: 1\nstudy: {id: x, url: 's3://bucket/x', versions: pinned}\nsite: [A, B]\n",
    "manifest_version: 1\nstudy: {id: x, url: '.'}\nsite: study\nfiles: none\n"
    "derivatives: {afq: {scope: whole, url: study/derivatives/afq}}\n",
]
NUMBERS = [0, 1, -1, 2**31, 2**53 + 1, 2**63 - 1, 2**63, 2**64, 10**40, 1.5, 1e308, -0.0]
WORDS = ["", " ", ".", "..", "~", "${HOME}", "-", "*", "**", "[", "CON", "C:\\x", "a\\b", "\0"]
WORDS += [
    "\u202e",
    "\u200b",
    "\ufeff",
    "e\u0301",
    "\u00e9",
    "\x1b[31m",
    "::error::x",
    "%0A",
    "x\ny",
]
WORDS += ["x" * 300, "x" * 5000, "a/" * 600, "\U0001f9e0", "\ud800", "0x10", "1e3", "no", "null"]
PATHS = ["../outside/kept", "/etc/passwd", "a/../../outside/kept", "a//b", "./a", "a/.", "sub-1"]
PATHS += [".bidsplan/lock", ".bidsplan/receipts/x.jsonl", ".BIDSPLAN/x", "outside/../../x", "a/"]
PATHS += ["link/x", "link", "d/link/kept", "p.plan.jsonl", "study/README"]
URLS = [
    "s3://buc ket/x",
    "s3://../x",
    "s3://b\\x",
    "s3://\u00e9/x",
    "s3://b:9/x",
    "s3://",
    "s3:///x",
]
URLS += ["az://c/x", "az://$root/x", "gs://buc ket/x", "https://:443/", "https://h:99999/"]
URLS += ["https://[/", "https://[::1", "https://a b/", "https://xn--/", "https://%/", "https:/x"]
URLS += ["https://1.2.3.4.5/", "memory://", "memory://x", "file://", "file:///proc/self", "study"]
URLS += ["/dev/zero", "/proc", "s3://bucket/x", "s3://u:p@b/x", "zip::file://x", "ftp://h/x"]
URLS += ["s3://b/x?y#z", "S3://Bucket/" + "x/" * 900, "https://169.254.169.254/", "nope://x"]
PLAUSIBLE = {
    "path": [*PATHS, *WORDS, "sub-1/anat/a.nii.gz", "SUB-1/anat/x", "sub-9/x.json"],
    "key": [*PATHS, *WORDS, *STUDY],
    "size": [0, 1, 5, 2**31, 2**53 + 1, 2**62, 2**63 - 1],
    "etag": [word for word in WORDS if word] + ["0" * 32, "0" * 32 + "-3", 'W/"x"', "a" * 1024],
    "version": [word for word in WORDS if word] + ["null"],
    "md5": ["0" * 32, "d41d8cd98f00b204e9800998ecf8427e"],
    "sha256": ["0" * 64],
    "root": [0, 1, 2, 100_000],
    "reason": ["selected", "inherited", "fieldmap", "table", "dataset"],
}
OTHERS = [None, True, False, [], {}, [[]], [None], {"": ""}, [1, "1"], {"not": "n/a"}, {"min": 9}]


def number_of(entry):
    size = entry.get("size") if isinstance(entry, dict) else 0
    return size if isinstance(size, int) and not isinstance(size, bool) else 0


class Mutator:
    """Changes documents at random, the same way for the same seed."""

    def __init__(self, seed):
        self._random = random.Random(seed)
        self.chance = self._random.random
        self.choice = self._random.choice

    def bytes(self, data):
        data = bytearray(data)
        for _ in range(self.choice([1, 1, 2, 5])):
            start = self._random.randrange(len(data) + 1)
            piece = data[start : start + self.choice([1, 2, 8, 64])]
            kind = self._random.randrange(6)
            if kind == 0 and piece:
                data[start] ^= 1 << self._random.randrange(8)
            elif kind == 1:
                data[start:start] = self._random.randbytes(self.choice([1, 3, 40]))
            elif kind == 2:
                del data[start : start + len(piece)]
            elif kind == 3:
                data[start:start] = piece * self.choice([1, 2, 300])
            elif kind == 4 and self.chance() < 0.2:
                del data[start:]
            else:
                words = [b'"', b"{", b"[", b"}", b"\n", b"\r\n", b",", b":", b"\0", b"\xff", b"\\u"]
                data[start:start] = self.choice([*words, b"[" * 3000, b'{"a":' * 3000, b"9" * 400])
        return bytes(data)

    def value(self, old):
        kind = self._random.randrange(8)
        if kind == 0 and isinstance(old, str):
            place = self._random.randrange(len(old) + 1)
            return old[:place] + self.choice(WORDS) + old[place:]
        if kind == 1 and isinstance(old, int) and not isinstance(old, bool):
            return old + self.choice([-1, 1, 2**62])
        if kind == 2:
            nested: object = old
            for _ in range(self.choice([1, 5, 60, 400])):
                nested = [nested] if self.chance() < 0.5 else {"a": nested}
            return nested
        if kind == 3:
            return [old] * self.choice([0, 2, 500])
        pools = [NUMBERS, WORDS, PATHS, URLS, URLS, OTHERS]
        return copy.deepcopy(self.choice(self.choice(pools)))

    def tree(self, tree):
        """Change one place of nested data, wherever it is."""
        tree = copy.deepcopy(tree)
        above, key = None, None
        node = tree
        while isinstance(node, dict | list) and node and (above is None or self.chance() < 0.75):
            above = node
            key = self.choice(list(node)) if isinstance(node, dict) else self._index(node)
            node = node[key]
        if above is None:
            return self.value(tree)
        kind = self._random.randrange(6)
        if kind == 0:
            del above[key]
        elif kind == 1 and isinstance(above, dict):
            above[self.choice([*WORDS, "url", "size", "filters", "include"])] = self.value(node)
        elif kind == 2 and isinstance(above, list):
            above.insert(key, copy.deepcopy(node))
        else:
            above[key] = self.value(node)
        return tree

    def _index(self, node):
        return self._random.randrange(len(node))

    def plan(self, lines):
        """Change a plan, mostly with counts and a digest that hold, to meet the deeper checks."""
        if self.chance() < 0.2:
            return self.bytes(b"".join(lines))
        header, *entries = [json.loads(line) for line in lines]
        for _ in range(self.choice([1, 1, 1, 2, 4])):
            if self.chance() < 0.6:
                self._plausible(header, entries)
            elif self.chance() < 0.3:
                header = self.tree(header)
            else:
                entries = self.tree(entries)
        if not isinstance(entries, list):
            entries = [entries]
        if self.chance() < 0.5:
            entries.sort(
                key=lambda entry: str(entry.get("path") if isinstance(entry, dict) else "")
            )
        body = b"".join(map(encoded, entries))
        if isinstance(header, dict) and self.chance() < 0.85:
            header["files"], header["bytes"] = len(entries), sum(map(number_of, entries))
            header["entries_sha256"] = hashlib.sha256(body).hexdigest()
        return encoded(header) + body

    def _plausible(self, header, entries):
        """Change one value to another of its type, which only deeper checks can refuse."""
        entry = self.choice(entries or [{}]) if isinstance(entries, list) else {}
        if self.chance() < 0.2 and isinstance(header, dict):
            header["roots"] = [{"url": self.choice(URLS)} for _ in range(self.choice([1, 2, 3]))]
        elif isinstance(entry, dict):
            field = self.choice(list(PLAUSIBLE))
            entry[field] = self.choice(PLAUSIBLE[field])

    def manifest(self, text):
        if self.chance() < 0.2:
            return self.bytes(text.encode())
        tree = yaml.safe_load(text)
        for _ in range(self.choice([0, 1, 1, 3])):
            other = yaml.safe_load(self.choice(MANIFESTS))
            section = self.choice(list(other))
            tree[section] = other[section]
        for _ in range(self.choice([0, 1, 1, 2])):
            tree = self.tree(tree)
        try:
            return yaml.safe_dump(tree, sort_keys=False).encode(errors="surrogatepass")
        except (yaml.YAMLError, RecursionError):
            return json.dumps(tree).encode()


def encoded(data):
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"))
    return text.encode(errors="surrogatepass") + b"\n"
