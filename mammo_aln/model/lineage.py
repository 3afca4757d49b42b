"""Sources behind a network's starting weights: timm's release with its licence, or what a weights file records."""

from __future__ import annotations

import re
from pathlib import Path

import timm

from mammo_aln.cohort.lineage import Source
from mammo_aln.errors import InputError
from mammo_aln.model.backbones import rule_of
from mammo_aln.model.origin import PRETRAINED_KEY, about_pretrained, read_checkpoint, recorded_sources, stated_facts
from mammo_aln.settings import ModelConfig

OF_IMAGENET = re.compile(r"in(1k|12k|21k|22k)")
"""In the tag of a release: pictures of ImageNet that it learnt from."""


def weight_sources(settings: ModelConfig) -> tuple[Source, ...]:
    """Sources of the weights that `model.pretrained` names; none where a network begins at random.

    Raises:
        InputError: no such file, or it can't be read.
    """
    if settings.pretrained is False:
        return ()
    if settings.pretrained is True:
        return (released_source(rule_of(settings.backbone).timm_name),)
    path = Path(settings.pretrained)
    recorded = recorded_lineage(path)
    return (Source(f"weights {path.name}"),) if recorded is None else recorded


def released_source(timm_name: str) -> Source:
    """The release of a timm model's weights, with the licence and the pictures that timm's own table states."""
    release = timm.get_pretrained_cfg(timm_name) or timm.models.PretrainedCfg()
    tag = release.tag or ""
    name = f"timm {timm_name.partition('.')[0]}" + (f".{tag}" if tag else "")
    terms = ("imagenet",) if OF_IMAGENET.search(tag) else ()
    return Source(name, release.license or "", terms, release.origin_url or "")


def recorded_lineage(path: Path) -> tuple[Source, ...] | None:
    """Sources that a weights file records; None where it is not ours or older than the record.

    Raises:
        InputError: no such file, or it can't be read as weights.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    if path.suffix == ".safetensors":
        about = about_pretrained(str(path))
        return about.lineage if about else None
    frozen = read_checkpoint(path).get(PRETRAINED_KEY)
    with stated_facts(path):
        return recorded_sources(frozen.get("lineage")) if isinstance(frozen, dict) else None
