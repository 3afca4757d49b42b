"""`fetch` against a real Orthanc, with and without the faults of networks, proxies and log-in pages between them."""

from __future__ import annotations

import json
import os
import shutil
import signal
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pydicom
import pytest

from mammo_aln.cli import main
from mammo_aln.cohort.fetch.ledger import opened
from mammo_aln.cohort.fetch.queries import Query, read_queries
from mammo_aln.dicom.web.multipart import AnswerCutOff, UnexpectedAnswer, dicom_file
from mammo_aln.dicom.web.received import ReceivedFile, read_received
from mammo_aln.errors import InputError, UnreadableDicom
from tests.support.dicom_writer import mammogram, save
from tests.support.faulty_proxy import Fault, Plan, faulty_proxy
from tests.support.orthanc import PASSWORD, USER, Orthanc, free_port, running_orthanc

VARIABLES = ("MAMMO_ALN_PACS_USER", "MAMMO_ALN_PACS_PASSWORD", "MAMMO_ALN_PACS_TOKEN")
STUDY, OTHER_STUDY = "1.2.826.0.1.9.1", "1.2.826.0.1.9.2"
SMALL = ["--crop.size_px=32", "--crop.strategy=whole_breast", "--crop.auxiliary=[]"]


@pytest.fixture(autouse=True)
def surroundings(monkeypatch, tmp_path):
    """No log-in, no netrc and no proxy of whoever runs the tests; no pause between tries."""
    for name in (*VARIABLES, "HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("NETRC", str(tmp_path / "no_netrc"))
    monkeypatch.setattr("mammo_aln.dicom.web.server.FIRST_PAUSE_S", 0.01)


@pytest.fixture(scope="module")
def images(phantom) -> list[Path]:
    """Twenty images of several patients."""
    return sorted((phantom / "dicom").rglob("*.dcm"))[:20]


@pytest.fixture(scope="module")
def pacs(tmp_path_factory, images) -> Iterator[Orthanc]:
    """Twenty phantom images; one patient of two studies, with an MR series and another accession number in one."""
    folder = tmp_path_factory.mktemp("pacs")
    with running_orthanc(folder / "orthanc") as server:
        server.store(images)
        for number in range(4):
            tags = {
                "PatientID": "TWO-STUDIES",
                "SOPInstanceUID": f"1.2.826.0.1.7.{number}",
                "StudyInstanceUID": STUDY if number < 2 else OTHER_STUDY,
                "SeriesInstanceUID": f"1.2.826.0.1.8.{number}",
                "AccessionNumber": "0012" if number < 2 else "A 13",
                "Modality": "MR" if number == 3 else "MG",
            }
            save(mammogram((64, 48), **tags), folder / f"{number}.dcm")
        server.store(folder / f"{number}.dcm" for number in range(4))
        yield server


def fetch(url: str, out: Path, *words: str) -> int:
    return main(["fetch", url, "--out", str(out), *words])


def patients_of(files) -> list[str]:
    return sorted({pydicom.dcmread(file, stop_before_pixels=True).PatientID for file in files})


def by_instance(folder: Path) -> dict[str, bytes]:
    files = folder.rglob("*.dcm")
    return {pydicom.dcmread(file, stop_before_pixels=True).SOPInstanceUID: file.read_bytes() for file in files}


def entries(out: Path) -> list[str]:
    journal = out / ".fetch" / "files.jsonl"
    return journal.read_text().splitlines() if journal.is_file() else []


def test_killed_half_way_it_goes_on_and_the_crops_are_those_of_the_files(pacs, images, tmp_path):
    out, originals = tmp_path / "fetched", tmp_path / "originals"
    (tmp_path / "list.csv").write_text("\n".join(["patient", *patients_of(images)]) + "\n")
    with faulty_proxy(pacs.port, lambda path, _: Fault(delay_s=0.15) if "/instances/" in path else None) as proxy:
        command = ["fetch", proxy.url, "--out", str(out), "--list", str(tmp_path / "list.csv")]
        process = subprocess.Popen([sys.executable, "-m", "mammo_aln", *command], stderr=subprocess.DEVNULL)
        end = time.monotonic() + 60
        while len(entries(out)) < 10 and time.monotonic() < end:
            time.sleep(0.02)
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert 10 <= len(entries(out)) < 20
        whole_before = {json.loads(line)["instance"] for line in entries(out)}
        asked_before = len(proxy.asked)
        assert main(command) == 0
        asked_again = {path.rpartition("/")[2] for path in proxy.asked[asked_before:] if "/instances/" in path}
    assert not asked_again & whole_before
    assert len(asked_again | whole_before) == 20
    for number, file in enumerate(images):
        (originals / file.parent.name).mkdir(parents=True, exist_ok=True)
        shutil.copy(file, originals / file.parent.name / f"{number}.dcm")
    assert by_instance(out) == by_instance(originals)
    assert not list(out.rglob("*.part"))
    crops = {}
    for folder in (out, originals):
        cohort = tmp_path / f"{folder.name}_cohort"
        assert main(["index", str(folder), "--out", str(cohort)]) == 0
        names = pd.read_csv(cohort / "images.csv")["patient_id"].unique()
        patients = pd.DataFrame({"patient_id": names, "side": "L", "center": "A", "aln_status": 1})
        patients.to_csv(cohort / "patients.csv", index=False)
        assert main(["crop", str(cohort), "--export", str(cohort / "npy"), *SMALL]) == 0
        listed = {file.stem.split("_")[0] for file in (cohort / "npy").glob("*.npy")}
        assert listed
        crops[folder.name] = sorted(file.read_bytes() for file in (cohort / "npy").rglob("*.npy"))
    assert crops["fetched"] == crops["originals"]
    assert len(set(pd.read_csv(tmp_path / "fetched_cohort/images.csv")["patient_id"])) == len(patients_of(images))


def test_studies_accessions_and_patients_choose_what_is_fetched(pacs, tmp_path, capsys):
    expected = {
        ("--study", STUDY): {0, 1},
        ("--accession", "0012"): {0, 1},
        ("--accession", "A 13"): {2},
        ("--patient", "TWO-STUDIES"): {0, 1, 2},
        ("--patient", "TWO-STUDIES", "--modality", "MR"): {3},
        ("--study", STUDY, "--study", OTHER_STUDY, "--modality", "MR", "--modality", "MG"): {0, 1, 2, 3},
    }
    for number, (words, instances) in enumerate(expected.items()):
        out = tmp_path / str(number)
        code = fetch(pacs.url, out, *words)
        assert set(by_instance(out)) == {f"1.2.826.0.1.7.{instance}" for instance in instances}, words
        # One of the patient's two studies has no MR: that is told.
        lacking = words[-1] == "MR" and words[0] == "--patient"
        assert code == int(lacking)
    err = capsys.readouterr().err
    assert f"study {STUDY}: no series of MR (it has: MG)" in err
    # One patient's files lie in one folder, so that `index` takes them for one patient.
    assert len([path for path in (tmp_path / "3").iterdir() if path.name != ".fetch"]) == 1
    names = " ".join(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*"))
    assert "TWO-STUDIES" not in names
    assert STUDY not in names


def test_what_is_not_there_is_named(pacs, tmp_path, capsys):
    assert fetch(pacs.url, tmp_path / "a", "--accession", "nowhere") == 2
    err = capsys.readouterr().err
    assert "nothing to fetch" in err
    assert "no study with AccessionNumber nowhere" in err
    assert fetch(pacs.url, tmp_path / "b", "--accession", "nowhere", "0012") == 1
    err = capsys.readouterr().err
    assert "not everything came (1)" in err
    assert "2 fetched" in err
    assert len(by_instance(tmp_path / "b")) == 2


def planned(pacs: Orthanc, tmp_path: Path, plan: Plan, *words: str) -> tuple[int, list[str]]:
    with faulty_proxy(pacs.port, plan) as proxy:
        return fetch(proxy.url, tmp_path / "out", "--study", STUDY, *words), proxy.retrieved()


def at_instance(fault: Fault, times: int = 99) -> Plan:
    return lambda path, asked: fault if path.endswith("/1.2.826.0.1.7.0") and asked < times else None


def at_search(fault: Fault, times: int = 99) -> Plan:
    return lambda path, asked: fault if path.split("?")[0].endswith("/studies") and asked < times else None


@pytest.mark.parametrize("plan_of", [at_instance, at_search])
@pytest.mark.parametrize("fault", [Fault(status=503), Fault(status=429, headers=(("Retry-After", "0"),)),
                                   Fault(reset=True), Fault(keep_bytes=300)])  # fmt: skip
def test_passing_faults_are_tried_again(pacs, tmp_path, capsys, monkeypatch, plan_of, fault):
    monkeypatch.setattr("mammo_aln.dicom.web.server.BLOCK_BYTES", 16)  # so that some of a cut answer is written
    code, _ = planned(pacs, tmp_path, plan_of(fault, times=2))
    assert code == 0
    assert len(by_instance(tmp_path / "out")) == 2
    assert "try 3 of 5" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (Fault(status=404), "the server lists it and does not hold it (404)"),
        (Fault(status=406), "no acceptable transfer syntax (406)"),
        (Fault(status=403), "may not have it (403)"),
        (Fault(status=500), "the server answers 500"),
        (Fault(body=b"<html>log in</html>"), "a web page came instead of a DICOM file"),
        (Fault(body=b"no DICOM", content_type="application/dicom"), "what came"),
        (Fault(body=b"--b\r\n\r\n\r\n--b--", content_type="multipart/related; boundary=b"), "what came"),
        (Fault(reset=True), "the connection was lost in each try"),
        (Fault(keep_bytes=400), "the connection was lost in each try"),
        (
            Fault(body=b"no gzip", headers=(("Content-Encoding", "gzip"),), content_type="application/dicom"),
            "the connection was lost in each try",
        ),
        (Fault(body=b"--b--", content_type="multipart/related; boundary=b"), "without any file"),
        (Fault(change=lambda body: body.replace(b"1.2.826.0.1.7.0", b"1.2.826.0.1.7.1")), "another instance came"),
    ],
)
def test_an_instance_that_does_not_come_whole_is_refused_and_the_others_come(pacs, tmp_path, capsys, fault, words):
    code, _ = planned(pacs, tmp_path, at_instance(fault), "--tries", "2")
    err = capsys.readouterr().err
    assert code == 1
    assert words in err
    assert "1 fetched" in err
    assert "1 refused" in err
    assert set(by_instance(tmp_path / "out")) == {"1.2.826.0.1.7.1"}
    # The same command fetches what is lacking, and nothing else.
    code, retrieved = planned(pacs, tmp_path, lambda path, asked: None)
    assert (code, retrieved) == (0, ["1.2.826.0.1.7.0"])


