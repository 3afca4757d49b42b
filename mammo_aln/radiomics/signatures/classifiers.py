"""Eight classifiers, their settings fixed beforehand for tables of a hundred to a thousand patients."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike
from sklearn.ensemble import ExtraTreesClassifier, RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier
from sklearn.svm import SVC

from mammo_aln.radiomics.signatures.portable.classifiers import Floats, logit_of_share

NEIGHBOURS = 15


class Neighbours(KNeighborsClassifier):
    """Nearest neighbours, so many or as many as there are training patients."""

    def fit(self, features: ArrayLike, labels: ArrayLike) -> Self:
        """Keep the training patients."""
        self.n_neighbors = min(NEIGHBOURS, len(np.asarray(labels)))
        return super().fit(features, labels)


def _boosting(seed: int) -> Any:
    from lightgbm import LGBMClassifier

    return LGBMClassifier(
        n_estimators=100,
        learning_rate=0.05,
        num_leaves=7,
        min_child_samples=10,
        reg_lambda=1.0,
        deterministic=True,
        force_row_wise=True,
        n_jobs=1,
        verbosity=-1,
        random_state=seed,
    )


CLASSIFIERS: dict[str, Callable[[int], Any]] = {
    # strong ridge penalties: the features were chosen on the same patients, so their effects look larger than they are
    "logistic": lambda seed: LogisticRegression(C=0.03, max_iter=1000),
    "linear_svm": lambda seed: SVC(kernel="linear", C=0.01),
    "naive_bayes": lambda seed: GaussianNB(),
    "knn": lambda seed: Neighbours(NEIGHBOURS, weights="uniform"),
    "rbf_svm": lambda seed: SVC(kernel="rbf", C=0.3, gamma="scale"),
    "extra_trees": lambda seed: ExtraTreesClassifier(200, min_samples_leaf=3, random_state=seed),
    "random_forest": lambda seed: RandomForestClassifier(200, min_samples_leaf=3, random_state=seed),
    "boosting": _boosting,
}
"""In the order of simplicity: among classifiers that inner folds cannot tell apart, the first is taken."""


def score_scale(name: str) -> str:
    """Name the scale of a classifier's uncalibrated score: a support vector machine's margin is no log-odds."""
    return "margin" if name.endswith("_svm") else "log-odds"


def log_odds(classifier: Any, features: ArrayLike) -> Floats:
    """Score on the log-odds scale: the decision function where there is one, else the logit of the predicted share."""
    if hasattr(classifier, "decision_function"):
        return np.asarray(classifier.decision_function(features), dtype=np.float64)
    return logit_of_share(classifier.predict_proba(features)[:, 1])
