"""Commands of README and docs: each is accepted by its verb's parser, and each page runs from top to bottom."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from mammo_aln import verbs
from mammo_aln.cli import DEFAULT_ACTION, VERBS
from mammo_aln.errors import InputError
from mammo_aln.settings.parse import parse
from tests.docs.command_lines import command_lines, inline_commands
from tests.docs.conftest import Beginnings
from tests.docs.pages import Page, all_pages
from tests.support.messy_truth import compare_with_truth

PAGES = all_pages()
RUN = [page for page in PAGES if any(block.runs for block in page.blocks)]
QUIET_WORDS = ("--help", "--version", "--print_config")
OWN_FILES = ("mine.yaml", "MINE.yaml", "bigger.yaml", "cluster.yaml")
"""Settings files that a page speaks of as the reader's own."""


def accept(words: list[str]) -> None:
    """Parse one command line as `mammo-aln` does, without running it."""
    if words[0] in (*QUIET_WORDS, "VERB"):
        return
    verb, *rest = words
    if rest and f"{verb} {rest[0]}" in VERBS:
        verb = f"{verb} {rest.pop(0)}"
    verb = f"{verb} {DEFAULT_ACTION[verb]}" if verb in DEFAULT_ACTION else verb
    assert verb in VERBS, f"no such verb: {verb}"
    function, positional, _ = VERBS[verb]
    if not set(rest) & set(QUIET_WORDS):
        parse(getattr(verbs, function), verb, positional, rest)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_command_line_is_accepted(page: Page, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in OWN_FILES:
        (tmp_path / name).write_text("{}")
    commands = [words for block in page.blocks if block.language == "bash" for words in command_lines(block.code)]
    refused = [message for words in commands if (message := refusal(words))]
    inline = [message for words in inline_commands(page.path.read_text("utf-8")) if (message := refusal(words))]
    # A sentence may leave out what a command needs; it may not name what the command lacks.
    assert not refused + [message for message in inline if "missing --" not in message]


def refusal(words: list[str]) -> str:
    """What the parser says against a command line; empty where it accepts."""
    try:
        accept(words)
    except (AssertionError, InputError) as error:
        return f"mammo-aln {' '.join(words)}: {error}"
    return ""


def test_a_command_that_the_parser_refuses_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (words,) = command_lines('run=$(mammo-aln train COHORT --out runs --pretrain.labels="[a, b]") # why')
    assert words == ["train", "COHORT", "--out", "runs", "--pretrain.labels=[a, b]"]
    with pytest.raises(InputError, match="pretrain"):
        accept(words)


def test_every_fence_names_its_language_and_every_reason_is_said() -> None:
    for page in PAGES:
        for block in page.blocks:
            assert block.language in ("bash", "python", "yaml", "text", "toml"), f"{page.name}:\n{block.code}"
            assert not block.not_run or len(block.not_run) > 15, page.name


def script_of(page: Page) -> str:
    """One shell script of all blocks that run; `mammo-aln` adds the page's options."""
    cases = "\n".join(f'    "{verb}"*) small=({options}) ;;' for verb, options in page.small.items())
    lines = ["set -euo pipefail", "mammo-aln() {", "  local small=()", '  case "$*" in', cases, "  esac"]
    lines += ['  python -m mammo_aln "$@" "${small[@]}"', "}"]
    for block in page.blocks:
        if block.runs and block.language == "python":
            lines += ["python - <<'PYTHON'", block.runnable(), "PYTHON"]
        elif block.runs:
            lines.append(block.runnable())
    return "\n".join(lines)


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("page", RUN, ids=lambda page: page.name)
def test_the_page_runs_from_top_to_bottom(page: Page, beginnings: Beginnings, tmp_path: Path) -> None:
    for name in page.starts_with:
        beginnings.put(name, tmp_path)
    command, environment = ["bash", "-xc", script_of(page)], beginnings.environment
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-4000:]
    if beginnings.export and "EXPORT" in page.starts_with:
        phantom = beginnings.folder / "hospital"
        compare_with_truth(
            tmp_path / "COHORT", tmp_path / "PRIVATE.csv", tmp_path / "crops", beginnings.export, phantom
        )