def test_a_file_cut_short_by_the_server_is_no_file(pacs, tmp_path, capsys):
    """The answer is a sound one, with its closing boundary; the file in it lacks its end."""

    def shorten(body: bytes) -> bytes:
        at = body.rindex(b"\r\n--")
        return body[: at - 200] + body[at:]

    code, _ = planned(pacs, tmp_path, at_instance(Fault(change=shorten)))
    assert code == 1
    assert "cut off" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("plan", "words"),
    [
        (at_search(Fault(status=401)), "a log-in is needed (401): set MAMMO_ALN_PACS_USER"),
        (at_search(Fault(status=403)), "may not search here (403)"),
        (at_search(Fault(status=404)), "there is no DICOMweb service (404)"),
        (at_search(Fault(body=b"<html>Please log in</html>")), "no DICOMweb server answers here"),
        (at_search(Fault(body=b'{"version": 1}', content_type="application/json")), "no DICOMweb server answers"),
        (at_search(Fault(body=b'["x"]', content_type="application/json")), "no DICOMweb server answers here"),
        (at_search(Fault(status=503)), "the server answers 503"),
        (at_search(Fault(reset=True)), "cannot be reached in 2 tries"),
        (at_instance(Fault(status=401)), "a log-in is needed (401)"),
        (lambda path, _: Fault(reset=True) if "/instances/" in path else None, "cannot be reached in 2 tries"),
    ],
)
def test_a_server_that_refuses_is_told_in_one_message(pacs, tmp_path, capsys, plan, words):
    code, _ = planned(pacs, tmp_path, plan, "--tries", "2")
    err = capsys.readouterr().err
    assert code == 2
    assert words in err
    assert "Traceback" not in err


