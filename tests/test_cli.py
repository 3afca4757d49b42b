"""The command line: fast help, one plain line for whatever is wrong, exit codes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from mammo_aln.cli import VERBS, main
from mammo_aln.machine.signals import requeued
from mammo_aln.settings import Settings
from mammo_aln.settings.parse import settings_from
from mammo_aln.settings.shipped import defaults_as_yaml, find_config


def run(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "mammo_aln", *words], capture_output=True, text=True, check=False)


def test_help_names_every_verb_and_loads_no_heavy_library() -> None:
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "mammo_aln", "--help"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0
    assert all(verb in done.stdout for verb in VERBS)
    heavy = ("torch", "pandas", "numpy", "matplotlib", "jsonargparse", "pydicom", "scipy", "yaml")
    assert "| mammo_aln.cli\n" in done.stderr
    assert not [name for name in heavy if f"| {name}\n" in done.stderr.replace(" ", "").replace("|", "| ")]


@pytest.mark.parametrize("verb", list(VERBS))
def test_every_verb_has_help(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([verb, "--help"]) == 0
    assert f"mammo-aln {verb}" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["train", "x", "--out", "y", "--crop.strategy=circle"], ["crop.strategy", "fixed_5cm", "circle"]),
        (["train", "x", "--out", "y", "--crop.sized_px=3"], ["crop.sized_px", "unknown key", "crop.size_px"]),
        (["train", "x", "--out", "y", "--crop.size_px=big"], ["crop.size_px", "whole number", "big"]),
        (["train", "x", "--out", "y", "--model.inputs=[primary,mri]"], ["model.inputs", "auxiliary", "mri"]),
        (["train", "x", "--out", "y", "--config", "nowhere.yaml"], ["nowhere.yaml", "no such file"]),
        (["train", "x"], ["--out"]),
        (["train", "x", "z", "--out", "y"], ["'z'"]),
        (["nonsense"], ["nonsense", "train"]),
        (["train", "x", "--out"], ["--out", "value is missing"]),
        (["evaluate", "--out", "o"], ["files"]),
        (["evaluate", "f.csv", "--out", "o", "--resamples=0"], ["resamples", "2 to 1000000", "got 0"]),
        (["train", "x", "--out", "y", "--crop.size_px=0"], ["crop.size_px", "8 to 4096", "got 0"]),
        (["train", "x", "--out", "y", "--crop.size_mm=-3"], ["crop.size_mm", "1 to 500 millimetres", "got -3"]),
        (["train", "x", "--out", "y", "--crop.auxiliary=[axilla, axilla]"], ["crop.auxiliary", "each name once"]),
        (["train", "x", "--out", "y", "--model.inputs=[primary, primary]"], ["model.inputs", "each name once"]),
        (["pretrain", "x", "--out", "y", "--pretrain.labels=[age, age]"], ["pretrain.labels", "each name once"]),
        (["train", "x", "--out", "y", f"--seed={2**63}"], ["seed", "0 to 2^63 - 1"]),
        (["evaluate", "f.csv", "--out", "o", f"--seed={2**32}"], ["seed", "0 to 2^31 - 1"]),
        (["train", "x", "--out", "y", "--trainer.max_epochs=0"], ["trainer.max_epochs", "1 to 100000"]),
        (["train", "x", "--out", "y", "--optim.lr=0", "--data.batch_size=0"], ["optim.lr", "data.batch_size"]),
        (["train", "x", "--cohort=z", "--out", "y"], ["--cohort", "twice", "'x'"]),
        (["train", "x", "--out", "y", "--crop.strategy=fixd_5cm"], ["did you mean fixed_5cm?"]),
        (["train", "x", "--out", "y", "--modle.backbone=resnet50"], ["did you mean model.backbone?"]),
        (["train", "x", "--out", "y", "--strtegy=fixed_5cm"], ["did you mean crop.strategy?"]),
        (["train", "x", "--out", "y", "--zzz.zzz=1"], ["zzz.zzz", "allowed: cohort, crop, data"]),
        (["train", "x", "--out", "y", "--print_shtab=bash"], ["print_shtab: unknown key"]),
        (["train", "x", "--out", "y", "--model.inputs=primry"], ["did you mean primary?"]),
        (["crop", "x", "--workers=many"], ["workers", "a whole number or null", "many"]),
        (["train", "x", "--out", "y", "--crop=3"], ["--crop.KEY=VALUE"]),
    ],
)
def test_wrong_words_get_one_line_and_exit_code_2(
    words: list[str], expected: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    assert all(part in captured.err for part in expected), captured.err


@pytest.mark.parametrize(
    "word",
    [
        *[f"crop.{name}={value}" for name in ("size_mm", "auxiliary_size_mm") for value in (1e-300, 1e-3, 5e3, 1e300)],
        *["crop.margin=1e300", "crop.peritumoral_scale=1e300", "crop.peritumoral_scale=1e-9", "crop.size_px=100000"],
        *["optim.weight_decay=1e300", "optim.focal_gamma=1e300", "optim.unimodal_weight=1e300"],
        *["pretrain.temperature=1e-300", "pretrain.contrastive_weight=1e300"],
        *["model.embed_dim=100000000", "pretrain.projection_dim=100000000"],
    ],
)
def test_a_slip_of_the_unit_and_a_number_that_no_training_survives_are_refused(
    word: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["pretrain", "x", "--out", "y", f"--{word}"]) == 2
    told = capsys.readouterr().err
    assert f"{word.partition('=')[0]}: expected" in told
    assert len(told.splitlines()) == 1


@pytest.mark.parametrize(
    "words", [["doctor", "c"], ["doctor", "--cohort", "c"], ["check", "c"], ["check", "--cohort=c"]]
)
def test_a_cohort_is_the_first_word_or_an_option(words: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    from mammo_aln import verbs

    given: list[str] = []

    def verb(cohort: Path) -> int:
        """Note the cohort."""
        given.append(str(cohort))
        return 0

    monkeypatch.setattr(verbs, words[0], verb)
    assert main(words) == 0
    assert given == ["c"]


def test_what_a_library_prints_stays_off_standard_output(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from mammo_aln import verbs

    def check(cohort: Path) -> Path:
        """Chatter."""
        print("a library greets")
        return cohort

    monkeypatch.setattr(verbs, "check", check)
    assert main(["check", "made/this"]) == 0
    captured = capsys.readouterr()
    assert captured.out == "made/this\n"
    assert "greets" in captured.err


def test_unknown_key_in_a_file_is_refused(tmp_path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a.yaml").write_text("crop: {size_px: 64}\n")
    (tmp_path / "b.yaml").write_text("crop: {sise_px: 64}\n")
    assert main(["train", "x", "--out", "y", f"--config={tmp_path}/a.yaml", f"--config={tmp_path}/b.yaml"]) == 2
    error = capsys.readouterr().err
    assert "sise_px" in error
    assert error.count("\n") == 1


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("crop: 3\n", "crop: expected settings"),
        ("modle: {inputs: [primary]}\n", "did you mean model.inputs?"),
        ("model: {inputs: primary}\n", "expected a list, got primary; write [primary]"),
        ("model: [a\n", "not valid YAML"),
        ("- a\n", "expected settings, got list"),
    ],
)
def test_a_file_that_is_wrong_gets_one_line(
    text: str, expected: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a.yaml").write_text(text)
    assert main(["train", "x", "--out", str(tmp_path / "y"), f"--config={tmp_path}/a.yaml"]) == 2
    error = capsys.readouterr().err
    assert expected in error
    assert error.count("\n") == 1


@pytest.mark.parametrize(("word", "inputs"), [("primary", ["primary"]), ("primary,clinical", ["primary", "clinical"])])
def test_a_name_alone_is_a_list_of_that_name(word: str, inputs: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "x", "--out", "y", f"--model.inputs={word}", "--print_config"]) == 0
    assert yaml.safe_load(capsys.readouterr().out)["model"]["inputs"] == inputs


def test_base_yaml_holds_every_default_and_its_help(capsys: pytest.CaptureFixture[str]) -> None:
    text = find_config("base.yaml").read_text(encoding="utf-8")
    assert text == defaults_as_yaml(Settings()), "make it anew: python -m mammo_aln.settings.shipped"
    assert settings_from(Settings, yaml.safe_load(text), "base.yaml") == Settings()
    assert main(["train", "x", "--out", "y", "--print_config"]) == 0
    printed = yaml.safe_load(capsys.readouterr().out)
    assert yaml.safe_load(text) == {name: printed[name] for name in yaml.safe_load(text)}
    assert "# peak learning rate." in text


@pytest.mark.parametrize("verb", ["train", "sweep"])
def test_a_configuration_that_went_is_told_where_its_settings_went(
    verb: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = str(tmp_path / "out")
    words = {
        "train": ["train", "x", "--out", out, "--config", "configs/gpu.yaml"],
        "sweep": ["sweep", "configs/gpu.yaml", "--cohort", "x", "--out", out],
    }
    assert main(words[verb]) == 2
    error = capsys.readouterr().err
    assert "configs/gpu.yaml is gone: the defaults trainer.precision=auto" in error
    assert error.count("\n") == 1


def test_later_config_wins_and_flags_win_over_files(tmp_path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a.yaml").write_text("crop: {size_px: 64, margin: 0.1}\nseed: 5\n")
    (tmp_path / "b.yaml").write_text("crop: {size_px: 96}\n")
    words = [
        "train",
        "x",
        "--out",
        "y",
        f"--config={tmp_path}/a.yaml",
        "--config",
        f"{tmp_path}/b.yaml",
        "--seed=7",
        "--print_config",
    ]
    assert main(words) == 0
    printed = capsys.readouterr().out
    assert "size_px: 96" in printed
    assert "margin: 0.1" in printed
    assert "seed: 7" in printed


def test_shipped_configurations_are_accepted(capsys: pytest.CaptureFixture[str]) -> None:
    from mammo_aln.settings.shipped import CONFIG_FOLDERS

    folder = next(folder for folder in CONFIG_FOLDERS if folder.is_dir())
    names = [path.relative_to(folder) for path in folder.rglob("*.yaml") if "sweeps" not in path.parts]
    assert len(names) >= 11
    for name in names:
        verb = ["radiomics", "extract"] if "radiomics" in name.parts else ["train"]
        assert main([*verb, "x", "--out", "y", "--config", str(name), "--print_config"]) == 0, name
        capsys.readouterr()


def test_a_reader_that_leaves_early_is_no_error() -> None:
    for words in ("", "train --help", "completion bash"):
        command = f"set -o pipefail; {sys.executable} -m mammo_aln {words} | head -n 1"
        done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr, done.stdout.count("\n")) == (0, "", 1)
    # the pipe is closed before the first word
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w") as gone:
        closed = subprocess.run([sys.executable, "-m", "mammo_aln"], stdout=gone, stderr=subprocess.PIPE, check=False)
    assert (closed.returncode, closed.stderr) == (0, b"")


@pytest.mark.parametrize(("word", "meant"), [("trian", "train"), ("radomics", "radiomics"), ("evalute", "evaluate")])
def test_an_unknown_verb_is_told_what_was_meant(word: str, meant: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([word]) == 2
    assert capsys.readouterr().err == f"mammo-aln: unknown verb {word!r}; did you mean {meant}?\n"


def test_an_unknown_action_is_told_what_was_meant(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["radiomics", "fti"]) == 2
    assert capsys.readouterr().err == "mammo-aln radiomics: unknown action 'fti'; did you mean fit?\n"


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (
            ["sweep", "colect", "--out", "S2"],
            "unknown action 'colect'; did you mean collect? (nor is it a file for `sweep run`)",
        ),
        (["sweep", "statsu"], "unknown action 'statsu'; did you mean status?"),
        (["sweep", "nonsense"], "unknown action 'nonsense'; known: run, write, work, status,"),
        (["radiomics", "nonsense"], "unknown action 'nonsense'; known: extract, fit"),
        (["sweep", "nonsense.yaml", "--cohort", "C", "--out", "O"], "nonsense.yaml: no such file"),
    ],
)
def test_a_misspelt_action_is_not_taken_for_a_file(
    words: list[str], expected: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """`sweep FILE` means `sweep run FILE`."""
    assert main(words) == 2
    assert expected in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["tr"], {"train"}),
        (["sweep", "st"], {"status"}),
        (["sweep", "status", "--o"], {"--out="}),
        (["radiomics", "fit", "c", "--fit.classif"], {"--fit.classifier="}),
        (["train", "c", "--crop.size_"], {"--crop.size_px=", "--crop.size_mm="}),
        (["train", "c", "--crop.strategy", "=", "fi"], {"fixed_5cm"}),
        (["train", "c", "--trainer.accelerator", "="], {"auto", "cpu", "gpu"}),
        (["phantom", "--modality", "mr"], {"mri"}),
        (["train", "c", "--model.inputs=cl"], {"--model.inputs=clinical"}),  # as zsh, which does not cut at =, asks
        (["train", "some_"], set()),  # a file's name
    ],
)
def test_bash_completes_verbs_flags_and_choices(words: list[str], expected: set[str], tmp_path: Path) -> None:
    script = tmp_path / "completion.bash"
    script.write_text(run("completion", "bash").stdout)
    ask = f"source {script}; complete -p mammo-aln >&2; COMP_WORDS=(mammo-aln {' '.join(words)})\n"
    ask += f"COMP_CWORD={len(words)}; _mammo_aln; printf '%s\\n' \"${{COMPREPLY[@]}}\""
    done = subprocess.run(["bash", "-c", ask], capture_output=True, text=True, check=True)
    assert "complete -o default -F _mammo_aln mammo-aln" in done.stderr
    assert set(done.stdout.split()) == expected


def test_a_misspelt_flag_is_called_a_flag(capsys):
    assert main(["--verzion"]) == 2
    assert capsys.readouterr().err == "mammo-aln: unknown flag '--verzion'; did you mean --version?\n"


@pytest.mark.parametrize("own", [{}, {"PYTORCH_ALLOC_CONF": "backend:native"}, {"PYTORCH_CUDA_ALLOC_CONF": ""}])
def test_gpu_memory_grows_in_segments_unless_the_user_has_said_how(own: dict[str, str]) -> None:
    code = "import torch; from mammo_aln.cli import main; main(['--version'])\n"
    code += "print(getattr(torch._C, '_accelerator_getAllocatorSettings', lambda: 'not to be read')())"
    clean = {name: value for name, value in os.environ.items() if "ALLOC_CONF" not in name}
    words = [sys.executable, "-c", code]
    done = subprocess.run(words, env={**clean, **own}, capture_output=True, text=True, check=True)
    told = done.stdout.split("\n")[1]
    if told == "not to be read":
        pytest.skip("this torch does not tell its allocator's settings: 2.10 and older")
    assert told == next(iter(own.values()), "expandable_segments:True")


@pytest.mark.parametrize("verb", ["train", "pretrain", "crop", "sweep run", "sweep", "sweep write", "sweep work"])
@pytest.mark.parametrize("name", ["SIGTERM", "SIGUSR1", "SIGUSR2"])
def test_a_schedulers_signal_before_training_begins_asks_to_be_started_again(
    verb: str, name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    number = signal.Signals[name]
    before = signal.getsignal(number)

    def signalled(*_: object) -> int:
        os.kill(os.getpid(), number)
        return 0

    monkeypatch.setattr("mammo_aln.cli._run", signalled)
    assert main([*verb.split(), "x.yaml"]) == 75
    assert f"stopped by {name}; the same command goes on" in capsys.readouterr().err
    assert signal.getsignal(number) is before


def test_a_forked_worker_is_ended_by_the_signal_that_it_inherits_a_handler_for() -> None:
    with requeued():
        child = os.fork()
        if child == 0:
            try:
                os.kill(os.getpid(), signal.SIGTERM)
            finally:
                os._exit(0)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGTERM
