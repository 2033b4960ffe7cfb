"""What is told of a broken manifest: all of it, where it stands, and never a secret."""

from __future__ import annotations

import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bidsplan.errors import ManifestError
from bidsplan.manifest.load import load_manifest

HEAD = "manifest_version: 1\nstudy: {id: x, url: s3://bucket/x}\n"
ENVIRONMENT = (
    "credentials and endpoints come from the environment or from flags, never from a manifest"
)
LOOKS = f"this looks like a credential; {ENVIRONMENT}"
FIELDS = (
    "companions, dataset_files, derivatives, directories, files, limits, manifest_version, "
    "random_seed, sessions, site, study, subjects"
)


@pytest.fixture
def told(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def told_of(text):
        (tmp_path / "m.yaml").write_text(text, encoding="utf-8")
        with pytest.raises(ManifestError) as caught:
            load_manifest("m.yaml")
        return str(caught.value).splitlines()

    return told_of


WRONG = {
    "a newer language's fields say nothing": (
        "manifest_version: 3\nwhatever: {new: 1}\n",
        [
            "m.yaml:1: manifest_version: the manifest has version 3, and this bidsplan reads 1; "
            "update bidsplan"
        ],
    ),
    "no version at all": (
        "study: {id: x, url: s3://b/x}\n",
        ["m.yaml:1: manifest_version: is required; write 'manifest_version: 1'"],
    ),
    "a version that is no number": (
        HEAD.replace(": 1", ": one", 1),
        ["m.yaml:1: manifest_version: expected a whole number; got 'one'"],
    ),
    "no seed, among other things": (
        HEAD + "subjects: {sample: {count: 2}}\nlimit: 1\n",
        [
            "m.yaml:3: subjects.sample: a sample needs a seed, so that others draw the same "
            "subjects; write 'random_seed: 42' at the top level",
            "m.yaml:4: limit: unknown field 'limit'; did you mean 'limits'?",
        ],
    ),
    "a draw by site without a list of sites": (
        HEAD + "site: A\nsubjects: {sample: {count: 2, per: site}}\nrandom_seed: x\n",
        [
            "m.yaml:4: subjects.sample: sampling by site needs a list of sites, such as 'site: "
            "[Site-CBIC, Site-RU]'",
            "m.yaml:5: random_seed: expected a whole number; got 'x'",
        ],
    ),
    "the models' own names": (
        HEAD
        + "derivatives:\n  afq: {filters: [{suffixes: [dwi]}]}\n"
        + "subjects:\n  require:\n    - filter: {suffixes: [T1w]}\n"
        + "  where: {any_of: F, sex: {any_of: F}}\nfiles: {entities: {run: {any_of: 1}}}\n",
        [
            "m.yaml:4: derivatives.afq.filters: unknown field 'filters'; write what it holds in "
            "its place",
            "m.yaml:7: subjects.require[0].filter: unknown field 'filter'; write what it holds in "
            "its place",
            "m.yaml:8: subjects.where.sex.any_of: unknown field 'any_of'; write what it holds in "
            "its place",
            "m.yaml:9: files.entities.run.any_of: unknown field 'any_of'; write what it holds in "
            "its place",
        ],
    ),
    "a url of each site without sites": (
        HEAD + "derivatives:\n  afq: {url: 's3://b/{site}/afq'}\n",
        ["m.yaml:4: derivatives.afq.url: the url names a {site}, and the manifest has none"],
    ),
    "a draw of two sizes": (
        HEAD + "subjects: {sample: {count: 2, fraction: 0.5}}\nrandom_seed: 1\n",
        ["m.yaml:3: subjects.sample: expected either {count: 5} or {fraction: 0.5}"],
    ),
    "a list where true or false belongs": (
        HEAD + "companions: {inherit: [a], tables: [b]}\n",
        [
            "m.yaml:3: companions.inherit: expected true or false; got a list",
            "m.yaml:3: companions.tables: not an allowed value; expected 'auto', 'true' or 'false'",
        ],
    ),
    "words of other YAML": (
        HEAD.replace("}", ", anonymous: yes}") + "random_seed: 1_000\nlimits: {max_files: 1e3}\n",
        [
            "m.yaml:2: study.anonymous: expected true or false; got 'yes'",
            "m.yaml:3: random_seed: expected a whole number; got '1_000'",
            "m.yaml:4: limits.max_files: expected a whole number; got '1e3'",
        ],
    ),
    "numbers that are none": (
        HEAD + "subjects: {where: {age: {min: nan, max: 1e999999999}, x: {min: 2, max: 1}}}\n",
        [
            "m.yaml:3: subjects.where.age.min: expected a number; got 'nan'",
            "m.yaml:3: subjects.where.age.max: expected a number; got '1e999999999'",
            "m.yaml:3: subjects.where.x: min 2 is above max 1",
        ],
    ),
    "no value": (
        HEAD + "site:\nsessions: null\nfiles: ~\nsubjects: {where: {sex: }}\n",
        [
            "m.yaml:3: site: expected text; got nothing",
            "m.yaml:4: sessions: expected text; got nothing",
            "m.yaml:5: files: expected a filter such as {suffixes: [T1w]}, a list of filters, all "
            "or none; got nothing",
            "m.yaml:6: subjects.where.sex: expected text; got nothing",
        ],
    ),
    "words for filters": (
        HEAD + "files:\n- T1w\n- {}\n- none\n- true\n- dwi\n",
        [
            "m.yaml:6: files[2]: 'none' is neither a BIDS datatype nor a BIDS suffix; write "
            "{datatypes: [none]} or {suffixes: [none]}",
            "m.yaml:7: files[3]: expected a filter; write all or none",
            "m.yaml:8: files[4]: 'dwi' is a datatype and a suffix; write {datatypes: [dwi]} or "
            "{suffixes: [dwi]}",
        ],
    ),
    "names that are globs": (
        HEAD + "site: Site-*\nderivatives: {qsi?: {}}\nsessions: ['*']\n",
        [
            "m.yaml:3: site: expected an exact name; only files and subjects are chosen by globs",
            "m.yaml:4: derivatives.qsi?: expected an exact name; only files and subjects are "
            "chosen by globs",
            "m.yaml:5: sessions: expected exact session labels, such as 01 or ses-01",
        ],
    ),
    "numbers out of bounds": (
        HEAD + f"subjects: {{where: {{age: {{min: 80, max: 3}}}}}}\nrandom_seed: {'9' * 40}\n",
        [
            "m.yaml:3: subjects.where.age: min 80 is above max 3",
            "m.yaml:4: random_seed: expected a whole number from 0 to 2**63 - 1",
        ],
    ),
    "labels that are paths": (
        HEAD + "subjects: {include: [sub-01/anat, sub-]}\nsessions: [ses-]\n",
        [
            "m.yaml:3: subjects.include[0]: expected a subject's label, such as 01 or sub-01",
            "m.yaml:3: subjects.include[1]: expected a subject's label, such as 01 or sub-01",
            "m.yaml:4: sessions: expected exact session labels, such as 01 or ses-01",
        ],
    ),
    "a table that lies elsewhere": (
        HEAD + "subjects: {table: {file: /etc/passwd}}\n",
        [
            "m.yaml:3: subjects.table.file: expected a file beside the manifest, or below; it is "
            "absolute"
        ],
    ),
    "spellings of the models": (
        HEAD + "subjects: {from_: tree}\n",
        ["m.yaml:3: subjects.from_: unknown field 'from_'; did you mean 'from'?"],
    ),
    "what drives a terminal": (
        HEAD + '"\\e[2J\\u202e\\nerror": 1\nstudy2: {}\n',
        [
            "m.yaml:3: \\x1b[2J\\u202e\\nerror: unknown field '\\\\x1b[2J\\\\u202e\\\\nerror'; "
            f"expected one of {FIELDS}",
            "m.yaml:4: study2: unknown field 'study2'; did you mean 'study'?",
        ],
    ),
    "an id that drives a terminal": (
        'manifest_version: 1\nstudy: {id: "\\e[2J", url: s3://b/x}\n',
        ["m.yaml:2: study.id: expected at most 255 characters that print"],
    ),
    "an id that no plan can hold": (
        f"manifest_version: 1\nstudy: {{id: {'x' * 256}, url: s3://b/x}}\n",
        ["m.yaml:2: study.id: expected at most 255 characters that print"],
    ),
    "a URL that no plan can hold": (
        f"manifest_version: 1\nstudy: {{id: x, url: s3://b/{'x' * 2048}}}\n",
        ["m.yaml:2: study.url: the URL is refused: it is longer than 2,048 characters"],
    ),
    "form and meaning at once": (
        HEAD + "limits: &a {max_files: 0}\nsite: A\nsite: ../B\nderivatives: {a: {sufixes: x}}\n",
        [
            "m.yaml:3: limits: an anchor is not allowed here; write the value out",
            "m.yaml:3: limits.max_files: expected at least 1; got 0",
            "m.yaml:5: site: the key is there twice, first on line 4",
            "m.yaml:4: site: expected a name below the dataset's root; it has a '..' segment",
            "m.yaml:6: derivatives.a.sufixes: unknown field 'sufixes'; did you mean 'suffixes'?",
        ],
    ),
    "credentials by their name": (
        HEAD + "storage_options: {key: x}\nsubjects: {endpoint_url: x}\n",
        [
            f"m.yaml:3: storage_options: 'storage_options' is not allowed; {ENVIRONMENT}",
            f"m.yaml:4: subjects.endpoint_url: 'endpoint_url' is not allowed; {ENVIRONMENT}",
        ],
    ),
    "credentials by their look": (
        HEAD + "site: AKIAIOSFODNN7EXAMPLE\nsubjects: {include: 'https://u:pw@host'}\n",
        [
            f"m.yaml:3: site: {LOOKS}",
            "m.yaml:4: subjects.include: expected a subject's label, such as 01 or sub-01",
        ],
    ),
    "a credential for a name": (
        HEAD + "derivatives: {AKIAIOSFODNN7EXAMPLE: {}}\n",
        [f"m.yaml:3: derivatives.(a credential): {LOOKS}"],
    ),
}


@pytest.mark.parametrize(("text", "expected"), WRONG.values(), ids=WRONG)
def test_each_problem_is_told_where_it_stands(told, text, expected):
    assert sorted(told(text)) == sorted(expected)


def test_problems_are_told_in_the_order_of_lines(told):
    lines = told(HEAD + "zz: 1\nfiles: 3\naa: 2\nsite: /x\n")
    assert [line.split(":")[1] for line in lines] == ["3", "4", "5", "6"]


def test_what_only_resembles_a_credential_is_fine(tmp_path):
    path = tmp_path / "m.yaml"
    path.write_text(
        HEAD + "subjects: {include: [asiapacificcohort22, AKIARA01], where: {sig: 'a=b'}}\n"
        "files: {include: ['**/*_desc-sig=1_*']}\n",
        encoding="utf-8",
    )
    assert load_manifest(path).manifest.subjects.include == ("asiapacificcohort22", "AKIARA01")


SECRETS = [
    "AKIAIOSFODNN7EXAMPLE",
    "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
    "https://host/x?X-Amz-Signature=f00dfeedf00d",
    "s3://somebody:hunter2@bucket/x",
    "https://x.blob.core.windows.net/c?sv=1&sig=hunter2",
]
PLACES = [
    "manifest_version: {}\n",
    "study: {{id: {}}}\n",
    "study: {{url: {}}}\n",
    "study: {{url: s3://b, layout: {}, versions: {}, anonymous: {}}}\n",
    "study: {{key: {}, aws_secret: {}, token: {}}}\n",
    "random_seed: {}\n",
    "site: [{}, {}]\n",
    "sessions: {{include: {}, sessionless: {}}}\n",
    "subjects: {{from: {}, table: {}, missing: {}, sample: {}}}\n",
    "subjects: {{sample: {{count: {}, fraction: {}, method: {}, per: {}}}}}\n",
    "subjects: {{where: {{age: {{min: {}, max: {}}}}}}}\n",
    "files: {{extensions: {}, include: [{}], entities: {}}}\n",
    "files: {}\n",
    "derivatives: {}\n",
    "derivatives: {{a: {}, b: {{scope: {}, dataset_files: {}, layout: {}}}}}\n",
    "companions: {{inherit: {}, tables: {}}}\n",
    "companions: {}\n",
    "dataset_files: {}\n",
    "limits: {{max_bytes: {}, max_files: {}}}\n",
    "{}: {}\n",
    "limits: {{{}: {}}}\n",
]


@pytest.mark.parametrize("secret", SECRETS)
@pytest.mark.parametrize("place", PLACES)
def test_a_refusal_never_echoes_a_secret(told, secret, place):
    written = f"'{secret}'"
    shown = "\n".join(told(place.format(*[written] * place.count("{}"))))
    # A long unknown name is told by its beginning; a value never is.
    if not place.startswith(("{}", "limits: {{{}")):
        assert secret not in shown
    for part in ("AKIAIOSFODNN7EXAMPLE", "hunter2", "f00dfeed"):
        assert part not in shown


@pytest.mark.timeout(20)
@pytest.mark.parametrize(
    "text",
    [
        "site: '//" + ":" * 900_000 + "'\n",
        "site: '" + "//a:" * 200_000 + "'\n",
        "site: '-----BEGIN " + "A " * 400_000 + "'\n",
        "limits: {max_bytes: '" + "1" * 900_000 + "!'}\n",
        "random_seed: " + "9" * 900_000 + "\n",
        "".join(f"filez{n}: 1\n" for n in range(30_000)),
        "files: [" + "a," * 90_000 + "]\n",
        "derivatives:\n" + "".join(f"  p{n}: {{sufixes: x}}\n" for n in range(20_000)),
        "site: &a " + "[" + ",".join(["/a"] * 90_000) + "]\n",
    ],
    ids=["colons", "slashes", "key", "size", "seed", "fields", "filters", "pipelines", "sites"],
)
def test_a_bomb_is_refused_soon_and_briefly(told, text):
    lines = told(HEAD + text)
    assert 1 <= len(lines) <= 101
    assert sum(map(len, lines)) < 50_000
    if len(lines) == 101:
        assert lines[-1] == "m.yaml: there are more than 100 problems"


@pytest.mark.timeout(8)
@pytest.mark.parametrize("field", ["files", "derivatives: {a"])
def test_unknown_words_without_number_are_told_soon_and_briefly(tmp_path, field):
    path = tmp_path / "m.yaml"
    words = ",".join(f"t{number}W" for number in range(90_000))
    path.write_text(HEAD + f"{field}: {{suffixes: [{words}]}}" + "}" * field.count("{"))
    assert len(load_manifest(path).warnings) in {2, 3, 101}


shapes = st.recursive(
    st.sampled_from(["", "x", "1", "none", "all", "true", "sub-", "../x", "*", "AKIA", "[]"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [
                    *(
                        "id",
                        "url",
                        "include",
                        "exclude",
                        "where",
                        "require",
                        "sample",
                        "count",
                        "table",
                    ),
                    *(
                        "suffixes",
                        "extensions",
                        "entities",
                        "absent",
                        "filters",
                        "filter",
                        "any_of",
                    ),
                    *("derivative", "scope", "dataset_files", "min", "not", "file", "x", "tables"),
                ]
            ),
            inner,
            max_size=3,
        )
    ),
    max_leaves=8,
)


@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    st.dictionaries(
        st.sampled_from(
            [
                *("study", "site", "subjects", "random_seed", "sessions", "files", "derivatives"),
                *("directories", "dataset_files", "companions", "limits", "unheard_of"),
            ]
        ),
        shapes,
    )
)
def test_any_shape_loads_or_is_refused_with_lines(tmp_path, document):

    path = tmp_path / "m.yaml"
    lines = {"manifest_version": "1", "study": {"id": "x", "url": "s3://b/x"}, **document}
    path.write_text("".join(f"{name}: {json.dumps(value)}\n" for name, value in lines.items()))
    try:
        manifest = load_manifest(path).manifest
    except ManifestError as error:
        for problem in error.problems:
            assert problem.line in range(1, len(lines) + 1)
            assert problem.at
    else:
        assert manifest.canonical() == manifest.canonical()