def test_nobody_listens(tmp_path, capsys):
    started = time.monotonic()
    assert fetch(f"http://127.0.0.1:{free_port()}/dicom-web", tmp_path / "out", "--study", STUDY) == 2
    assert "cannot be reached (Connection refused)" in capsys.readouterr().err
    assert time.monotonic() - started < 5
    assert not (tmp_path / "out").exists()


@pytest.mark.filterwarnings("ignore")
def test_only_a_certificate_is_called_a_certificate(pacs, tmp_path, capsys):
    assert fetch(pacs.url.replace("http:", "https:"), tmp_path / "out", "--study", STUDY, "--tries", "2") == 2
    err = capsys.readouterr().err
    assert "cannot be reached in 2 tries" in err
    assert "certificate" not in err
    context, certificate = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), tmp_path / "own.pem"
    words = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=localhost"]
    files = ["-keyout", str(certificate), "-out", str(tmp_path / "crt.pem")]
    subprocess.run([*words, *files], check=True, capture_output=True)
    context.load_cert_chain(tmp_path / "crt.pem", certificate)
    with faulty_proxy(pacs.port, lambda path, _: None, context) as proxy:
        url = proxy.url.replace("http:", "https:")
        assert fetch(url, tmp_path / "out", "--study", STUDY) == 2
    assert "certificate is not trusted" in capsys.readouterr().err


