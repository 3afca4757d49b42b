"""`mammo-aln VERB`: each verb is one call of a function in `verbs/` whose signature is its flags.

Exit codes are `errors.ExitCode`. The last line of standard output is the path of what a verb made (or the table or
script that it prints), alone; everything else goes to standard error. Heavy libraries load only once a verb runs.
"""

from __future__ import annotations

import os
import sys
import tempfile
import traceback
from collections.abc import Sequence
from contextlib import nullcontext, redirect_stdout

from mammo_aln.errors import CheckFailed, ExitCode, InputError, Requeue, did_you_mean, message_text
from mammo_aln.machine.signals import requeued
from mammo_aln.verbs.table import DEFAULT_ACTION, VERBS

__all__ = ["DEFAULT_ACTION", "VERBS", "main"]
HELP = ("-h", "--help")
REQUEUED = ("train", "pretrain", "crop", "sweep run", "sweep write", "sweep work")
"""Verbs that a scheduler's signal ends with the exit code that says: start it again."""
FLAGS = (*HELP, "--version", "--debug")


GPU_ALLOCATOR = {"PYTORCH_CUDA_ALLOC_CONF", "PYTORCH_ALLOC_CONF"}
"""Variables by which a user sets torch's allocator; one that is set is left as it is."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one verb and return the exit code."""
    words = list(sys.argv[1:] if argv is None else argv)
    debug = "--debug" in words
    set_allocator()
    try:
        code = _main([word for word in words if word != "--debug"], debug=debug)
        sys.stdout.flush()
        return code
    except BrokenPipeError:
        # The reader of standard output left (`| head`); what was made is on disk.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return ExitCode.DONE


def set_allocator() -> None:
    """Let CUDA's blocks grow, unless the user says otherwise: steps hold a changing number of crops.

    Blocks that grow leave no holes. Torch reads it when it first asks for memory.
    """
    if not GPU_ALLOCATOR & os.environ.keys():
        os.environ["PYTORCH_CUDA_ALLOC_CONF"] = "expandable_segments:True"


def _main(words: list[str], *, debug: bool) -> int:
    if not words or words[0] in HELP:
        print(_overview(list(VERBS)))
        return ExitCode.DONE
    if words[0] == "--version":
        from mammo_aln import __version__

        print(__version__)
        return ExitCode.DONE
    verb, *rest = words
    if actions := [name for name in VERBS if name.startswith(f"{verb} ")]:
        if rest and f"{verb} {rest[0]}" in VERBS:
            verb = f"{verb} {rest.pop(0)}"
        elif not rest or rest[0] in HELP or verb not in DEFAULT_ACTION or not _may_be_file(rest[0]):
            asked = rest[:1] != [] and rest[0] in HELP
            if rest and not asked:
                known = [name.split()[1] for name in actions]
                meant = did_you_mean(rest[0], known) or f"; known: {', '.join(known)}"
                meant += f" (nor is it a file for `{verb} {DEFAULT_ACTION[verb]}`)" if verb in DEFAULT_ACTION else ""
                print(f"mammo-aln {verb}: unknown action {rest[0]!r}{meant}", file=sys.stderr)
                return ExitCode.WRONG_INPUT
            print(_overview(actions), file=sys.stdout if asked else sys.stderr)
            return ExitCode.DONE if asked else ExitCode.WRONG_INPUT
        else:
            verb = f"{verb} {DEFAULT_ACTION[verb]}"
    if verb not in VERBS:
        flag = verb.startswith("-")
        names = FLAGS if flag else list(dict.fromkeys(name.partition(" ")[0] for name in VERBS))
        meant = did_you_mean(verb, names) or f"; known: {', '.join(names)}"
        print(f"mammo-aln: unknown {'flag' if flag else 'verb'} {verb!r}{meant}", file=sys.stderr)
        return ExitCode.WRONG_INPUT
    try:
        with requeued() if verb in REQUEUED else nullcontext():
            return _run(verb, rest)
    except InputError as error:
        if debug:
            raise
        if _leads() or not error.on_all_ranks:
            print(f"mammo-aln {verb}: {message_text(error)}", file=sys.stderr)
        return ExitCode.WRONG_INPUT
    except CheckFailed as problems:
        print(f"mammo-aln {verb}: {message_text(problems)}", file=sys.stderr)
        return ExitCode.PROBLEMS
    except KeyboardInterrupt:
        if _leads():
            print(f"mammo-aln {verb}: stopped; the same command goes on from what is finished", file=sys.stderr)
        return ExitCode.INTERRUPTED
    except Requeue as stopped:
        if _leads():
            print(f"mammo-aln {verb}: {stopped}; the same command goes on from there", file=sys.stderr)
        return ExitCode.AGAIN
    except BrokenPipeError:
        raise
    except Exception as error:
        if debug:
            raise
        code, message = _in_words(error)
        print(f"mammo-aln {verb}: {message_text(message)}", file=sys.stderr)
        return code


