"""`migrate --check` on a project in the style of Celery's own examples, and on whatever else there is."""

from __future__ import annotations

import json
import re
import sys
import sysconfig
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from trigger_celery.cli.main import cli
from trigger_celery.cli.migration.checker import Report, check
from trigger_celery.cli.migration.rules import ALL, RULES

PROJECT = Path(__file__).parent / "celery_project"
MARK = re.compile(r"#: (?P<no>not )?(?P<rules>TC\d+(?: TC\d+)*)\s*$")


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """The project. Its files end in .txt here: they are not to be tested, linted or imported."""
    for path in PROJECT.rglob("*.txt"):
        copy = tmp_path / path.relative_to(PROJECT).with_suffix("")
        copy.parent.mkdir(exist_ok=True)
        copy.write_text(path.read_text())
    return tmp_path


def marks(project: Path) -> Iterator[tuple[str, str, int, bool]]:
    """Yield rule, path, line and whether a finding is expected there."""
    for path in sorted(project.rglob("*")):
        for number, line in enumerate(path.read_text().splitlines() if path.is_file() else (), 1):
            found = MARK.search(line)
            for rule in found["rules"].split() if found else ():
                yield rule, path.as_posix(), number, found["no"] is None


def migrate(*arguments: Any) -> Result:
    return CliRunner().invoke(cli, ["migrate", *map(str, arguments)], catch_exceptions=False)


def test_every_rule_finds_what_it_should_and_nothing_else(project: Path) -> None:
    report = check([project])
    found = {(one.rule, one.path, _marked_line(project, one)) for one in report.findings}
    expected = {(rule, path, line) for rule, path, line, is_one in marks(project) if is_one}
    refused = {(rule, path, line) for rule, path, line, is_one in marks(project) if not is_one}
    assert found - expected == set()
    assert expected - found == set()
    assert not found & refused
    assert {rule for rule, *_ in expected} == set(RULES)
    assert {rule for rule, *_ in refused} == set(RULES)
    assert report.tasks == 20
    assert report.unknown == {"TC103": 1}
    assert report.ignored == 2


def _marked_line(project: Path, finding: Any) -> int:
    """Return the line of a finding, or that of the decorator above it: marks stand on either."""
    lines = Path(finding.path).read_text().splitlines()
    line = finding.line
    while not MARK.search(lines[line - 1]) and lines[line - 2].lstrip().startswith("@"):
        line -= 1
    return line


def test_the_text_says_what_to_do(project: Path) -> None:
    result = migrate("--check", project)
    assert result.exit_code == 1
    assert f"{project.as_posix()}/shop/views.py\n" in result.stdout
    assert re.search(r"  15:5 +error +TC101  countdown of 7,200 s is longer", result.stdout)
    assert "  do   Make it a @task and trigger it with delay=…" in result.stdout
    assert "docs/reference/migration-rules.md#tc101" in result.stdout
    assert "not decided: 1 of TC103" in result.stdout
    assert re.search(r"20 Celery tasks in \d+ files looked at: \d+ errors, ", result.stdout)


def test_json(project: Path) -> None:
    report = json.loads(migrate("--check", project, "--json").stdout)
    assert report["tasks"] == 20
    assert report["complete"]
    [one] = [found for found in report["findings"] if found["rule"] == "TC117"]
    assert one["severity"] == "warning"
    assert one["path"].endswith("proj/celery.py")
    assert one["docs"].endswith("#tc117")
    assert sum(report["counts"].values()) == len(report["findings"])


def test_sarif_has_the_structure_of_its_standard(project: Path) -> None:
    log = json.loads(migrate("--check", project, "--sarif").stdout)
    assert log["version"] == "2.1.0"
    assert log["$schema"].endswith("sarif-2.1.0.json")
    [run] = log["runs"]
    driver = run["tool"]["driver"]
    ids = [rule["id"] for rule in driver["rules"]]
    assert ids == [rule.id for rule in ALL]
    for rule in driver["rules"]:
        assert set(rule) <= {
            "id", "name", "shortDescription", "fullDescription", "help", "defaultConfiguration",
        }  # fmt: skip
        assert all(rule[part]["text"] for part in ("shortDescription", "fullDescription", "help"))
        assert rule["defaultConfiguration"]["level"] in ("none", "note", "warning", "error")
    assert run["invocations"][0]["executionSuccessful"] is True
    assert len(run["results"]) == len(check([project]).findings)
    for result in run["results"]:
        assert ids[result["ruleIndex"]] == result["ruleId"]
        assert result["level"] in ("note", "warning", "error")
        assert result["message"]["text"]
        [location] = result["locations"]
        place = location["physicalLocation"]
        assert place["artifactLocation"]["uri"].startswith("file:///")
        assert place["region"]["startLine"] >= 1
        assert place["region"]["startColumn"] >= 1


