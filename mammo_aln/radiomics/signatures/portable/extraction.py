"""Settings by which features were extracted, as the JSON beside their table states them, and how two of them differ."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from mammo_aln.errors import InputError, shortened
from mammo_aln.files import json_ready, read_object
from mammo_aln.radiomics.signatures.portable.decoding import decoded
from mammo_aln.runs.identity import WITHOUT_INFLUENCE
from mammo_aln.settings import RadiomicsConfig

CHOICE_OF_COLUMNS = ("families", "filters", "rings_mm", "deep_regions", "delta")
"""Settings that say which columns there are, and no value of any."""
OF_NETWORKS = ("deep_backbone", "deep_pretrained", "deep_slices", "deep_size_px", "deep_runs", "seed")
"""Settings that shape columns `deep_...` alone."""
PATHS = ("deep_pretrained", "deep_runs")


@dataclass(frozen=True)
class Extraction:
    """Way in which features were extracted.

    Args:
        settings: of `radiomics extract`, `radiomics`; for mammograms also `pixels` and `crop`.
        calculation_version: of the code that computed them.
        pixel_path_version: of the code that made mammograms' pixels; None for volumes.
        networks: SHA-256 of each file of weights, and digest of each run, that deep features came from, by path.
        package_version: of the program.
    """

    settings: Mapping[str, Mapping[str, object]]
    calculation_version: int
    package_version: str
    pixel_path_version: int | None = None
    networks: Mapping[str, str] | None = None

    @classmethod
    def beside(cls, table: Path) -> Extraction | None:
        """Read the JSON beside a table; None where there is none, or one that `radiomics extract` did not write.

        Raises:
            InputError: it is damaged.
        """
        path = table.with_suffix(".json")
        if not path.is_file():
            return None
        plain = read_object(path)
        settings, version, crops = (plain.get(name) for name in ("settings", "calculation_version", "of_mammograms"))
        if not isinstance(settings, dict) or not isinstance(version, int):
            return None
        sections = dict[str, object](crops if isinstance(crops, dict) else ())
        stated = {name: plain[name] for name in ("package_version", "pixel_path_version", "networks") if name in plain}
        content: dict[str, object] = {"settings": sections | {"radiomics": settings}, "calculation_version": version}
        return decoded(cls, content | stated, str(path))

    def without_paths(self) -> Extraction:
        """The same, with the content of runs and weights in the place of their paths, which tell a user's folders."""
        digests = self.networks or {}
        settings = {
            section: {name: _by_content(name, value, digests) for name, value in values.items()}
            for section, values in self.settings.items()
        }
        return replace(self, settings=settings, networks={digest: digest for digest in digests.values()})

    def differences(self, other: Extraction, columns: Sequence[str]) -> list[str]:
        """Name each setting that could give some columns another value, with its value here and in the other one."""
        networks = any(name.startswith("deep_") for name in columns)
        ours, theirs = (dict(each.facts(networks=networks)) for each in (self, other))
        return [
            f"{name} = {_shown(ours.get(name))}, not {_shown(theirs.get(name))}"
            for name in dict.fromkeys([*ours, *theirs])
            if json_ready(ours.get(name)) != json_ready(theirs.get(name))
        ]

    def facts(self, *, networks: bool) -> Iterator[tuple[str, object]]:
        """List what shapes values; a setting that its version did not know has today's default."""
        yield "calculation_version", self.calculation_version
        yield "pixel_path_version", self.pixel_path_version
        digests = self.networks or {}
        for section, values in self.settings.items():
            settings = {**asdict(RadiomicsConfig()), **values} if section == "radiomics" else values
            aside = WITHOUT_INFLUENCE.get(section, ())
            if section == "radiomics":
                aside = CHOICE_OF_COLUMNS if networks else CHOICE_OF_COLUMNS + OF_NETWORKS
            for name, value in settings.items():
                if name in aside:
                    continue
                yield f"{section}.{name}", _by_content(name, value, digests)


def _by_content(name: str, value: object, digests: Mapping[str, str]) -> object:
    """Put the digests of networks in the place of their paths."""
    if name not in PATHS:
        return value
    if isinstance(value, str):
        return digests.get(value, value)
    return [digests.get(str(each), each) for each in value] if isinstance(value, list | tuple) else value


def _shown(value: object) -> str:
    return shortened(list(value) if isinstance(value, tuple) else value, 80)


def refuse_other_extraction(
    here: Extraction | None, of_signature: Extraction | None, columns: Sequence[str], table: Path
) -> str | None:
    """Refuse features that other settings extracted than those that a signature was learnt from.

    Returns:
        A line to be said where that cannot be known; None where the settings are the same.

    Raises:
        InputError: they differ, or the signature's are known and the table's are not.
    """
    if not columns:
        return None
    if of_signature is None:
        return (
            "the signature was learnt from a table that said nothing of its extraction: that these features were"
            " measured alike cannot be checked"
        )
    if here is None:
        raise InputError(
            f"{table}: no {table.with_suffix('.json').name} of `radiomics extract` beside it says by which settings"
            " these features were extracted; the signature's are known: bring that file, or extract from the cohort"
            " (leave --features out)"
        )
    if lines := here.differences(of_signature, columns):
        raise InputError(
            f"{table}: extracted by other settings than the features that the signature was learnt from:"
            f" {'; '.join(lines)}. Extract again with the signature's settings (leave --features out and give --cohort)"
        )
    return None