def test_a_token_does_not_follow_to_another_host(pacs, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("MAMMO_ALN_PACS_TOKEN", "the-token")
    with faulty_proxy(pacs.port, lambda path, _: Fault(body=b"<html>log in</html>")) as page:
        there = (("Location", f"http://localhost:{page.port}/log-in"),)
        code, _ = planned(pacs, tmp_path, at_search(Fault(status=302, headers=there)))
    assert code == 2
    assert "no DICOMweb server answers here" in capsys.readouterr().err
    assert page.authorizations == {""}


def test_a_server_that_lists_less_than_it_says_is_told(pacs, tmp_path, capsys):
    def fewer(body: bytes) -> bytes:
        return json.dumps(json.loads(body)[:1]).encode()

    def plan(path: str, asked: int) -> Fault | None:
        return Fault(change=fewer) if path.split("?")[0].endswith(f"{STUDY}/series") and "offset=0" in path else None

    def then_nothing(path: str, asked: int) -> Fault | None:
        is_next = path.split("?")[0].endswith(f"{STUDY}/series") and "offset=0" not in path
        return Fault(change=lambda _: b"[]") if is_next else plan(path, asked)

    code, _ = planned(pacs, tmp_path, then_nothing)
    assert code == 1
    assert "the server says 2 series and lists 1" in capsys.readouterr().err


def test_a_server_that_answers_in_pages_is_asked_for_all_of_them(pacs, tmp_path):
    def plan(path: str, asked: int) -> Fault | None:
        if not path.split("?")[0].endswith("/series"):
            return None
        offset = int(path.split("offset=")[1].split("&")[0])
        return Fault(change=lambda body: json.dumps(json.loads(body)[:1]).encode() if offset < 2 else b"[]")

    code, _ = planned(pacs, tmp_path, plan)
    assert code == 0
    assert len(by_instance(tmp_path / "out")) == 2


def test_a_server_that_does_not_search_by_what_was_asked_is_refused(pacs, tmp_path, capsys):
    everything = pacs.ask("/dicom-web/studies")
    code, retrieved = planned(pacs, tmp_path, at_search(Fault(body=everything, content_type="application/dicom+json")))
    assert (code, retrieved) == (2, [])
    assert "does not search by it" in capsys.readouterr().err


def test_changed_and_removed_files_come_anew_and_touched_ones_do_not(pacs, tmp_path, capsys):
    out = tmp_path / "out"
    words = ("--patient", "TWO-STUDIES")
    assert fetch(pacs.url, out, *words) == 0
    before = by_instance(out)
    first, second, third = sorted(out.rglob("*.dcm"))
    first.write_bytes(first.read_bytes()[:-1] + b"\xff")
    second.unlink()
    os.utime(third, ns=(1, 1))
    with (out / ".fetch/files.jsonl").open("a") as journal:
        journal.write('{"instance": "1.2')  # as a kill leaves it
    capsys.readouterr()
    assert fetch(pacs.url, out, *words) == 0
    err = capsys.readouterr().err
    assert "1 files are not as they were fetched" in err
    assert "2 fetched" in err
    assert "1 already there" in err
    assert by_instance(out) == before


def test_log_ins_come_from_the_environment_or_netrc_and_are_never_shown(tmp_path, images, monkeypatch, capsys):
    netrc = tmp_path / "netrc"
    with running_orthanc(tmp_path / "orthanc", log_in=True) as server:
        words = (server.url, tmp_path / "out", "--patient", "x")
        assert fetch(*words) == 2
        assert "a log-in is needed (401)" in capsys.readouterr().err
        monkeypatch.setenv("MAMMO_ALN_PACS_USER", USER)
        assert fetch(*words) == 2
        assert "MAMMO_ALN_PACS_PASSWORD is not set" in capsys.readouterr().err
        monkeypatch.setenv("MAMMO_ALN_PACS_PASSWORD", "wrong-secret")
        assert fetch(*words) == 2
        err = capsys.readouterr().err
        assert "the log-in is refused (401)" in err
        assert "wrong-secret" not in err
        monkeypatch.setenv("MAMMO_ALN_PACS_PASSWORD", PASSWORD)
        assert fetch(*words) == 2
        assert "no study with PatientID x" in capsys.readouterr().err
        monkeypatch.setenv("MAMMO_ALN_PACS_TOKEN", "token")
        assert fetch(*words) == 2
        assert "MAMMO_ALN_PACS_TOKEN is set beside" in capsys.readouterr().err
        for name in VARIABLES:
            monkeypatch.delenv(name)
        netrc.write_text(f'machine 127.0.0.1 login {USER} password "{PASSWORD}"\n', encoding="utf-8")
        monkeypatch.setenv("NETRC", str(netrc))
        monkeypatch.setenv("MAMMO_ALN_PACS_TOKEN", "the-token")
        with faulty_proxy(server.port, lambda path, _: Fault(status=401)) as proxy:
            assert fetch(proxy.url, tmp_path / "out", "--study", STUDY) == 2
            assert proxy.authorizations == {"Bearer the-token"}
        assert "the-token" not in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["http://user:secret@127.0.0.1/dicom-web", "--study", STUDY], "holds a user or a password"),
        (["user:secret@127.0.0.1/dicom-web", "--study", STUDY], "127.0.0.1/dicom-web: expected the address"),
        (["https://user:secret/@127.0.0.1/x", "--study", STUDY], "127.0.0.1/x: expected the address"),
        (["https://127.0.0.1:99999/?token=secret", "--study", STUDY], "expected the address of a DICOMweb service"),
        (["https://127.0.0.1/?token=secret", "--study", STUDY], "expected the address of a DICOMweb service alone"),
        (["ftp://127.0.0.1/dicom-web", "--study", STUDY], "expected the address of a DICOMweb service"),
        (["http://127.0.0.1:1/dicom-web"], "nothing is asked for"),
        (["http://127.0.0.1:1/dicom-web", "--study", "1.2.*"], "one exact value"),
        (["http://127.0.0.1:1/dicom-web", "--study", "abc"], "expected a UID"),
        (["http://127.0.0.1:1/dicom-web", "--patient", ""], "expected a value"),
        (["http://127.0.0.1:1/dicom-web", "--patient", "x", "--modality", "M*"], "expected words of DICOM"),
        (["http://127.0.0.1:1/dicom-web", "--list", "nowhere.csv"], "no such file"),
    ],
)
def test_what_cannot_be_asked_is_refused_before_any_connection(tmp_path, capsys, words, message):
    assert main(["fetch", *words, "--out", str(tmp_path / "out")]) == 2
    err = capsys.readouterr().err
    assert message in err
    assert "secret" not in err
    assert not (tmp_path / "out").exists()


