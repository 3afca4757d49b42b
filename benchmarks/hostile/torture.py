"""Torture: faults injected into every verb that writes; the command run again must give the undisturbed result."""

from __future__ import annotations

import html
import importlib
import json
import mmap
import os
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from random import Random

from benchmarks.hostile.torture_child import Ended, Running
from benchmarks.hostile.torture_cohort import PHANTOM, write_beginning
from benchmarks.hostile.torture_compare import litter, meanings
from benchmarks.hostile.torture_faults import FAULTS, Case, Fault, mount
from benchmarks.hostile.torture_verbs import COMMANDS, Command
from benchmarks.page import OUT, ROOT, Section, table
from mammo_aln.progress import Progress, say
from mammo_aln.runs.ledger import LEDGER

RELIABILITY = ROOT / "docs" / "reliability.md"
LIMIT_S, TIMES = 90.0, 30.0
"""A command that takes longer than the one, and so many times the undisturbed one's time, hangs."""
EQUAL, REFUSED = "equal", "refused in words, nothing lost"
VERDICTS = (EQUAL, REFUSED, "LOST", "WRONG", "traceback", "hang")
ANYTHING = "anything"
TRACES = ("Traceback (most recent call last)", "a fault of mammo-aln itself")


@dataclass(frozen=True)
class Verdict:
    """What became of a fault; `detail` says of one that is not equal why."""

    number: int
    command: str
    fault: str
    what: str
    verdict: str
    detail: str
    first: int | None
    second: int | None
    left: int
    litter: int
    seconds: float


@dataclass(frozen=True)
class Undisturbed:
    """A command's result without a fault: of each file the meanings that it may have, of once to three times."""

    words: Sequence[str]
    files: dict[str, set[str]]
    code: int
    seconds: float
    writes: int
    written_bytes: int
    beginning: frozenset[str]


class Ground:
    """Folders in which commands are tortured.

    Args:
        folder: an empty one.
        beginning: folder that keeps where commands begin; made where it is missing.
    """

    def __init__(self, folder: Path, beginning: Path) -> None:
        self.beginning = beginning
        self.case, self.aside, self.log = (folder / name for name in ("case", "aside", "log"))
        for each in (self.case, self.aside, self.log, self.log / "second"):
            each.mkdir(parents=True)
        self.mounted = False
        with suppress(subprocess.CalledProcessError, FileNotFoundError):
            mount(self.case, "size=2g")
            self.mounted = True
        self._loaded = set(sys.modules)
        if not beginning.is_dir():
            self._run((*PHANTOM, "--out", str(folder / "phantom")))
            write_beginning(self.case, folder / "phantom", self._run)
            beginning.parent.mkdir(parents=True, exist_ok=True)
            copy(self.case, beginning)

    def _run(self, words: Sequence[str]) -> None:
        ended = Running(words, self.case, self.log, before=self._load_later).end(600)
        if ended.code:
            raise RuntimeError(f"{' '.join(words)}: exit code {ended.code}\n{ended.said}")
        self.load()

    def _load_later(self) -> None:
        import atexit

        atexit.register(lambda: (self.log / "modules").write_text("\n".join(sys.modules)))

    def load(self) -> None:
        """Load here what a command has loaded in its fork, so that the next one need not."""
        for name in (self.log / "modules").read_text().split():
            if name.split(".")[0] not in ("__main__", "__mp_main__") and name not in sys.modules:
                with suppress(Exception):
                    importlib.import_module(name)

    def begin(self, inside: str = "") -> Path:
        """Bring the beginning back; answer the folder that paths are counted from."""
        for path in (*self.case.iterdir(), *self.aside.iterdir()):
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
        copy(self.beginning, self.case / inside if inside else self.case)
        return self.case / inside if inside else self.case

    def close(self) -> None:
        """Give the memory back."""
        if self.mounted:
            subprocess.run(["umount", str(self.case)], check=True)


def copy(source: Path, target: Path) -> None:
    """Copy what a folder holds, times and all."""
    target.mkdir(exist_ok=True)
    subprocess.run(["cp", "-a", f"{source}/.", f"{target}/"], check=True)


def words_of(command: Command, folder: Path, inside: str = "") -> list[str]:
    """Write a command's words, its paths below a folder's name."""
    words = []
    for word in command.words:
        if word.startswith("@"):
            path = next((str(each.relative_to(folder)) for each in folder.glob(word[1:])), word[1:])
            word = f"./{inside}/{path}" if inside else path
        words.append(word)
    return words


