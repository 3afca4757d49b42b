"""Make the three pictures of README anew: proof sheet, report and sweep board, into docs/images.

    python scripts/pictures.py            # minutes on two cores; needs a Chromium for the two pages

Runs `mammo-aln demo` and a small sweep on the cohort that demo wrote, photographs the pages without a screen, and
brings each picture below 150 kB.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image

ROOT = Path(__file__).resolve().parents[1]
IMAGES = ROOT / "docs" / "images"
LARGEST_BYTES = 150_000
WIDTH, HEIGHT = 780, 520
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
SWEEP = """\
crop: {size_px: 64}
model: {inputs: [primary]}
trainer: {accelerator: cpu}
log: {wandb: disabled}
grid:
  crop.strategy: [whole_breast, lesion_box, lesion_margin, fixed_5cm]
  config:
    - configs/backbones/resnet50_small.yaml
    - configs/backbones/convnextv2_small.yaml
    - configs/backbones/efficientnetv2_small.yaml
"""


def mammo_aln(*words: object) -> None:
    """Run one verb of this checkout."""
    subprocess.run([sys.executable, "-m", "mammo_aln", *map(str, words)], check=True, cwd=ROOT, stdout=sys.stderr)


def photograph(page: Path, picture: Path, width: int, height: int) -> None:
    """Draw the upper `height` pixels of a page in a browser of `width` pixels."""
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    if browser is None:
        sys.exit(f"pictures.py: none of {', '.join(BROWSERS)} is installed (Debian: apt-get install chromium)")
    words = ["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--virtual-time-budget=4000"]
    with tempfile.TemporaryDirectory() as profile:
        words += [f"--user-data-dir={profile}", f"--window-size={width},{height}", f"--screenshot={picture}"]
        subprocess.run([browser, *words, page.as_uri()], check=True, capture_output=True, timeout=120)


def shrink(picture: Path, out: Path) -> None:
    """Write a picture's upper part in the size of all three, with as many colours as 150 kB allow."""
    image = Image.open(picture).convert("RGB")
    image = image.resize((WIDTH, round(image.height * WIDTH / image.width)), Image.Resampling.LANCZOS)
    image = image.crop((0, 0, WIDTH, HEIGHT))
    for colors in (256, 160, 96, 64, 48):
        image.quantize(colors, kmeans=2, dither=Image.Dither.NONE).save(out, optimize=True)
        if out.stat().st_size < LARGEST_BYTES:
            return
    sys.exit(f"pictures.py: {out} is larger than {LARGEST_BYTES} bytes")


def main() -> None:
    """Make the pictures."""
    words = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    words.add_argument("--patients", type=int, default=300, help="phantom patients of the demo")
    words.add_argument("--max-epochs", type=int, default=24, help="epochs of the demo's training")
    words.add_argument("--sweep-epochs", type=int, default=8, help="epochs of each cell of the sweep")
    words.add_argument("--work", type=Path, help="folder for demo and sweep; by default a temporary one")
    given = words.parse_args()
    IMAGES.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as temporary:
        work = (given.work or Path(temporary)).absolute()
        demo, sweep = work / "demo", work / "sweep"
        if not demo.exists():
            mammo_aln("demo", "--out", demo, "--patients", given.patients, "--max_epochs", given.max_epochs)
        work.joinpath("sweep.yaml").write_text(SWEEP, encoding="utf-8")
        epochs = f"--trainer.max_epochs={given.sweep_epochs}"
        mammo_aln("sweep", work / "sweep.yaml", "--cohort", demo / "cohort", "--out", sweep, epochs)
        mammo_aln("sweep", "status", "--out", sweep)
        photograph(demo / "evaluation" / "report.html", work / "report.png", 1200, 800)
        photograph(sweep / "board.html", work / "board.png", 1200, 800)
        shrink(min((demo / "proof").glob("*.png")), IMAGES / "proof.png")
        shrink(work / "report.png", IMAGES / "report.png")
        shrink(work / "board.png", IMAGES / "board.png")


if __name__ == "__main__":
    main()
