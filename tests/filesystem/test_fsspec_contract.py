"""fsspec's own tests of `get`; its tests of writing don't fit, as a plan is read-only."""

from __future__ import annotations

import posixpath
import shutil

import pytest
from fsspec.implementations.local import LocalFileSystem
from fsspec.tests import abstract

from bidsplan.plan_filesystem import PlanFileSystem
from plans import plan_over

SCENARIOS = {
    "fs_bulk_operations_scenario_0": "_bulk_operations_scenario_0",
    "fs_glob_edge_cases_files": "_glob_edge_cases_files",
    "fs_dir_and_file_with_same_name_prefix": "_dir_and_file_with_same_name_prefix",
    "fs_10_files_with_hashed_names": "_10_files_with_hashed_names",
}


def scenario(name):
    """Make fsspec's files beforehand, since a plan can't be written to."""

    @pytest.fixture(name=name)
    def folder(self, fs):
        return f"{name}/source"

    return folder


class Written(PlanFileSystem):
    """Takes a test's own directory and file for made, since they are in the plan already."""

    def mkdir(self, path):
        assert self.isdir(path)

    def touch(self, path):
        assert self.isfile(path)


class TestGet(abstract.AbstractGetTests, abstract.AbstractFixtures):
    @pytest.fixture
    def source(self, tmp_path):
        local = LocalFileSystem(auto_mkdir=True)
        for name, method in SCENARIOS.items():
            getattr(self, method)(local, posixpath.join, str(tmp_path / "source" / name))
        local.touch(str(tmp_path / "source" / "top" / "src" / "file"))
        return tmp_path / "source"

    @pytest.fixture
    def fs(self, source):
        found = (path for path in source.rglob("*") if path.is_file())
        files = {path.relative_to(source).as_posix(): path.read_bytes() for path in found}
        return Written(plan_over(str(source), files, tags=False))

    @pytest.fixture
    def fs_path(self):
        return "top"

    @pytest.fixture
    def local_target(self, tmp_path):
        target = str(tmp_path / "target")
        yield target
        shutil.rmtree(target, ignore_errors=True)

    fs_bulk_operations_scenario_0 = scenario("fs_bulk_operations_scenario_0")
    fs_glob_edge_cases_files = scenario("fs_glob_edge_cases_files")
    fs_dir_and_file_with_same_name_prefix = scenario("fs_dir_and_file_with_same_name_prefix")
    fs_10_files_with_hashed_names = scenario("fs_10_files_with_hashed_names")


def test_all_of_fsspecs_scenarios_are_made():
    fixtures = {name for name in vars(abstract.BaseAbstractFixtures) if name.startswith("fs_")}
    assert fixtures - {"fs_target"} == set(SCENARIOS)
