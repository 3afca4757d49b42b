"""Pages of a sweep: named, linked, sorted by a click, read on a telephone; tables of the choice as files."""

from __future__ import annotations

import csv
import html
import json
import re
import shlex
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mammo_aln.errors import InputError
from mammo_aln.evaluation.report import multiples
from mammo_aln.evaluation.report.multiples import height, points_of
from mammo_aln.sweeps.choosing.configurations import configurations, epoch_choice, factors, rank_configurations
from mammo_aln.sweeps.choosing.page import choice_page, predict_command, write_choice
from mammo_aln.sweeps.choosing.tables import choice_tables, limits, write_tables
from mammo_aln.sweeps.choosing.words import Chosen, describe
from mammo_aln.sweeps.plan import Plan
from mammo_aln.sweeps.reports import reports_of
from mammo_aln.sweeps.standing.board import write_board
from mammo_aln.sweeps.standing.curves import curves_of
from mammo_aln.sweeps.standing.pages import head_of
from mammo_aln.sweeps.standing.table import read_rows, write_cells
from tests.support.browser import CHROMIUM, dom_of, measured
from tests.support.simulated_sweep import EPOCHS, simulated_sweep

needs_browser = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")


@pytest.fixture(scope="module")
def sweep(tmp_path_factory: pytest.TempPathFactory) -> tuple[Plan, Chosen]:
    """Twelve configurations of two seeds, of which three are not completed, with all pages written."""
    plan = simulated_sweep(tmp_path_factory.mktemp("sweeps") / "crop_x_net", unfinished=5)
    rows = read_rows(plan)
    write_cells(plan, rows)
    every = configurations(rows)
    complete = [configuration for configuration in every if configuration.is_complete]
    ranking = rank_configurations(complete, 200)
    about = (epoch_choice(complete[ranking.best]), factors(complete, ranking, 200), len(every), 200)
    choice = describe(complete, ranking, *about)
    write_choice(plan, choice, rows)
    write_board(plan, rows, live=False)
    return plan, choice


@pytest.mark.parametrize("page", ["choice.html", "board.html"])
def test_a_page_names_its_sweep_and_cohort_and_its_links_lead_somewhere(sweep: tuple[Plan, Chosen], page: str) -> None:
    text = (sweep[0].out / page).read_text()
    assert re.search("<title>.*crop_x_net", text)
    assert "<b>crop_x_net</b> of cohort <b>cohort</b> (0123456789ab), planned 2026-11-28" in text
    links = [link for link in re.findall(r'href="([^"]*)"', text) if not link.startswith("data:")]
    assert len(links) > 10
    for link in links:
        target = f'id="{link[1:]}"' in text if link.startswith("#") else (sweep[0].out / link).exists()
        assert target, link


def test_a_table_as_csv_holds_every_digit_of_the_choice(sweep: tuple[Plan, Chosen]) -> None:
    plan, choice = sweep
    stored = json.loads((plan.out / "choice.json").read_text())
    with (plan.out / "choice" / "configurations.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert [float(row["val_auc"]) for row in rows] == [one["val_auc"] for one in stored["configurations"]]
    assert rows[1]["crop.strategy"] == choice.configurations[1].settings["crop.strategy"]
    assert float(rows[1]["against_best_p"]) == stored["configurations"][1]["against_best"]["p"]
    with (plan.out / "choice" / "factors.csv").open() as stream:
        sizes = [row["sd"] for row in csv.DictReader(stream)]
    assert [float(sd) if sd else None for sd in sizes] == [one["sd"] for one in stored["factors"]["components"]]


def test_markdown_latex_and_page_show_the_same_cells(sweep: tuple[Plan, Chosen]) -> None:
    plan, choice = sweep
    page = html.unescape((plan.out / "choice.html").read_text()).replace("\u200b", "")
    names = [table.name for table in choice_tables(choice)]
    assert names == ["configurations", "factors", "marginal_means"]
    for table in choice_tables(choice):
        lines = (plan.out / "choice" / f"{table.name}.md").read_text().splitlines()
        cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[: 2 + len(table.rows)]]
        assert cells[0] == table.columns
        assert cells[2:] == [row.cells for row in table.rows]
        latex = (plan.out / "choice" / f"{table.name}.tex").read_text()
        body = [line for line in latex.splitlines() if line.endswith(r"\\")]
        assert {len(re.findall(r"(?<!\\)&", line)) for line in body} == {len(table.columns) - 1}
        assert len(body) == 1 + len(table.rows)
        assert not re.search(r"(?<!\\)[_%#]", latex)
        for row in table.rows:
            assert all(f">{cell}</t" in page for cell in row.cells)