def test_paths_in_sarif_are_relative_where_they_were_given_so(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(project)
    (project / "with space.py").write_text("from celery import shared_task\nimport celery_once\n")
    results = json.loads(migrate("--check", "--sarif").stdout)["runs"][0]["results"]
    uris = {one["locations"][0]["physicalLocation"]["artifactLocation"]["uri"] for one in results}
    assert {"shop/tasks.py", "with%20space.py"} <= uris


def test_exit_codes(project: Path) -> None:
    clean = project / "shop" / "models.py"
    clean.write_text("from celery import shared_task\n")
    assert migrate("--check", clean).exit_code == 0
    notes = project / "proj" / "conftest.py"
    assert migrate("--check", notes).exit_code == 0
    assert migrate("--check", notes, "--fail-on", "note").exit_code == 1
    assert migrate("--check", project, "--fail-on", "never").exit_code == 0
    assert migrate("--check", project, "--ignore", ",".join(RULES)).exit_code == 0
    for wrong in (["x.py"], ["--check", "/no/such/folder"], ["--check", "--json", "--sarif"]):
        assert migrate(*wrong).exit_code == 2
    misspelt = migrate("--check", project, "--ignore", "TC10")
    assert misspelt.exit_code == 2
    assert "there is no rule 'TC10'. Did you mean" in misspelt.stderr


def test_the_broker_decides(tmp_path: Path) -> None:
    tasks = tmp_path / "tasks.py"
    tasks.write_text("from celery import shared_task\nx.apply_async(countdown=7200)\n")
    assert check([tmp_path]).unknown == {"TC101": 1}
    assert len(check([tmp_path], broker="redis").findings) == 1
    assert check([tmp_path], broker="amqp").findings == []
    (tmp_path / "celeryconfig.py").write_text(
        "# celery\nbroker_url = 'redis://'\n"
        "broker_transport_options = {'visibility_timeout': 24 * 3600}\n"
    )
    assert check([tmp_path]).findings == []
    tasks.write_text("from celery import shared_task\nx.apply_async(countdown=100_000)\n")
    assert len(check([tmp_path]).findings) == 1


def test_what_cannot_be_read_is_named_and_skipped(tmp_path: Path) -> None:
    (tmp_path / "broken.py").write_text("from celery import\n")
    (tmp_path / "latin.py").write_bytes("# celery é".encode("latin-1"))
    (tmp_path / "declared.py").write_bytes("# coding: latin-1\n# celery é\n".encode("latin-1"))
    (tmp_path / "strange.py").write_bytes(b"# coding: no-such\nimport celery\n")
    (tmp_path / "nul.py").write_bytes(b"import celery\0\n")
    (tmp_path / "deep.py").write_text("import celery\n" + "(" * 5000 + ")" * 5000)
    (tmp_path / "large.py").write_text("import celery\n" * 100_000)
    (tmp_path / "gone.py").symlink_to(tmp_path / "nowhere.py")
    report = check([tmp_path])
    skipped = {Path(one.path).name: one.why for one in report.skipped}
    assert set(skipped) == {
        "broken.py", "latin.py", "strange.py", "nul.py", "deep.py", "large.py",
    }  # fmt: skip
    assert skipped["broken.py"].startswith("line 1: ")
    assert "cannot be decoded" in skipped["latin.py"]
    assert skipped["large.py"] == "larger than 1,000,000 bytes"
    result = migrate("--check", tmp_path)
    assert result.exit_code == 0
    assert f"skipped: {tmp_path.as_posix()}/broken.py: line 1" in result.stdout


def test_loops_of_links_and_folders_that_are_not_ours(tmp_path: Path) -> None:
    text = "from celery import shared_task\nimport celery_once\n"
    for folder in ("pkg", ".venv", "node_modules", "own_env", "pkg/__pycache__"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "tasks.py").write_text(text)
    (tmp_path / "own_env" / "pyvenv.cfg").touch()
    (tmp_path / "pkg" / "loop").symlink_to(tmp_path)
    (tmp_path / "again").symlink_to(tmp_path / "pkg")
    report = check([tmp_path, tmp_path])
    assert len(report.findings) == 1


def test_the_number_of_files_is_bounded(tmp_path: Path) -> None:
    for number in range(5):
        (tmp_path / f"m{number}.py").write_text("import celery\n")
    report = check([tmp_path], max_files=3)
    assert (report.cut, report.looked_at) == (True, 3)
    assert "stopped after 3 files" in migrate("--check", tmp_path, "--max-files", 3).stdout


def test_nothing_is_imported_and_nothing_written(tmp_path: Path) -> None:
    (tmp_path / "evil.py").write_text("import celery\nraise SystemExit('imported')\n")
    before = set(tmp_path.rglob("*"))
    assert migrate("--check", tmp_path).exit_code == 0
    assert set(tmp_path.rglob("*")) == before
    assert "evil" not in sys.modules


def test_the_source_of_celery_itself() -> None:
    report = check([Path(sysconfig.get_paths()["purelib"]) / "celery"])
    assert report.skipped == []
    assert report.tasks >= 9
    # They are defined in functions indeed: they belong to the app that is being made.
    assert {finding.rule for finding in report.findings} >= {"TC118"}
    assert not {"TC101", "TC103", "TC104"} & {finding.rule for finding in report.findings}


def test_a_large_tree_takes_seconds(tmp_path: Path) -> None:
    text = (PROJECT / "shop" / "tasks.py.txt").read_text()
    for number in range(60):
        (tmp_path / f"tasks_{number}.py").write_text(text)
    began = time.process_time()
    report = check([tmp_path])
    seconds = time.process_time() - began
    assert report.parsed == 60
    assert seconds * 5000 / 60 < 120  # and in a real tree most files do not mention Celery


# Whatever parses is looked at

_EXPRESSIONS = st.recursive(
    st.sampled_from(
        [
            "1",
            "None",
            "'pickle'",
            "self",
            "request",
            "app.conf",
            "add",
            "...",
            "60 ** 9",
            "-(1)",
            "1/0",
        ]
    ),
    lambda inner: st.one_of(
        st.tuples(inner, st.sampled_from(["delay", "get", "s", "retry", "set", "conf"])).map(
            ".".join
        ),
        st.tuples(
            inner, inner, st.sampled_from(["countdown", "eta", "nx", "serializer", "max_retries"])
        ).map(lambda t: f"({t[0]})({t[1]}, {t[2]}={t[1]})"),
        st.tuples(inner, inner).map(lambda t: f"({t[0]} + {t[1]})"),
        st.lists(inner, max_size=3).map(lambda items: f"[{', '.join(items)}]"),
        st.tuples(inner, inner).map(lambda t: f"{{{t[0]}: {t[1]}, **{t[1]}}}"),
        inner.map(lambda one: f"(lambda: {one})"),
        inner.map(lambda one: f"group({one} for n in range({one}))"),
    ),
    max_leaves=6,
)
_LINES = st.one_of(
    _EXPRESSIONS,
    _EXPRESSIONS.map(lambda one: f"x = {one}"),
    _EXPRESSIONS.map(lambda one: f"app.conf.beat_schedule = {one}"),
    _EXPRESSIONS.map(lambda one: f"@shared_task(rate_limit={one}, name={one})\ndef f(self): {one}"),
    _EXPRESSIONS.map(
        lambda one: f"class C({one.replace('...', 'Task')}, Model):\n def save(self): {one}"
    ),
    _EXPRESSIONS.map(lambda one: f"with transaction.atomic(), {one} as f: {one}"),
    _EXPRESSIONS.map(lambda one: f"try: {one}\nexcept: {one}"),
    _EXPRESSIONS.map(lambda one: f"while {one}: time.sleep({one})"),
    st.sampled_from(
        [
            "from . import *",
            "import time as t, celery",
            "from celery import *",
            "# trigger: ignore[",
        ]
    ),
)


@settings(
    max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(lines=st.lists(_LINES, max_size=8), raw=st.text(max_size=40))
def test_no_python_makes_it_crash(tmp_path: Path, lines: list[str], raw: str) -> None:
    path = tmp_path / "any.py"
    path.write_text(
        "\n".join(["from celery import shared_task, group", *lines, raw]), "utf-8", "replace"
    )
    report: Report = check([path], broker="redis")
    assert report.parsed + len(report.skipped) == 1


def test_the_standard_library_does_not_make_it_crash(tmp_path: Path) -> None:
    modules = sorted(Path(sysconfig.get_paths()["stdlib"]).glob("*.py"))[::6]
    for path in modules:
        text = path.read_text("utf-8", "replace")
        (tmp_path / path.name).write_text(f"{text}\n# celery\n")
    report = check([tmp_path])
    assert (report.parsed, report.skipped) == (len(modules), [])
    assert report.tasks == 0