def test_two_fetches_do_not_write_to_one_folder(pacs, tmp_path, capsys):
    out = tmp_path / "out"
    with opened(out):
        assert fetch(pacs.url, out, "--study", STUDY) == 2
    assert "another fetch writes to this folder" in capsys.readouterr().err


def test_names_differ_between_folders_and_a_placeholder_is_nobody(tmp_path):
    def kept_as(folder: str, patient: str, study: str) -> Path:
        with opened(tmp_path / folder) as ledger:
            unfinished = ledger.incoming / "1.part"
            unfinished.write_bytes(b"x")
            return Path(ledger.keep(unfinished, ReceivedFile(f"{study}.1", study, "1.2.8", patient, "")).path)

    assert kept_as("a", "P7", "1.2.3") == kept_as("a", "P7", "1.2.3") != kept_as("b", "P7", "1.2.3")
    assert kept_as("a", "P7", "1.2.4").parts[0] == kept_as("a", "P7", "1.2.3").parts[0]
    assert kept_as("a", "removed", "1.2.4").parts[0] != kept_as("a", "removed", "1.2.3").parts[0]


@pytest.mark.parametrize(
    ("text", "queries"),
    [
        ("Patient ID,Accession_Number\nA1,\nA2,007\n", ["PatientID A1", "PatientID A2", "AccessionNumber 007"]),
        ("StudyInstanceUID\n1.2.840.1.1\n", ["StudyInstanceUID 1.2.840.1.1"]),
        ("1.2.840.10008.1\n1.2.840.10008.2\n", [f"StudyInstanceUID 1.2.840.10008.{number}" for number in (1, 2)]),
        ("\ufeffpatient\n 007 \n007\n", ["PatientID 007"]),
    ],
)  # fmt: skip
def test_lists_are_read(tmp_path, text, queries):
    (tmp_path / "list.csv").write_text(text, encoding="utf-8")
    assert read_queries((), (), (), tmp_path / "list.csv") == [Query(*query.split()) for query in queries]