def test_tables_that_a_choice_lacks_are_not_left_from_the_former_one(
    sweep: tuple[Plan, Chosen], tmp_path: Path
) -> None:
    choice = sweep[1]
    write_tables(tmp_path, choice_tables(choice))
    (tmp_path / "notes.txt").write_text("mine")
    write_tables(tmp_path, choice_tables(replace(choice, factors=replace(choice.factors, components=[], levels=[]))))
    assert {path.name for path in tmp_path.iterdir()} == {
        *(f"configurations.{kind}" for kind in ("csv", "md", "tex")),
        "notes.txt",
    }


def test_what_is_not_known_is_a_dash_without_limits() -> None:
    assert limits(None, None, None) == "–"
    assert limits(-0.02, None, None, "+.3f") == "-0.020"
    assert limits(0.7, 0.6, 0.81234) == "0.700 (0.600 to 0.812)"


def test_curves_lie_on_one_scale(sweep: tuple[Plan, Chosen], monkeypatch: pytest.MonkeyPatch) -> None:
    rows = read_rows(sweep[0])
    drawn = curves_of(rows)
    assert (len(drawn.panels), drawn.epochs, drawn.more) == (12, EPOCHS, 0)
    assert [len(panel.lines) for panel in drawn.panels][:2] == [2, 2]
    assert drawn.panels[0].best == f"{np.mean([max(row.val_aucs) for row in rows[:2]]):.3f}"
    low = float(drawn.ticks[0][0])
    assert low <= min(min(row.val_aucs) for row in rows if row.val_aucs)
    ends = drawn.panels[0].lines[0].split()[-1]
    assert ends == f"196.0,{height(rows[0].val_aucs[-1], low)}"
    assert points_of([0.5, float("nan"), 1.0], 0.5, 3) == "22.0,94.0 196.0,6.0"
    monkeypatch.setattr(multiples, "MOST_PANELS", 5)
    assert (len(curves_of(rows).panels), curves_of(rows).more) == (5, 7)


def test_a_column_of_folds_stands_where_there_are_folds(sweep: tuple[Plan, Chosen], tmp_path: Path) -> None:
    plan, _ = sweep
    rows = read_rows(plan)
    texts = []
    for fold in (None, 1):
        of_fold = [replace(row, cell=replace(row.cell, fold=fold)) for row in rows]
        texts.append(write_board(replace(plan, out=tmp_path), of_fold, live=False).read_text())
    assert [text.count('data-label="fold"') for text in texts] == [0, len(rows)]
    assert [text.count('<th scope="col">fold</th>') for text in texts] == [0, 1]


