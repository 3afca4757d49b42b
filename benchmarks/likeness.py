"""Identity by content: false alarms among phantom images, copies that are caught, and what a large cohort costs."""

from __future__ import annotations

import time
from collections.abc import Callable

import cv2
import numpy as np
from numpy.typing import NDArray

from benchmarks.page import Section, table
from mammo_aln.cohort.likeness.fingerprint import ALIKE_FROM, LENGTH, fingerprint
from mammo_aln.cohort.likeness.scales import SCALES, alike_pairs, patterns_of, scaled
from mammo_aln.phantom.mammography import center_sizes, draw_image, plan_images, plan_patients
from mammo_aln.phantom.truth import Truth
from mammo_aln.phantom.vendors import stored_values
from mammo_aln.progress import track

CHANGES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "mirrored and inverted": lambda values: (values.max() - values)[:, ::-1],
    "JPEG of quality 50": lambda values: cv2.imdecode(
        cv2.imencode(".jpg", np.rint(values * (255.0 / values.max())).astype(np.uint8), [1, 50])[1], 0
    ),
    "resampled to 60 %": lambda values: cv2.resize(values, None, fx=0.6, fy=0.6, interpolation=cv2.INTER_AREA),
    "a fifth of the height cut off": lambda values: values[len(values) // 5 :],
    "a tenth cut off on both ends": lambda values: values[len(values) // 10 : -len(values) // 10],
    "framed by a quarter": lambda values: np.pad(values, len(values) // 4),
}
IMAGES_A_PATIENT = 2.2
BLOCK_ROWS = 512


def likeness(images: int = 5000, every: int = 25, patterns: int = 20_000) -> Section:
    """Fingerprints of phantom images: pairs that are taken for copies and are none, copies caught, seconds.

    Args:
        images: phantom images, drawn as the phantom draws them, halved.
        every: of so many images one is changed in each of the ways.
        patterns: random patterns whose comparison is timed.
    """
    sizes = center_sizes(int(images / IMAGES_A_PATIENT), 3, None)
    tasks = plan_images(plan_patients(sizes, 7, Truth(strength=1.0), True), 7, False)[:images]
    textures, caught, copies, seconds = [], dict.fromkeys(CHANGES, 0), 0, 0.0
    for number, task in enumerate(track(tasks, total=len(tasks), what="phantom", unit="image")):
        drawn, _, exposure = draw_image(task)
        stored = stored_values(drawn.brightness, task.vendor, exposure)
        small = cv2.resize(stored, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
        begun = time.perf_counter()
        textures.append(fingerprint(small).texture)
        seconds += time.perf_counter() - begun
        if number % every:
            continue
        copies += 1
        for name, change in CHANGES.items():
            both = [textures[-1], fingerprint(np.ascontiguousarray(change(small))).texture]
            caught[name] += any(True for _ in alike_pairs(patterns_of(both)))
    pairs = {frozenset(pair[:2]) for pair in alike_pairs(patterns_of(textures))}
    owners = [task.who.patient_id for task in tasks]
    alarms = sum(len({owners[number] for number in pair}) > 1 for pair in pairs)
    most = most_alike(patterns_of(textures), np.unique(owners, return_inverse=True)[1])
    noise = np.random.default_rng(0).normal(0, 32, (patterns, LENGTH)).clip(-127, 127).astype(np.int8)
    begun = time.perf_counter()
    none = sum(1 for _ in alike_pairs(noise))
    compared_s = time.perf_counter() - begun
    rows = [
        ["pairs of different patients taken for copies", f"{alarms} of {len(tasks) * (len(tasks) - 1) // 2:,}"],
        ["the most alike images of different patients, each pair at each scale", f"likeness {most:.2f}"],
        *([name, f"{count} of {copies} caught"] for name, count in caught.items()),
        ["fingerprint of an image, decoded", f"{1000 * seconds / len(tasks):.0f} ms"],
        [f"comparison of {patterns:,} patterns ({none} alike)", f"{compared_s:.0f} s; it grows with their square"],
    ]
    return Section(
        "Identity by content",
        f"{len(tasks):,} phantom images of {len({task.who.patient_id for task in tasks}):,} patients, likeness of"
        f" {ALIKE_FROM} or more",
        table(["", ""], rows),
    )


def most_alike(patterns: NDArray[np.int8], owners: NDArray[np.integer]) -> float:
    """Correlate every two patterns of different owners where the one, drawn out by each scale, has values.

    By brute force: no sketch, which `alike_pairs` begins with, leaves a pair out.
    """
    most, whole = 0.0, patterns.astype(np.float32)
    for scale in track((*SCALES, *(1 / scale for scale in SCALES[1:])), total=2 * len(SCALES) - 1, what="scales"):
        there = scaled(np.ones((1, LENGTH), np.int8), scale)[0] > 0
        others = whole * there
        others /= np.linalg.norm(others, axis=1, keepdims=True)
        for start in range(0, len(whole), BLOCK_ROWS):
            drawn = scaled(patterns[start : start + BLOCK_ROWS], scale)
            products = drawn / np.linalg.norm(drawn, axis=1, keepdims=True) @ others.T
            products[owners[start : start + BLOCK_ROWS, None] == owners] = 0.0
            most = max(most, float(products.max()))
    return most