@pytest.mark.parametrize("text", ["A1\nA2\n", "name\nA1\n", "study\nA1\n", "patient\nA*\n"])
def test_lists_of_unclear_meaning_are_refused(tmp_path, text):
    (tmp_path / "list.csv").write_text(text)
    with pytest.raises(InputError, match=r"list\.csv"):
        read_queries((), (), (), tmp_path / "list.csv")


@pytest.mark.parametrize("block_bytes", [1, 2, 3, 7, 64, 10_000])
def test_multipart_answers_are_taken_apart_whatever_the_blocks(block_bytes):
    content = np.random.default_rng(0).bytes(500) + b"\r\n--boundar\r\n--boundary"[:11]
    body = b"preamble\r\n--boundary\r\nContent-Type: application/dicom\r\n\r\n" + content + b"\r\n--boundary--\r\n"

    def blocks(data: bytes) -> Iterator[bytes]:
        return (data[at : at + block_bytes] for at in range(0, len(data), block_bytes))

    kind = 'multipart/related; type="application/dicom"; boundary="boundary"'
    assert b"".join(dicom_file(kind, blocks(body))) == content
    with pytest.raises(AnswerCutOff):
        list(dicom_file(kind, blocks(body[:-6])))
    two = body.replace(b"--boundary--", b"--boundary\r\n\r\nmore\r\n--boundary--")
    with pytest.raises(UnexpectedAnswer, match="several files"):
        list(dicom_file(kind, blocks(two)))


def test_every_cut_of_a_file_is_seen(tmp_path, shared):
    tags = {"StudyInstanceUID": STUDY, "SeriesInstanceUID": "1.2.3.4"}
    save(mammogram((40, 30), **tags), tmp_path / "whole.dcm")
    compressed = shared / "data/decode/JPEG2000-embedded-sequence-delimiter.dcm"
    for whole in (tmp_path / "whole.dcm", compressed):
        data = whole.read_bytes()
        read_received(whole)
        for size in range(140, len(data) - 1, max(1, len(data) // 97)):
            (tmp_path / "cut.dcm").write_bytes(data[:size])
            with pytest.raises(UnreadableDicom):
                read_received(tmp_path / "cut.dcm")
