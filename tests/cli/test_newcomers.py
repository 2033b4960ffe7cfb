"""What newcomers get wrong: one message each, with its place, and what to write instead."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from codes import without_codes

ROOT = Path(__file__).resolve().parents[2]
HEAD = "manifest_version: 1\nstudy: {id: x, url: demo}\n"
LONGEST = 200
"""Characters of two lines in a terminal of 100 columns."""


@pytest.fixture
def study(ask_here, tmp_path):
    """Copy the demo study to the working directory; gives what runs a command."""
    shutil.copytree(ROOT / "manifests" / "demo", tmp_path / "demo")
    shutil.copy(ROOT / "manifests" / "demo.yaml", tmp_path)
    return ask_here


def check(told, code, message):
    """Compare a whole message, no line of which fills more than two lines."""
    assert (told[0], without_codes(told[2])) == (code, f"error: {message}\n")
    assert max(map(len, told[2].splitlines())) <= LONGEST


# The manifest, the exit code of compiling it, and what is said.
MANIFESTS = {
    "no version": (
        "study: {id: x, url: demo}\n",
        2,
        "m.yaml:1: manifest_version: is required; write 'manifest_version: 1'",
    ),
    "no study": (
        "manifest_version: 1\n",
        2,
        "m.yaml:1: study: is required; write 'study: {id: ds000114, url: "
        "s3://openneuro.org/ds000114}'",
    ),
    "no url": (
        "manifest_version: 1\nstudy: {id: x}\n",
        2,
        "m.yaml:2: study.url: is required; write 'url: s3://openneuro.org/ds000114'",
    ),
    "a URL for the study": (
        "manifest_version: 1\nstudy: s3://openneuro.org/ds000114\n",
        2,
        "m.yaml:2: study: expected a mapping such as {id: ds000114, url: "
        "s3://openneuro.org/ds000114}; got text",
    ),
    "nothing": (
        "",
        2,
        "m.yaml: expected a mapping of fields; 'bidsplan init URL' writes one; the least is "
        "'manifest_version: 1' and 'study: {id: ds000114, url: s3://openneuro.org/ds000114}'",
    ),
    "no space after a colon": (
        "manifest_version: 1\nstudy: {id: x, url: demo, layout:subject-first}\n",
        2,
        "m.yaml:2: study.layout:subject-first: unknown field 'layout:subject-first'; write a "
        "space after the colon: 'layout: …'",
    ),
    "a tab": (
        HEAD + "files:\n\tsuffixes: [T1w]\n",
        2,
        "m.yaml:4: not valid YAML: a tab indents this line; indent with spaces only",
    ),
    "a page of OpenNeuro": (
        "manifest_version: 1\nstudy: {id: x, url: https://openneuro.org/datasets/ds000114/versions/1.0.2}\n",
        2,
        "m.yaml:2: study.url: the URL is refused: files cannot be listed at this web "
        "address; write s3://openneuro.org/ds000114",
    ),
    "a page of GitHub": (
        "manifest_version: 1\nstudy: {id: x, url: https://github.com/OpenNeuroDatasets/ds000114}\n",
        2,
        "m.yaml:2: study.url: the URL is refused: files cannot be listed at this web "
        "address; write s3://openneuro.org/ds000114",
    ),
    "a derivative's page of GitHub": (
        "manifest_version: 1\nstudy: {id: x, url: https://github.com/OpenNeuroDerivatives/ds000114-fmriprep.git}\n",
        2,
        "m.yaml:2: study.url: the URL is refused: files cannot be listed at this web "
        "address; write s3://openneuro-derivatives/fmriprep/ds000114-fmriprep",
    ),
    "S3 over https": (
        "manifest_version: 1\nstudy: {id: x, url: https://s3.amazonaws.com/openneuro.org/ds000114}\n",
        2,
        "m.yaml:2: study.url: the URL is refused: files cannot be listed at this web "
        "address; write s3://openneuro.org/ds000114",
    ),
    "an accession for a URL": (
        "manifest_version: 1\nstudy: {id: x, url: ds000114}\n",
        1,
        "m.yaml:2: study.url: there is nothing at ds000114; write s3://openneuro.org/ds000114",
    ),
    "a bucket without its colon": (
        "manifest_version: 1\nstudy: {id: x, url: s3//lab/ageing}\n",
        2,
        "m.yaml:2: study.url: s3//lab/ageing looks like a bucket; write s3://lab/ageing",
    ),
    "a bucket without its slashes": (
        "manifest_version: 1\nstudy:\n  id: x\n  url: s3:lab\n",
        2,
        "m.yaml:4: study.url: s3:lab looks like a bucket; write s3://lab",
    ),
    "a bucket with one slash": (
        "manifest_version: 1\nstudy: {id: x, url: s3:/lab/x}\n",
        2,
        "m.yaml:2: study.url: s3:/lab/x looks like a bucket; write s3://lab/x",
    ),
    "a derivative's bucket without its slashes": (
        HEAD + "derivatives: {afq: {url: 'gs:lab/x'}}\n",
        2,
        "m.yaml:3: derivatives.afq.url: gs:lab/x looks like a bucket; write gs://lab/x",
    ),
    "a directory that is not there": (
        "manifest_version: 1\nstudy: {id: x, url: Demo}\n",
        1,
        "m.yaml:2: study.url: there is nothing at Demo; check its spelling, upper and lower "
        "case included",
    ),
    "a number of subjects": (
        HEAD + "subjects: 5\n",
        2,
        "m.yaml:3: subjects: 5 may be a number or a label; write 'subjects: {sample: 5}' for "
        "5 subjects, or 'subjects: [\"5\"]' for sub-5",
    ),
    "subjects in a row": (
        HEAD + "subjects: sub-01, sub-02\n",
        2,
        'm.yaml:3: subjects: expected a list; write \'subjects: ["sub-01", "sub-02"]\'',
    ),
    "no subjects": (
        HEAD + "subjects: none\n",
        2,
        'm.yaml:3: subjects: expected all, labels such as ["01", "02"], or a mapping such as '
        "{sample: 5}; got 'none'",
    ),
    "a sample without a seed": (
        HEAD + "subjects: {sample: 2}\n",
        2,
        "m.yaml:3: subjects.sample: a sample needs a seed, so that others draw the same "
        "subjects; write 'random_seed: 42' at the top level",
    ),
    "a sample in percent": (
        HEAD + "random_seed: 1\nsubjects: {sample: 50%}\n",
        2,
        "m.yaml:4: subjects.sample: expected how many subjects to sample, such as 5 or "
        "{count: 5}, or {fraction: 0.5}; got '50%'",
    ),
    "a sample of too many": (
        HEAD + "random_seed: 1\nsubjects: {sample: 50}\n",
        1,
        "m.yaml:4: subjects.sample: 50 subjects are to be sampled of 4; sample "
        "fewer, or select more by include, exclude and where",
    ),
    "a label without its zero": (
        HEAD + "subjects: {include: [010]}\n",
        1,
        "m.yaml:3: subjects.include[0]: there is no subject '010'; did you mean '10'?",
    ),
    "a label that does not exist": (
        HEAD + "subjects: [12]\n",
        1,
        "m.yaml:3: subjects[0]: there is no subject '12'; did you mean '2'?",
    ),
    "a file of labels": (
        HEAD + "subjects: {include: cohort.txt}\n",
        1,
        "m.yaml:3: subjects.include: there is no subject 'cohort.txt'; if it is a file of labels "
        "write 'include: {file: cohort.txt}'",
    ),
    "a range of labels": (
        HEAD + "subjects: [01-08]\n",
        1,
        "m.yaml:3: subjects[0]: there is no subject '01-08'; ranges are not expanded; write each "
        'label, or a glob such as "0*"',
    ),
    "several labels in a text": (
        HEAD + "subjects: {include: ['1, sub-2']}\n",
        1,
        "m.yaml:3: subjects.include[0]: there is no subject '1, sub-2'; write each label as its "
        'own item: ["1", "2"]',
    ),
    "an excluded label without its prefix": (
        HEAD + "subjects: {exclude: [SUB-02]}\n",
        1,
        "m.yaml:3: subjects.exclude[0]: there is no subject 'SUB-02' to exclude; did you mean '2'?",
    ),
    "a datatype that is a suffix": (
        HEAD + "files: dwi\n",
        2,
        "m.yaml:3: files: 'dwi' is a datatype and a suffix; write {datatypes: [dwi]} or "
        "{suffixes: [dwi]}",
    ),
    "a word that BIDS lacks": (
        HEAD + "files: T1\n",
        2,
        "m.yaml:3: files: 'T1' is neither a BIDS datatype nor a BIDS suffix; did you mean 'T1w'? "
        "Otherwise write {datatypes: [T1]} or {suffixes: [T1]}",
    ),
    "a misspelled word of BIDS": (
        HEAD + "files: [T1w, bould]\n",
        2,
        "m.yaml:3: files[1]: 'bould' is neither a BIDS datatype nor a BIDS suffix; did you mean "
        "'bold'? Otherwise write {datatypes: [bould]} or {suffixes: [bould]}",
    ),
    "a range as text": (
        HEAD + "subjects: {where: {age: '> 30'}}\n",
        1,
        "m.yaml:3: subjects.where.age: no participant has the 'age' that is asked for; for a range "
        "write {min: 30, not: 30}",
    ),
    "conditions as text": (
        HEAD + "subjects: {where: age > 10 and sex == F}\n",
        2,
        "m.yaml:3: subjects.where: expected a mapping of columns; write 'where: {age: {min: 10, "
        "not: 10}, sex: F}'",
    ),
    "a condition in braces": (
        HEAD + "subjects: {where: {group != control}}\n",
        2,
        "m.yaml:3: subjects.where: expected a mapping of columns; write 'where: {group: {not: "
        "control}}'",
    ),
    "a number for conditions": (
        HEAD + "subjects: {where: 10}\n",
        2,
        "m.yaml:3: subjects.where: expected a mapping such as {age: {min: 10}}; got '10'",
    ),
    "a negative count": (
        HEAD + "random_seed: 1\nsubjects: {sample: {count: -1}}\n",
        2,
        "m.yaml:4: subjects.sample.count: expected at least 1; got -1",
    ),
    "a subject's directory": (
        "manifest_version: 1\nstudy: {id: x, url: demo/sub-1}\n",
        1,
        "m.yaml:2: study.url: demo/sub-1 has no subject directories (sub-…); this is a subject's "
        "directory; write demo, and choose subjects by 'subjects'",
    ),
    "a glob for a filter": (
        HEAD + "files: '*_T1w.json'\n",
        2,
        "m.yaml:3: files: expected a filter; write {include: ['*_T1w.json']}",
    ),
    "an extension for a filter": (
        HEAD + "files: .nii.gz\n",
        2,
        "m.yaml:3: files: expected a filter; write {extensions: [.nii.gz]}",
    ),
    "an extension without its dot": (
        HEAD + "files: {extensions: nii.gz}\n",
        2,
        "m.yaml:3: files.extensions: expected an extension with its dot; did you mean '.nii.gz'?",
    ),
    "an entity by its long name": (
        HEAD + "files: {entities: {session: baseline}}\n",
        1,
        "m.yaml:3: files.entities.session: the session value 'baseline' matches no file of the "
        "selected subjects; write 'ses', as in file names, or 'sessions: …' at the top level",
    ),
    "a suffix that only a derivative has": (
        HEAD + "derivatives: {afq: dwiref}\n",
        2,
        "m.yaml:3: derivatives.afq: BIDS has no word 'dwiref'; if it is a suffix of this "
        "pipeline's files, write {suffixes: [dwiref]}; or did you mean 'dwi'?",
    ),
    "a merge conflict": (
        HEAD + "<<<<<<< HEAD\nfiles: all\n=======\nfiles: none\n>>>>>>> other\n",
        2,
        "m.yaml:3: git could not merge two versions of the manifest; keep one version, and remove "
        "git's markers",
    ),
    "an entity in a filter": (
        HEAD + "files: {task: rest}\n",
        2,
        "m.yaml:3: files.task: unknown field 'task'; write 'entities: {task: …}'",
    ),
    "a filter at the top": (
        HEAD + "suffixes: [T1w]\n",
        2,
        "m.yaml:3: suffixes: unknown field 'suffixes'; write 'files: {suffixes: …}' at the "
        "top level",
    ),
    "a sample at the top": (
        HEAD + "sample: 5\n",
        2,
        "m.yaml:3: sample: unknown field 'sample'; write 'subjects: {sample: …}' at the top level",
    ),
    "a seed by another name": (
        HEAD + "seed: 42\n",
        2,
        "m.yaml:3: seed: unknown field 'seed'; did you mean 'random_seed'?",
    ),
    "subjects by another name": (
        HEAD + "participants: all\n",
        2,
        "m.yaml:3: participants: unknown field 'participants'; did you mean 'subjects'?",
    ),
    "a field in the singular": (
        HEAD + "subject: all\n",
        2,
        "m.yaml:3: subject: unknown field 'subject'; did you mean 'subjects'?",
    ),
    "a field with a capital": (
        HEAD + "Subjects: all\n",
        2,
        "m.yaml:3: Subjects: unknown field 'Subjects'; did you mean 'subjects'?",
    ),
    "a misspelt field": (
        HEAD + "files: {sufixes: [T1w]}\n",
        2,
        "m.yaml:3: files.sufixes: unknown field 'sufixes'; did you mean 'suffixes'?",
    ),
    "derivatives: true": (
        HEAD + "derivatives: true\n",
        2,
        "m.yaml:3: derivatives: expected names, all or none; write 'derivatives: all'",
    ),
    "a list of derivatives' filters": (
        HEAD + "derivatives: [{afq: bold}]\n",
        2,
        "m.yaml:3: derivatives: expected names of pipelines; write filters as 'derivatives: "
        "{fmriprep: {suffixes: [bold]}}'",
    ),
    "a derivative that does not exist": (
        HEAD + "derivatives: afq3\n",
        1,
        "m.yaml:3: derivatives: there is no derivative pipeline 'afq3'; did you mean 'afq'?",
    ),
    "a derivative with a similar name": (
        HEAD + "derivatives: afni\n",
        1,
        "m.yaml:3: derivatives: there is no derivative pipeline 'afni'; there are 'afq', 'afq2'",
    ),
    "a limit without a field": (
        HEAD + "limits: 500GB\n",
        2,
        "m.yaml:3: limits: expected a mapping such as {max_bytes: 500GB}; got '500GB'",
    ),
    "a glob without quotes": (
        HEAD + "files: {include: [*_T1w.json]}\n",
        2,
        "m.yaml:3: not valid YAML: did not find expected alphabetic or numeric character; "
        'put a glob that begins with * in quotes: "*"',
    ),
    "a bracket that is not closed": (
        HEAD + "files: {suffixes: [T1w}\n",
        2,
        "m.yaml:3: not valid YAML: did not find expected ',' or ']'; close each bracket and quote, "
        "and put text that contains {, }, [, ] or ',' in quotes",
    ),
    "no space before a brace": (
        HEAD + "files:{datatypes: [dwi]}\n",
        2,
        "m.yaml:3: not valid YAML: a space is missing after ':'; write 'files: …'",
    ),
    "no space before a bracket": (
        HEAD + "files:[dwi]\n",
        2,
        "m.yaml:3: not valid YAML: a space is missing after ':'; write 'files: …'",
    ),
    "no space in braces": (
        HEAD + "files: {datatypes:[dwi]}\n",
        2,
        "m.yaml:3: not valid YAML: a space is missing after ':'; write 'datatypes: …'",
    ),
    "no space in an inner field": (
        HEAD + "files:\n  datatypes:[dwi]\n",
        2,
        "m.yaml:3: files: expected a filter; write a space after the colon: 'datatypes: …'",
    ),
    "a quote that is not closed": (
        HEAD + 'subjects: ["01]\nfiles: all\n',
        2,
        "m.yaml:3: not valid YAML: a quote is not closed; close each quote that this line opens",
    ),
    "a quote that a later one closes": (
        HEAD + 'subjects: ["01]\nfiles: {suffixes: ["bold"]}\n',
        2,
        "m.yaml:3: not valid YAML: a quote is not closed; close each quote that this line opens",
    ),
    "an error below a text of two lines": (
        HEAD + "files: ['*_T1w\n  .json'] # don't \"do\nsubjects: [it's\n",
        2,
        "m.yaml:6: not valid YAML: did not find expected ',' or ']'; close each bracket and quote, "
        "and put text that contains {, }, [, ] or ',' in quotes",
    ),
}


@pytest.mark.parametrize(("text", "code", "message"), MANIFESTS.values(), ids=MANIFESTS)
def test_a_mistake_in_a_manifest_is_answered_by_what_to_write(study, text, code, message):
    Path("m.yaml").write_text(text, encoding="utf-8")
    check(study("compile", "m.yaml"), code, message)


# The command, its exit code, and what is said.
COMMANDS = {
    "a URL to compile": (
        "compile s3://openneuro.org/ds000114",
        2,
        "s3://openneuro.org/ds000114 is a URL, and a manifest is expected; write one with "
        "'bidsplan init s3://openneuro.org/ds000114 -o ds000114.yaml'",
    ),
    "an accession to compile": (
        "compile ds000114",
        2,
        "ds000114 is an accession, and a manifest is expected; write one with 'bidsplan init "
        "s3://openneuro.org/ds000114 -o ds000114.yaml'",
    ),
    "a page to compile": (
        "compile https://openneuro.org/datasets/ds000114",
        2,
        "https://openneuro.org/datasets/ds000114 is a URL, and a manifest is expected; write "
        "one with 'bidsplan init s3://openneuro.org/ds000114 -o ds000114.yaml'",
    ),
    "a directory to explain": (
        "explain demo",
        2,
        "demo is a directory, and a manifest is expected; write one with 'bidsplan init demo "
        "-o demo.yaml'",
    ),
    "a URL to validate": (
        "validate s3://openneuro.org/ds000114",
        2,
        "s3://openneuro.org/ds000114 is a URL, and a manifest is expected; write one with "
        "'bidsplan init s3://openneuro.org/ds000114 -o ds000114.yaml'",
    ),
    "a URL to fetch": (
        "fetch s3://openneuro.org/ds000114 data",
        2,
        "s3://openneuro.org/ds000114 is a URL, and a manifest is expected; write one with "
        "'bidsplan init s3://openneuro.org/ds000114 -o ds000114.yaml'",
    ),
    "an accession to fetch": (
        "fetch ds000114 data",
        2,
        "ds000114 is an accession, and a manifest is expected; write one with 'bidsplan init "
        "s3://openneuro.org/ds000114 -o ds000114.yaml'",
    ),
    "swapped arguments": (
        "fetch data demo.yaml",
        2,
        "DEST comes last, behind the manifest or plan; write 'demo.yaml data'",
    ),
    "a swapped plan": (
        "verify data demo.plan.jsonl",
        2,
        "DEST comes last, behind the manifest or plan; write 'demo.plan.jsonl data'",
    ),
    "a manifest to init": (
        "init demo.yaml",
        2,
        "demo.yaml is a manifest, by its name, and the URL of a study is expected, such as "
        "s3://openneuro.org/ds000114",
    ),
    "a bucket without its colon to init": (
        "init s3//lab/ageing",
        2,
        "s3//lab/ageing looks like a bucket; write s3://lab/ageing",
    ),
    "an accession to init": (
        "init ds000114",
        1,
        "there is nothing at ds000114; write s3://openneuro.org/ds000114",
    ),
    "a page to init": (
        "init https://openneuro.org/datasets/ds000114",
        2,
        "the URL is refused: files cannot be listed at this web address; write "
        "s3://openneuro.org/ds000114",
    ),
    "a plan to inspect": (
        "inspect demo.plan.jsonl",
        2,
        "demo.plan.jsonl is a plan, by its name, and the URL of a study is expected, such as "
        "s3://openneuro.org/ds000114",
    ),
    "a plan to compile": (
        "compile demo.plan.jsonl",
        2,
        "demo.plan.jsonl: this is a plan, by its name; expected a manifest, such as "
        "study.yaml; 'bidsplan fetch', 'verify', 'pin' and 'prune' also take plans",
    ),
    "a misspelled plan": (
        "show demmo.plan.jsonl",
        2,
        "demmo.plan.jsonl: can't be read: No such file or directory; did you mean "
        "'demo.plan.jsonl'?",
    ),
    "a file that is neither": (
        "fetch demo.txt data",
        2,
        "demo.txt: expected a manifest (.yaml, .yml) or a plan (.jsonl, .jsonl.gz, "
        ".jsonl.zst), by its name",
    ),
    "no plan to verify": (
        "verify demo.yaml data",
        2,
        "demo.plan.jsonl: there is no plan; write it with 'bidsplan compile demo.yaml'",
    ),
    "a locked plan": (
        "fetch --locked demo.plan.jsonl data",
        2,
        "demo.plan.jsonl is a plan, and --locked compares a manifest with its plan; name the "
        "manifest, or leave --locked out",
    ),
    "a file as the destination": (
        "fetch demo.yaml demo/README.md",
        1,
        "demo/README.md: is a file, or lies below one; expected a directory",
    ),
    "a manifest that is not there": (
        "compile none.yaml",
        2,
        "none.yaml: can't be read: No such file or directory",
    ),
    "a misspelled manifest": (
        "compile demmo.yaml",
        2,
        "demmo.yaml: can't be read: No such file or directory; did you mean 'demo.yaml'?",
    ),
    "a manifest with another ending": (
        "report demo.yml",
        2,
        "demo.plan.jsonl: there is no plan; did you mean 'demo.yaml'?",
    ),
    "a directory of manifests": (
        "validate .",
        2,
        ". is a directory, and a manifest is expected; name one of its manifests: demo.yaml",
    ),
    "several labels behind an option": (
        "fetch --subject 1 2 demo.yaml data",
        2,
        "DEST comes last, behind the manifest or plan; write 'demo.yaml 2', or for several values "
        "'--subject 1 --subject 2'",
    ),
    "a label without its zero to explain": (
        "explain demo.yaml 01",
        1,
        "the study has neither a subject nor a file '01'; did you mean '1'?",
    ),
    "a bare file name to explain": (
        "explain demo.yaml sub-1_ses-baseline_T1w.nii.gz",
        1,
        "the study has neither a subject nor a file 'sub-1_ses-baseline_T1w.nii.gz'; did you mean "
        "'sub-1/ses-baseline/anat/sub-1_ses-baseline_T1w.nii.gz'?",
    ),
    "a manifest that exists to init": (
        "init demo -o demo.yaml",
        2,
        "demo.yaml: exists, and init does not replace files; name another file with -o",
    ),
    "a subject's directory to init": (
        "init demo/sub-1",
        1,
        "demo/sub-1: there are no subject directories (sub-…) here or one level down; this is a "
        "subject's directory; write demo",
    ),
}


@pytest.mark.parametrize(("command", "code", "message"), COMMANDS.values(), ids=COMMANDS)
def test_a_mistake_in_a_command_is_answered_by_what_to_write(study, command, code, message):
    if "README" in command or "demmo.plan" in command:
        study("compile", "demo.yaml")
    check(study(*command.split()), code, message)


@pytest.mark.parametrize(
    ("command", "hint"),
    [
        (
            "fetch demo.yaml data --subject 1 2",
            "(2); to give several values, repeat the option: '--subject 1 --subject 2'",
        ),
        ("init demo new.yaml", "(new.yaml); to write to a file, write '-o new.yaml'"),
        ("fetch demo.yaml data more", "(more)"),
    ],
)
def test_an_argument_too_many_is_answered_by_what_to_write(study, command, hint):
    code, out, err = study(*command.split())
    told = f"Error: Got unexpected extra argument {hint} [BP101]\nfor help: bidsplan help BP101\n"
    assert (code, out) == (2, "")
    assert err.endswith(f"\n\n{told}")


def test_a_sidecar_belongs_to_the_image_and_not_to_its_gradients(ask_here, tmp_path):
    folder = tmp_path / "study" / "sub-1" / "dwi"
    folder.mkdir(parents=True)
    for ending in ("bval", "bvec", "nii.gz"):
        (folder / f"sub-1_dwi.{ending}").write_text("{}", encoding="utf-8")
    (tmp_path / "study" / "dwi.json").write_text("{}", encoding="utf-8")
    Path("m.yaml").write_text(HEAD.replace("demo", "study") + "files: {suffixes: [dwi]}\n")
    told = "in   dwi.json  inherited: it belongs to sub-1/dwi/sub-1_dwi.nii.gz\n"
    assert ask_here("explain", "m.yaml", "dwi.json")[1] == told


@pytest.mark.parametrize("line", [0, 3, -1])
def test_what_git_could_not_merge_is_named(study, line):
    study("compile", "demo.yaml")
    plan = Path("demo.plan.jsonl")
    lines = plan.read_text(encoding="utf-8").splitlines()
    lines.insert(line, "<<<<<<< HEAD")
    plan.write_text("\n".join([*lines, ""]), encoding="utf-8")
    number = lines.index("<<<<<<< HEAD") + 1
    message = f"demo.plan.jsonl: line {number}: git could not merge two versions of the plan; "
    check(study("show", "demo.plan.jsonl"), 2, f"{message}compile it again")


@pytest.mark.parametrize("command", ["compile", "explain"])
def test_a_misspelled_word_is_told_once(study, command):
    manifest = "files: {suffixes: [T1w, bould]}\nderivatives: {afq: {datatypes: [Anat]}}\n"
    Path("m.yaml").write_text(HEAD + manifest, encoding="utf-8")
    err = study(command, "m.yaml")[2]
    assert err.count("'bould'") == 1
    assert err.count("'Anat'") == 1


def test_the_warnings_of_a_manifest_are_shown_where_nothing_is_compiled(study):
    text = Path("demo.yaml").read_text(encoding="utf-8")
    Path("demo.yaml").write_text(text.replace("suffixes: [T1w", "suffixes: [bould, T1w"))
    assert "'bould' matches no file" in study("compile", "demo.yaml")[2]
    assert "'bould' is not a BIDS suffix" in study("show", "demo.yaml")[2]
    Path("demo.plan.jsonl").unlink()
    Path("demo.yaml").write_text(Path("demo.yaml").read_text().replace("url: demo", "url: gone"))
    assert "'bould' is not a BIDS suffix" in study("compile", "demo.yaml")[2]


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("> 30", "{min: 30, not: 30}"),
        ("<15", "{max: 15, not: 15}"),
        (">=30.5", "{min: 30.5}"),
        ("<=5", "{max: 5}"),
        ("30-60", "{min: 30, max: 60}"),
        ("30 to 60", "{min: 30, max: 60}"),
        ("60-30", None),
        ("01-02", None),
        ("30", None),
        ("F-1", None),
        ("> " * 400, None),
    ],
)
def test_a_text_that_looks_like_a_range_is_doubted(study, text, hint):
    Path("m.yaml").write_text(f'{HEAD}subjects: {{where: {{age: "{text}"}}}}\n', encoding="utf-8")
    code, out, err = study("validate", "m.yaml")
    told = f"for a range write {hint}; for a value of the table write ['{text}']\n"
    warned = f"warning: m.yaml:3: subjects.where.age: {text!r} is compared as text; {told}"
    assert (code, out, err) == (0, "m.yaml: valid\n", warned if hint else "")
    Path("m.yaml").write_text(f'{HEAD}subjects: {{where: {{age: ["{text}"]}}}}\n')
    assert study("validate", "--strict", "m.yaml") == (0, "m.yaml: valid\n", "")


@pytest.mark.parametrize("name", ["s3", "s3:lab"])
def test_a_folder_that_is_named_as_a_protocol_is_one(study, name):
    Path(name).mkdir()
    shutil.move("demo", f"{name}/demo")
    url = f"{name}{'/' * (name == 's3')}/demo"
    Path("m.yaml").write_text(HEAD.replace("url: demo", f'url: "{url}"'), encoding="utf-8")
    assert study("compile", "m.yaml")[0] == 0
    assert study("init", url)[0] == 0


def test_derivatives_that_the_study_lacks_may_be_elsewhere(study):
    shutil.rmtree("demo/derivatives")
    Path("m.yaml").write_text(f"{HEAD}derivatives: fmriprep\n", encoding="utf-8")
    message = (
        "m.yaml:3: derivatives: there is no derivative pipeline 'fmriprep'; the study has no "
        "derivatives/; if they are elsewhere, write 'derivatives: {fmriprep: {url: …}}'"
    )
    check(study("compile", "m.yaml"), 1, message)
