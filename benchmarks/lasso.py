"""The package's LASSO path against scikit-learn's solvers, at equal accuracy."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, log_expit
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression, enet_path
from threadpoolctl import threadpool_limits

from benchmarks.page import Section, table
from benchmarks.rounds import clocked, in_turn
from mammo_aln.radiomics.signatures.lasso import default_ladder, largest_penalty, lasso_path

Floats = NDArray[np.float64]
Solutions = list[tuple[float, Floats]]
N, P, STEPS, LOWEST = 144, 2000, 40, 0.03
OBJECTIVE, KKT = 1e-6, 1e-5
LIMIT_S = 60.0
"""A path that takes longer is given up."""


@dataclass(frozen=True)
class Question:
    """Standardised features, outcomes 0 and 1, decreasing penalties."""

    x: Floats
    y: Floats
    penalties: Floats

    def objective(self, penalty: float, intercept: float, beta: Floats) -> float:
        eta = self.x @ beta + intercept
        return -float(np.mean(log_expit(np.where(self.y == 1.0, eta, -eta)))) + penalty * float(np.abs(beta).sum())

    def violation(self, penalty: float, intercept: float, beta: Floats) -> float:
        """Largest violation of the conditions of optimality, in units of the largest penalty."""
        residual = self.y - expit(self.x @ beta + intercept)
        slope = self.x.T @ residual / len(self.y)
        of_columns = np.where(
            beta == 0, np.maximum(np.abs(slope) - penalty, 0), np.abs(slope - penalty * np.sign(beta))
        )
        return max(float(of_columns.max()), abs(float(residual.mean()))) / float(self.penalties[0])


def drawn(seed: int = 0) -> Question:
    """Twenty latent factors behind 2,000 features, three of them behind the outcome."""
    rng = np.random.default_rng(seed)
    factors = rng.normal(size=(N, 20))
    features = factors @ rng.normal(size=(20, P)) / np.sqrt(20) + rng.normal(size=(N, P))
    outcome = (rng.random(N) < expit(factors[:, :3].sum(axis=1))).astype(float)
    x = (features - features.mean(axis=0)) / features.std(axis=0)
    return Question(x, outcome, default_ladder(largest_penalty(x, outcome), LOWEST, STEPS))


def of_package(question: Question, tolerance: float) -> Solutions:
    path = lasso_path(question.x, question.y, question.penalties, tolerance=tolerance)
    return list(zip(path.intercepts.tolist(), path.coefficients, strict=True))


def of_logistic_regression(solver: str, question: Question, tolerance: float) -> Solutions:
    scaling = 1e6 if solver == "liblinear" else 1.0  # liblinear penalises the intercept, this many times less
    model = LogisticRegression(
        l1_ratio=1.0, solver=solver, tol=tolerance, max_iter=100_000, warm_start=True, intercept_scaling=scaling
    )
    solutions, begun = [], time.perf_counter()
    for penalty in question.penalties:
        model.set_params(C=1.0 / (len(question.y) * penalty)).fit(question.x, question.y)
        solutions.append((float(model.intercept_[0]), model.coef_[0].copy()))
        if time.perf_counter() - begun > LIMIT_S:
            raise TimeoutError
    return solutions


def of_coordinate_descent(question: Question, tolerance: float) -> Solutions:
    """Newton's outer steps, each a weighted least-squares LASSO that scikit-learn's coordinate descent solves."""
    share = float(question.y.mean())
    beta, intercept = np.zeros(P), float(np.log(share / (1 - share)))
    solutions = []
    for penalty in question.penalties:
        for _ in range(100):
            if question.violation(penalty, intercept, beta) <= KKT:
                break
            eta = question.x @ beta + intercept
            p = expit(eta)
            weight = np.maximum(p * (1 - p), 1e-9)
            response = eta + (question.y - p) / weight
            centre, level = weight @ question.x / weight.sum(), float(weight @ response / weight.sum())
            root = np.sqrt(weight)
            columns = np.asfortranarray((question.x - centre) * root[:, None])
            target = enet_path(
                columns,
                (response - level) * root,
                l1_ratio=1.0,
                alphas=[penalty],
                coef_init=beta.copy(),
                tol=tolerance,
                max_iter=100_000,
                check_input=False,
            )[1][:, 0]
            step, rise = target - beta, level - float(centre @ target) - intercept
            height, share = question.objective(penalty, intercept, beta), 1.0
            while share > 1e-6 and question.objective(penalty, intercept + share * rise, beta + share * step) > height:
                share /= 2.0  # full steps swing to and fro where fitted probabilities near 0 and 1
            intercept, beta = intercept + share * rise, beta + share * step
        solutions.append((intercept, beta))
    return solutions


@dataclass(frozen=True)
class Rival:
    """A solver, and its tolerances from loose to tight."""

    name: str
    solve: Callable[[Question, float], Solutions]
    tolerances: tuple[float, ...]


RIVALS = (
    Rival("`radiomics.signatures.lasso` (active sets, Newton steps)", of_package, (1e-4, 1e-5, 1e-6, 1e-7)),
    Rival(
        "scikit-learn's coordinate descent (`enet_path`) in Newton's outer steps, warm-started",
        of_coordinate_descent,
        (1e-3, 1e-4, 1e-5, 1e-6, 1e-7, 1e-8, 1e-9, 1e-10),
    ),
    Rival(
        "`LogisticRegression(solver='liblinear')`",
        lambda question, tolerance: of_logistic_regression("liblinear", question, tolerance),
        (1e-3, 1e-4, 1e-5, 1e-6, 1e-7, 1e-8),
    ),
    Rival(
        "`LogisticRegression(solver='saga', warm_start=True)`",
        lambda question, tolerance: of_logistic_regression("saga", question, tolerance),
        (1e-3, 1e-4, 1e-5, 1e-6),
    ),
)


def judged(question: Question, solutions: Solutions) -> tuple[Floats, float]:
    """Objective at every penalty, and the largest violation on the path."""
    triples = [(float(penalty), *solution) for penalty, solution in zip(question.penalties, solutions, strict=True)]
    return np.array([question.objective(*triple) for triple in triples]), max(question.violation(*t) for t in triples)


@dataclass(frozen=True)
class Setting:
    """A tolerance, and what the path reaches with it: excess of the objective, violation, seconds."""

    tolerance: float
    excess: float
    violation: float
    seconds: float

    @property
    def enough(self) -> bool:
        return self.excess <= OBJECTIVE and self.violation <= KKT


def loosest(question: Question, rival: Rival, lowest: Floats) -> Setting:
    """The loosest setting that reaches both limits; where none does in time, the last one that ended."""
    for tolerance in rival.tolerances:
        begun = time.perf_counter()
        try:
            objectives, violation = judged(question, rival.solve(question, tolerance))
        except TimeoutError:
            break
        excess = max(0.0, float((objectives / lowest - 1).max()))
        setting = Setting(tolerance, excess, violation, time.perf_counter() - begun)
        if setting.enough:
            break
    return setting


def lasso(rounds: int = 3) -> Section:
    """Seconds of a LASSO path: the package's solver against scikit-learn's, at equal accuracy.

    144 patients, 2,000 correlated features, 40 penalties down to 0.03 of the largest: what `radiomics fit` solves once
    a fold. Each solver gets the loosest tolerance of its ladder at which every penalty of the path lies within 1e-6
    (relative) of the lowest objective that any solver reached, and violates the conditions of optimality (KKT) by at
    most 1e-5 of the largest penalty; a path that takes longer than a minute is given up.

    Args:
        rounds: rounds of all solvers in turn.
    """
    warnings.simplefilter("ignore", ConvergenceWarning)
    question = drawn()
    with threadpool_limits(1):
        tight = [of_package(question, 1e-10), of_coordinate_descent(question, 1e-12)]
        lowest = np.min([judged(question, solutions)[0] for solutions in tight], axis=0)
        settled = {rival: loosest(question, rival, lowest) for rival in RIVALS}
        running = {rival: setting for rival, setting in settled.items() if setting.enough}
        works = [
            partial(clocked, partial(rival.solve, question, setting.tolerance)) for rival, setting in running.items()
        ]
        times = dict(zip(running, in_turn(rounds, *works), strict=True))
    rows = []
    for rival, setting in settled.items():
        accuracy = [f"{setting.tolerance:g}", f"{setting.excess:.0e}", f"{setting.violation:.0e}"]
        if setting.enough:
            ratio = times[rival].median / times[RIVALS[0]].median
            rows.append([rival.name, *accuracy, times[rival].words(digits=2), f"{ratio:.1f}"])
        else:
            limits = f"{setting.seconds:.0f}, short of the limits; tighter ones take over {LIMIT_S:g}"
            rows.append([rival.name, *accuracy, limits, "–"])
    header = ["solver", "tolerance", "excess of the objective", "KKT violation", "seconds a path", "times ours"]
    about = f"n = {N}, p = {P:,}, {STEPS} penalties to {LOWEST} of the largest; one thread; median (range) of {rounds}"
    return Section("Radiomics: the LASSO path", about, table(header, rows))