def undisturbed(command: Command, ground: Ground) -> Undisturbed:
    """Run a command; anew, what differs moves by itself; then twice and, where twice is not once, three times."""
    count = mmap.mmap(-1, 8)
    folder = ground.begin()
    words, before, beginning = words_of(command, folder), size(folder), frozenset(meanings(folder, {}))

    def run(at: Callable[[int], None] | None = None) -> tuple[Ended, dict[str, str]]:
        ended = Running(words, folder, ground.log, ground._load_later, at).end(600, 5)
        ground.load()
        return ended, meanings(folder, {})

    first = run()[1]
    folder = ground.begin()
    ended, once = run(lambda number: _note(count, number))
    if ended.code not in (0, 1):
        raise RuntimeError(f"{' '.join(words)}: exit code {ended.code}\n{ended.said}")
    written = size(folder) - before
    files = {name: {value} for name, value in once.items()}
    for _ in range(2):
        for name, value in run()[1].items():
            files.setdefault(name, set()).add(value)
        if all(value == {once.get(name)} for name, value in files.items()):
            break
    if any(name.endswith(LEDGER) for name in _changed(once, folder, ground)):
        for name, value in run()[1].items():
            files.setdefault(name, set()).add(value)
    moving = [name for name, value in once.items() if value != first.get(name)]
    for name in moving:
        say(f"{command.name}: {name} differs between two undisturbed runs: not compared")
        files[name] = {ANYTHING}
    writes = int.from_bytes(count[:8], "little")
    return Undisturbed(words, files, ended.code, ended.seconds, writes, written, beginning)


def _changed(once: dict[str, str], folder: Path, ground: Ground) -> list[str]:
    """Begin anew, but for openings: they stand whatever happened to their command. List the files that it changed."""
    openings = {path.relative_to(folder): path.read_bytes() for path in folder.rglob(f"*{LEDGER}")}
    ground.begin()
    before = meanings(folder, {})
    for name, content in openings.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return [name for name, value in once.items() if before.get(name) != value]


def _note(count: mmap.mmap, number: int) -> None:
    count[:8] = (number + 1).to_bytes(8, "little")


def size(folder: Path) -> int:
    """Sum up the bytes of a folder's files."""
    return sum(path.lstat().st_size for path in folder.rglob("*") if path.is_file())


def tried(number: int, command: Command, sound: Undisturbed, fault: Fault, ground: Ground, seed: int) -> Verdict:
    """Inject one fault into one command, run it again without, and judge what stands there."""
    draw = Random(f"{seed}/{number}")
    folder = ground.begin()
    inputs = sorted({path for pattern in command.inputs for path in folder.glob(pattern) if path.is_file()})
    case = Case(folder, draw, sound.seconds, sound.writes, sound.written_bytes, inputs, ground.aside)
    words = sound.words
    fault.inject(case)
    names = {}
    if case.odd_name:
        ground.begin(case.odd_name)
        words = words_of(command, folder / case.odd_name, case.odd_name)
        texts = (case.odd_name, json.dumps(case.odd_name)[1:-1], html.escape(case.odd_name))
        names = {f"{text}/": "" for text in texts}

    def before() -> None:
        os.environ.update(case.environment)
        for act in case.in_child:
            act()

    limit_s = LIMIT_S + TIMES * sound.seconds
    first = Running(words, folder, ground.log, before, case.at_write, fault.cold)
    if case.after_s is not None:
        first.wait(case.after_s[0])
        first.send(case.after_s[1], group=case.after_s[2])
    ends = []
    if case.twice_s is not None:
        first.wait(case.twice_s)
        other = Running(words, folder, ground.log / "second", before)
        other.wait(limit_s)
        first.wait(limit_s)
        ends.append(other.end(0))
    ends.insert(0, first.end(limit_s))
    standing = folder / case.odd_name if case.odd_name else folder
    done = ends[0].code == sound.code and fault.name not in INPUTS
    early = differences(_meanings(standing, names, sound), sound) if done else ""
    for act in reversed(case.undo):
        act()
    second = Running(words, folder, ground.log, lambda: os.environ.update(case.environment), cold=fault.cold).end(
        limit_s
    )
    files = _meanings(standing, names, sound)
    if fault.name in INPUTS:  # what was opened while an input was another one stays on record
        files |= {name: ANYTHING for name in files if name.endswith(LEDGER)}
    difference = differences(files, sound)
    verdict, detail = judged([*ends, second], early, difference, sound)
    return Verdict(
        number, command.name, fault.name, case.what, verdict, detail, ends[0].code, second.code,
        max(end.left for end in ends), litter(standing), ends[0].seconds + second.seconds,
    )  # fmt: skip


def _meanings(folder: Path, names: Mapping[str, str], sound: Undisturbed) -> dict[str, str]:
    """Digest what stands there; a short name may stand in a file's pixels by chance, too, and mean nothing there."""
    plain = meanings(folder, {})
    read = {**plain, **meanings(folder, names)} if names else plain
    return {name: plain[name] if _may_be(plain[name], sound.files.get(name)) else value for name, value in read.items()}


INPUTS = ("an input vanishes", "an input is cut", "an input changes")
"""Faults under which another result is right, if what is there then is what it says."""