def _in_words(error: Exception) -> tuple[ExitCode, str]:
    """Word what no room foresaw: lack of memory, a full disk, or a fault of this product, whose trace is kept."""
    from pathlib import Path

    from mammo_aln.files import FULL, unwritten

    # A GPU's by its name: torch takes seconds to import.
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return ExitCode.PROBLEMS, f"not enough memory ({error}); use fewer processes, or more memory"
    if isinstance(error, OSError) and error.errno in FULL:
        return ExitCode.WRONG_INPUT, str(unwritten(Path(error.filename or "a file"), error))
    frames = traceback.extract_tb(error.__traceback__)
    where = f" in {os.path.basename(frames[-1].filename)} line {frames[-1].lineno}" if frames else ""  # noqa: PTH119
    try:
        with tempfile.NamedTemporaryFile("w", prefix="mammo-aln-", suffix=".trace", delete=False) as file:
            traceback.print_exception(error, file=file)
        trace = f"its trace is in {file.name}, which may name your folders"
    except OSError:
        trace = "--debug shows its trace"
    return ExitCode.PROBLEMS, f"a fault of mammo-aln itself: {type(error).__name__}: {error}{where}; {trace}"


def _may_be_file(word: str) -> bool:
    """Tell whether a word behind a verb of several actions is an option or a file, not a misspelt action."""
    from pathlib import Path

    return word.startswith("-") or "." in word or os.sep in word or Path(word).is_file()


def _overview(verbs: Sequence[str]) -> str:
    lines = ["usage: mammo-aln VERB [options]     (mammo-aln VERB --help shows a verb's options)", ""]
    width = max(10, *(len(verb) + 2 for verb in verbs))
    lines += [f"  {verb:<{width}}{VERBS[verb][2]}" for verb in verbs]
    lines += [
        "",
        "options: --version, --debug (traceback for whatever goes wrong).",
        "settings: --config FILE.yaml (several; later wins), --SECTION.KEY=VALUE.",
    ]
    return "\n".join(lines)


def _run(verb: str, words: list[str]) -> int:
    from mammo_aln import verbs
    from mammo_aln.settings.parse import parse

    name, positional, _ = VERBS[verb]
    function = getattr(verbs, name)
    arguments = parse(function, f"mammo-aln {verb}", positional, words)
    if arguments is None:
        return 0
    with redirect_stdout(sys.stderr):  # whatever a library prints; standard output is for the path alone
        result = function(**arguments)
    if isinstance(result, int):
        return result
    if _leads():
        print(result, flush=True)
    return 0


def _leads() -> bool:
    """Say whether this process speaks for all: of the ranks of one training only the first does."""
    group = sys.modules.get("torch.distributed")
    return group is None or not group.is_available() or not group.is_initialized() or group.get_rank() == 0


if __name__ == "__main__":
    sys.exit(main())
