"""Two ranks (gloo, real processes) compute the gradients and statistics of one process that sees the whole batch."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from mammo_aln.model.batch_statistics import share_batch_statistics
from mammo_aln.model.network import AxillaryNetwork, CropEncoder
from mammo_aln.model.optim import binary_loss
from mammo_aln.model.ranks import sum_over_ranks, world_size
from mammo_aln.settings import ModelConfig, OptimConfig, PretrainConfig
from mammo_aln.training.pretraining.heads import Head
from mammo_aln.training.pretraining.module import PretrainModule
from tests.model.conftest import NAN, SIZE_PX, TINY_ARGS

UNITS = 8
CASES = [("swinv2", 1), ("swinv2", 2), ("resnet50", 1), ("resnet50", 2), ("efficientnetv2", 1), ("densenet121", 1)]
DEPTHS: list[dict[str, list[int]]] = [{}, {"depths": [4, 2]}]
WEIGHTS = torch.tensor([1.0, 3.0], dtype=torch.float64)


def network(backbone: str, parts: int, **more: list[int]) -> AxillaryNetwork:
    torch.manual_seed(1)
    model = ModelConfig(
        backbone=backbone,
        backbone_args={**TINY_ARGS[backbone], **more},
        embed_dim=8,
        drop_rate=0.3,
        modality_dropout=0.0,
    )
    own = AxillaryNetwork(model, ["primary", "axilla"], 3, SIZE_PX).double()
    own.parts = parts
    for encoder in [each for each in own.modules() if isinstance(each, CropEncoder)]:
        encoder.ranks_in_backbone = world_size() > 1 and share_batch_statistics(encoder.backbone)
    return own


def batch(units: list[int]) -> dict[str, Tensor]:
    """Patients with crops and a label; those of odd number lack the axilla, one has no label."""
    draw = torch.Generator().manual_seed(0)
    crops = torch.rand(UNITS, 2, 1, SIZE_PX, SIZE_PX, generator=draw, dtype=torch.float64)
    clinical = torch.randn(UNITS, 3, generator=draw, dtype=torch.float64)
    label = torch.tensor([1.0, 0, 0, 1, 0, NAN, 0, 0], dtype=torch.float64)
    rows = [
        (position, unit, region) for position, unit in enumerate(units) for region in (0, 1) if not unit * region % 2
    ]
    return {
        "crops": torch.stack([crops[unit, region] for _, unit, region in rows]),
        "unit": torch.tensor([position for position, _, _ in rows]),
        "region": torch.tensor([region for _, _, region in rows]),
        "view": torch.tensor([unit % 2 for _, unit, _ in rows]),
        "clinical": clinical[units],
        "label": label[units],
    }


def loss_of(own: torch.nn.Module, given: dict[str, Tensor]) -> Tensor:
    label = given["label"]
    counts = sum_over_ranks(torch.stack([(label == 0).sum(), (label == 1).sum()]))
    return binary_loss(own(given), label, WEIGHTS, 0.1, total=(counts * WEIGHTS).sum() / world_size())


def learn(own: torch.nn.Module, units: list[int]) -> None:
    for _ in range(2):  # the second by the buckets that the first one's order gave
        torch.manual_seed(7)  # as StepSeed does on every rank
        own.zero_grad()
        loss_of(own, batch(units)).backward()


def kernels(own: AxillaryNetwork, units: list[int]) -> int:
    """Number of torch's operations in a step's passes, forward and backward."""
    given = batch(units)
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
        loss_of(own, given).backward()
    return sum(event.count for event in profile.key_averages() if event.key.startswith("aten::"))


class PretrainStep(nn.Module):
    """The training step of a pre-training with labels of each kind, some missing, and contrast."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(1)
        model = ModelConfig(backbone="swinv2", backbone_args=TINY_ARGS["swinv2"], embed_dim=8, drop_rate=0.0)
        heads = [
            Head("a", "images", "a", "binary", ("0", "1")),
            Head("b", "images", "b", "categorical", ("x", "y", "z")),
            Head("c", "images", "c", "continuous"),
        ]
        config = PretrainConfig(mode="both", projection_dim=4)
        self.module = PretrainModule(model, OptimConfig(ema_decay=0.0), config, heads, SIZE_PX).double()

    def forward(self, given: dict[str, Tensor]) -> Tensor:
        return self.module.training_step(given, 1)