def judged(ends: Sequence[Ended], early: str, difference: str, sound: Undisturbed) -> tuple[str, str]:
    """Judge commands' ends and what stands there; the words say why it is not equal."""
    if any(end.code is None for end in ends):
        return "hang", ends[-1].said[-400:]
    for end in ends:
        if any(trace in end.said for trace in TRACES):
            return "traceback", end.said[-800:]
    if early:
        return "WRONG", f"it said that it was done: {early}"
    if not difference:
        return EQUAL, ""
    if ends[-1].code == 2 and not lost_of(sound, difference):
        return REFUSED, ends[-1].said[-400:]
    return ("LOST" if "missing" in difference else "WRONG"), f"{difference} | {ends[-1].code}: {ends[-1].said[-400:]}"


def lost_of(sound: Undisturbed, difference: str) -> bool:
    """Tell whether a file that stood there at the beginning is missing."""
    missing = difference.partition("missing: ")[2].partition(";")[0].split(", ")
    return any(name in sound.beginning for name in missing)


def _may_be(value: str, known: set[str] | None) -> bool:
    return known is None or value == ANYTHING or bool(known & {value, ANYTHING})


def differences(files: dict[str, str], sound: Undisturbed) -> str:
    """Say in words which files are missing, too many or others than without a fault; empty where none is."""
    missing = [name for name in sound.files if name not in files]
    extra = [name for name in files if name not in sound.files]
    others = [name for name, value in files.items() if not _may_be(value, sound.files.get(name))]
    kinds = {"missing": missing, "others": others, "too many": extra}
    return "; ".join(f"{kind}: {', '.join(sorted(each))}" for kind, each in kinds.items() if each)


def torture(
    faults: int = 1000,
    seed: int = 0,
    only: Sequence[str] = (),
    of: Sequence[str] = (),
    beginning: Path | None = None,
    record: Path = OUT / "torture.jsonl",
) -> Section:
    """Inject faults into every verb that writes, run it again, and compare with the undisturbed result.

    Args:
        faults: so many.
        seed: draws verbs, faults, instants and inputs.
        only: names of commands; all where empty.
        of: names of faults; all where empty.
        beginning: folder that keeps where commands begin; made where it is missing.
        record: file that gets a line for each fault; of those that stand there none is tried again.
    """
    commands = [command for command in COMMANDS if not only or command.name in only]
    name = tempfile.mkdtemp(prefix="mammo_aln_torture_")  # no TemporaryDirectory: a fork's exit would remove it
    try:
        return section(faults, seed, commands, of, Path(name), beginning or Path(name) / "beginning", record)
    finally:
        shutil.rmtree(name, ignore_errors=True)


def section(
    faults: int, seed: int, commands: Sequence[Command], of: Sequence[str], folder: Path, beginning: Path, record: Path
) -> Section:
    """Inject so many faults, each on record as soon as it is judged."""
    record.parent.mkdir(parents=True, exist_ok=True)
    verdicts = recorded(record, seed)
    known = {verdict.number for verdict in verdicts}
    ground = Ground(folder / "ground", beginning)
    try:
        chosen = [each for each in FAULTS if (not of or each.name in of) and (ground.mounted or not each.root)]
        sound: dict[str, Undisturbed] = {}
        progress = Progress(total=faults, what="faults", unit="fault")
        with record.open("a", encoding="utf-8") as lines:
            for number in range(faults):
                progress.advance()
                if number in known:
                    continue
                draw = Random(f"{seed}/{number}/what")
                command = draw.choices(commands, [each.share for each in commands])[0]
                possible = [each for each in chosen if command.inputs or each.name not in INPUTS]
                fault = draw.choices(possible, [each.share for each in possible])[0]
                if command.name not in sound:
                    sound[command.name] = undisturbed(command, ground)
                verdict = tried(number, command, sound[command.name], fault, ground, seed)
                lines.write(json.dumps({"seed": seed, **asdict(verdict)}) + "\n")
                lines.flush()
                verdicts.append(verdict)
                if verdict.verdict != EQUAL:
                    say(f"{number} {verdict.command}, {verdict.what}: {verdict.verdict}: {verdict.detail}")
    finally:
        ground.close()
    return Section("Torture", f"{len(verdicts):,} faults (seed {seed})", tables(verdicts), RELIABILITY)


def recorded(record: Path, seed: int) -> list[Verdict]:
    """Read the verdicts of a seed that are on record: the same command goes on behind them."""
    lines = record.read_text(encoding="utf-8").splitlines() if record.is_file() else []
    plain = [json.loads(line) for line in lines]
    return [Verdict(**{k: v for k, v in each.items() if k != "seed"}) for each in plain if each["seed"] == seed]


def tables(verdicts: Sequence[Verdict]) -> list[str]:
    """Lay verdicts out by fault and by command."""
    lines: list[str] = []
    for title, of in (("fault", lambda each: each.fault), ("command", lambda each: each.command)):
        counts: dict[str, Counter[str]] = {}
        for verdict in verdicts:
            counts.setdefault(of(verdict), Counter())[verdict.verdict] += 1
        rows = [(name, each.total(), *(each[kind] for kind in VERDICTS)) for name, each in counts.items()]
        total = sum(counts.values(), Counter())
        rows.append(("all", total.total(), *(total[kind] for kind in VERDICTS)))
        lines += [*table((title, "injected", *VERDICTS), rows), ""]
    return lines
