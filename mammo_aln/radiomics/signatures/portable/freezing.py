"""Fitted classifiers of scikit-learn and LightGBM turned into plain numbers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from mammo_aln.radiomics.signatures.portable.classifiers import (
    AnyClassifier,
    Floats,
    Linear,
    NearestRows,
    NormalDensities,
    RadialKernel,
    Trees,
)

Node = tuple[int, float, int, int, float]
LEAF = (-1, 0.0, 0, 0)


def frozen_classifier(name: str, fitted: Any, features: Floats, labels: Floats) -> AnyClassifier:
    """Take a fitted classifier's numbers.

    Args:
        name: of the classifier in `CLASSIFIERS`.
        fitted: the classifier.
        features: that it was fitted on.
        labels: that it was fitted on.
    """
    if name in ("logistic", "linear_svm"):
        return Linear(np.ravel(fitted.coef_).astype(float), float(fitted.intercept_[0]))
    if name == "rbf_svm":
        weights = np.ravel(fitted.dual_coef_).astype(float)
        vectors = np.asarray(fitted.support_vectors_, dtype=float)
        return RadialKernel(vectors, weights, float(fitted._gamma), float(fitted.intercept_[0]))
    if name == "naive_bayes":
        return NormalDensities(*(np.asarray(each, float) for each in (fitted.class_prior_, fitted.theta_, fitted.var_)))
    if name == "knn":
        return NearestRows(np.asarray(features, float), np.asarray(labels, float), int(fitted.n_neighbors))
    if name == "boosting":
        trees = [_boosted(tree["tree_structure"]) for tree in fitted.booster_.dump_model()["tree_info"]]
        return _joined(trees, joined="sum", single=False, features=features.shape[1])
    trees = [_grown(each.tree_) for each in fitted.estimators_]
    return _joined(trees, joined="share", single=True, features=features.shape[1])


def _grown(tree: Any) -> list[Node]:
    """Nodes of a scikit-learn tree, whose leaves count or share the outcomes."""
    value = tree.value[:, 0, :]
    share = value[:, 1] / value.sum(axis=1)
    children = zip(tree.children_left, tree.children_right, strict=True)
    return [
        (*LEAF, float(share[node]))
        if left < 0
        else (int(tree.feature[node]), float(tree.threshold[node]), int(left), int(right), 0.0)
        for node, (left, right) in enumerate(children)
    ]


def _boosted(structure: Mapping[str, Any]) -> list[Node]:
    """Nodes of a LightGBM tree."""
    if "leaf_value" in structure:
        return [(*LEAF, float(structure["leaf_value"]))]
    if structure["decision_type"] != "<=":
        raise RuntimeError(f"LightGBM split by {structure['decision_type']}, not by <=")
    left, right = (_boosted(structure[f"{side}_child"]) for side in ("left", "right"))
    head = (int(structure["split_feature"]), float(structure["threshold"]), 1, 1 + len(left), 0.0)
    return [head, *_shifted(left, 1), *_shifted(right, 1 + len(left))]


def _shifted(nodes: list[Node], by: int) -> list[Node]:
    return [
        (feature, threshold, left + by, right + by, value) if feature >= 0 else (feature, threshold, left, right, value)
        for feature, threshold, left, right, value in nodes
    ]


def _joined(trees: list[list[Node]], *, joined: str, single: bool, features: int) -> Trees:
    roots = np.cumsum([0, *(len(nodes) for nodes in trees[:-1])])
    nodes = [node for root, tree in zip(roots.tolist(), trees, strict=True) for node in _shifted(tree, root)]
    feature, threshold, left, right, value = (np.array(column) for column in zip(*nodes, strict=True))
    return Trees(joined, single, features, roots, feature, threshold, left, right, value)