def test_the_choice_leads_to_test_reports_and_says_whose_they_are(sweep: tuple[Plan, Chosen], tmp_path: Path) -> None:
    """Also to one of a former choice, which is not this one's."""
    plan, choice = sweep
    own, other = ({"a": choice.model_id}, {"b": "0" * 12})
    for folder, models in (("test", other), ("test-2", own), ("test-3", own | other), ("test-4", None)):
        (tmp_path / folder).mkdir()
        if models is not None:
            about = {"models": models, "page": "report.html", "time": f"2026-11-2{len(folder)}"}
            (tmp_path / folder / "opened.json").write_text(json.dumps(about))
    reports = reports_of(tmp_path)
    assert [report.address for report in reports] == ["test/report.html", "test-2/report.html", "test-3/report.html"]
    page = html.unescape(choice_page(choice, head_of(plan), curves_of([]), reports, predict_command(plan, choice)))
    shown = re.findall(r'<a href="(test[^"]*)">[^<]*</a>, [^:]*: ([^<]*)</p>', page)
    assert shown == [
        ("test-3/report.html", "2 models, the chosen configuration among them"),
        ("test-2/report.html", "the chosen configuration"),
        ("test/report.html", "another configuration than the chosen one, by a former choice"),
    ]
    words = shlex.split(predict_command(plan, choice))
    assert [Path(word).name for word in words[3 : 3 + len(choice.chosen_runs)]] == choice.chosen_runs
    assert "This sweep has opened no test split." in choice_page(choice, head_of(plan), curves_of([]))
    (tmp_path / "test" / "opened.json").write_text("[]")
    with pytest.raises(InputError, match=r"opened\.json: expected a JSON object"):
        reports_of(tmp_path)


def first_cells(dom: str, column: int) -> list[str]:
    """Text of a column of the first sortable table."""
    body = re.search(r"<table class=\"stacked sortable\">.*?<tbody>(.*?)</tbody>", dom, re.S)
    assert body
    rows = re.findall(r"<tr[ >].*?</tr>", body.group(1), re.S)
    return [re.sub("<.*?>", "", re.findall(r"<t[hd].*?</t[hd]>", row, re.S)[column]) for row in rows]


@needs_browser
def test_a_kept_sorting_is_there_after_a_reload(sweep: tuple[Plan, Chosen], tmp_path: Path) -> None:
    """The script runs under the page's policy; what is not known stays last in both directions."""
    page = (sweep[0].out / "board.html").as_uri()
    dom, said = dom_of(f"{page}#sort=0.4.1", tmp_path)
    assert "CONSOLE" not in said
    aucs = [text.split()[0] for text in first_cells(dom, 4)]
    known = [float(auc) for auc in aucs if auc != "–"]
    assert len(known) == 19
    assert known == sorted(known)
    assert aucs[19:] == ["–"] * 5
    assert 'aria-sort="ascending"' in dom
    downwards, _ = dom_of(f"{page}#sort=0.4.-1", tmp_path)
    assert [text.split()[0] for text in first_cells(downwards, 4)][:19] == aucs[:19][::-1]


@needs_browser
def test_a_telephone_shows_state_and_auc_first_and_nothing_beyond_its_edge(
    sweep: tuple[Plan, Chosen], tmp_path: Path
) -> None:
    pages = [sweep[0].out / name for name in ("board.html", "choice.html")]
    frames = "".join(
        f'<iframe width="390" height="900" srcdoc="{html.escape(page.read_text())}"></iframe>' for page in pages
    )
    script = """
    const out = [...document.querySelectorAll('iframe')].map(frame => {
      const page = frame.contentDocument, top = element => element.getBoundingClientRect();
      const wide = [...page.querySelectorAll('body *')].filter(e => top(e).right > 391 && !e.closest('.map'));
      const row = page.querySelector('.stacked tbody tr'), cells = [...row.cells];
      cells.sort((a, b) => top(a).top - top(b).top || top(a).left - top(b).left);
      const scroll = page.documentElement.scrollWidth;
      return {wide: wide.length, scroll, first: cells.slice(0, 3).map(cell => cell.textContent)};
    });
    document.body.innerHTML = '<pre id=result>' + JSON.stringify(out) + '</pre>';
    """
    (board, choice), _ = measured(frames, script, tmp_path)
    for page in (board, choice):
        assert page["wide"] == 0
        assert page["scroll"] <= 390
    assert board["first"][0] == "completed"
    assert re.match(r"0\.\d{3} \(", board["first"][1])
    assert re.match(r"0\.\d{3}$", choice["first"][1])
