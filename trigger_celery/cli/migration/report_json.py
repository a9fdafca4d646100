"""The report for programs: JSON of our own, and SARIF 2.1.0 for code scanning."""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from typing import Any, Final
from urllib.parse import quote

from trigger_celery.cli.migration.checker import Report
from trigger_celery.cli.migration.findings import Finding, Rule, Severity
from trigger_celery.cli.migration.rules import ALL, RULES

_SCHEMA: Final = "https://json.schemastore.org/sarif-2.1.0.json"
_ORDER: Final = {rule.id: index for index, rule in enumerate(ALL)}


def as_json(report: Report) -> dict[str, Any]:
    """Return the report as JSON-ready values."""
    return {
        "findings": [_finding(finding) for finding in report.findings],
        "counts": {severity.word: report.count(severity) for severity in Severity},
        "unknown": dict(sorted(report.unknown.items())),
        "ignored": report.ignored,
        "skipped": [{"path": one.path, "why": one.why} for one in report.skipped],
        "files": report.looked_at,
        "tasks": report.tasks,
        "complete": not report.cut,
    }


def _finding(finding: Finding) -> dict[str, Any]:
    rule = RULES[finding.rule]
    return {
        "rule": rule.id,
        "name": rule.name,
        "severity": rule.severity.word,
        "path": finding.path,
        "line": finding.line,
        "column": finding.column,
        "message": finding.text,
        "why": rule.why,
        "fix": rule.fix,
        "docs": rule.link,
    }


def as_sarif(report: Report, version: str) -> dict[str, Any]:
    """Return the report as a SARIF log with one run."""
    notes = [
        {"level": "warning", "message": {"text": f"{one.path}: {one.why}"}}
        for one in report.skipped
    ]
    return {
        "$schema": _SCHEMA,
        "version": "2.1.0",
        "runs": [
            {
                "tool": {
                    "driver": {
                        "name": "trigger-celery migrate",
                        "semanticVersion": version,
                        "rules": [_sarif_rule(rule) for rule in ALL],
                    }
                },
                "columnKind": "unicodeCodePoints",
                "invocations": [{"executionSuccessful": True, "toolExecutionNotifications": notes}],
                "results": [_result(finding) for finding in report.findings],
            }
        ],
    }


def _sarif_rule(rule: Rule) -> dict[str, Any]:
    return {
        "id": rule.id,
        "name": "".join(part.capitalize() for part in rule.name.split("-")),
        "shortDescription": {"text": rule.title},
        "fullDescription": {"text": rule.why},
        "help": {"text": f"{rule.fix} See {rule.link}."},
        "defaultConfiguration": {"level": rule.severity.word},
    }


def _result(finding: Finding) -> dict[str, Any]:
    return {
        "ruleId": finding.rule,
        "ruleIndex": _ORDER[finding.rule],
        "level": RULES[finding.rule].severity.word,
        "message": {"text": f"{finding.text}. {RULES[finding.rule].fix}"},
        "locations": [
            {
                "physicalLocation": {
                    "artifactLocation": {"uri": _uri(finding.path)},
                    "region": {"startLine": finding.line, "startColumn": finding.column},
                }
            }
        ],
    }


def _uri(path: str) -> str:
    """Return a path as a URI: relative ones stay relative, to where the program was started."""
    pure = PurePosixPath(path)
    return Path(path).as_uri() if pure.is_absolute() else quote(str(pure))