def breasts(units: list[int]) -> dict[str, Tensor]:
    draw = torch.Generator().manual_seed(0)
    crops = torch.rand(UNITS, 2, 1, SIZE_PX, SIZE_PX, generator=draw, dtype=torch.float64)
    labels = torch.tensor([[1.0, 2, 0.3], [0, NAN, 1.0], [NAN, 0, -1.0], [1, 1, NAN]] * 2, dtype=torch.float64)
    labels[1::2, 1] = NAN  # the second rank has no label of this head
    return {
        "crops": crops[units].transpose(0, 1).flatten(0, 1),
        "role": torch.tensor([0] * len(units) + [1] * len(units)),
        "labels": labels[units].repeat(2, 1),
        "patient": torch.tensor(units) // 2,
        "index": torch.tensor(units),
    }


def meet(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)


def keep_step(own: AxillaryNetwork, rank: int, file: str) -> None:
    """Learn as one of two ranks from every second patient; keep gradients and statistics."""
    shared = torch.nn.parallel.DistributedDataParallel(own, broadcast_buffers=False, gradient_as_bucket_view=True)
    learn(shared, list(range(rank, UNITS, 2)))
    torch.save(([weight.grad for weight in own.parameters()], list(own.buffers())), f"{file}.{rank}")


def assert_one_process_step(own: AxillaryNetwork, file: Path) -> None:
    """What each rank kept is what one process has that learns from all patients."""
    learn(own, list(range(UNITS)))
    for rank in (0, 1):
        gradients, buffers = torch.load(f"{file}.{rank}")
        for (name, weight), gradient in zip(own.named_parameters(), gradients, strict=True):
            torch.testing.assert_close(gradient, weight.grad, rtol=1e-7, atol=1e-9, msg=lambda m, n=name: f"{n}: {m}")
        for (name, mine), theirs in zip(own.named_buffers(), buffers, strict=True):
            torch.testing.assert_close(theirs, mine, rtol=1e-9, atol=1e-12, msg=lambda m, n=name: f"{n}: {m}")


def one_rank(rank: int, folder: str) -> None:
    meet(rank, folder)
    for backbone, parts in CASES:
        keep_step(network(backbone, parts), rank, f"{folder}/{backbone}{parts}")
    torch.save(
        [kernels(network("swinv2", 1, **more), list(range(rank, UNITS, 2))) for more in DEPTHS],
        f"{folder}/kernels.{rank}",
    )
    step = PretrainStep()
    shared = torch.nn.parallel.DistributedDataParallel(step, broadcast_buffers=False)
    loss = shared(breasts(list(range(rank, UNITS, 2))))
    loss.backward()
    torch.save((loss.detach(), [weight.grad for weight in step.parameters()]), f"{folder}/pretrain.{rank}")
    torch.distributed.destroy_process_group()


@pytest.fixture(scope="module")
def ranks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("ranks")
    torch.multiprocessing.spawn(one_rank, (str(folder),), nprocs=2)
    return folder


@pytest.mark.parametrize(("backbone", "parts"), CASES)
def test_two_ranks_give_the_gradient_and_statistics_of_one_process(ranks: Path, backbone: str, parts: int) -> None:
    """With dropout; the second rank has no crop of the axilla at all.

    Where the backbone has batch normalisation, its ranks meet in each part, and a part is that of one process.
    """
    assert_one_process_step(network(backbone, parts if backbone == "resnet50" else 1), ranks / f"{backbone}{parts}")


def test_two_ranks_pretrain_as_one_process(ranks: Path) -> None:
    """Labels are weighed, and pairs contrasted, over the whole batch."""
    step = PretrainStep()
    loss = step(breasts(list(range(UNITS))))
    loss.backward()
    losses, gradients = zip(*[torch.load(ranks / f"pretrain.{rank}") for rank in (0, 1)], strict=True)
    torch.testing.assert_close(torch.stack(losses).mean(), loss.detach())
    for (name, weight), gradient in zip(step.named_parameters(), gradients[0], strict=True):
        torch.testing.assert_close(gradient, weight.grad, rtol=1e-7, atol=1e-9, msg=lambda m, n=name: f"{n}: {m}")


def test_a_rank_adds_operations_for_each_weight_only_where_an_encoder_has_no_crop(ranks: Path) -> None:
    """Sharing statistics costs the same, however many weights there are."""
    more = []
    for rank in (0, 1):  # the second has no crop of the axilla
        alone = [kernels(network("swinv2", 1, **depths), list(range(rank, UNITS, 2))) for depths in DEPTHS]
        together = torch.load(ranks / f"kernels.{rank}")
        more.append([both - own for both, own in zip(together, alone, strict=True)])
    (shallow, deep), (shallow_without, deep_without) = more
    assert deep == shallow
    assert deep_without > shallow_without
