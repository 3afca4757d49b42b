"""Grad-CAM: against finite differences for every backbone, planted places, signs, completeness."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from mammo_aln.errors import InputError
from mammo_aln.explain.attribution import FEWEST_CELLS, SpatialLayer, grad_cam, layers_of, spatial_layer
from mammo_aln.model.backbones import Backbone
from mammo_aln.model.network import AxillaryNetwork
from mammo_aln.settings import ModelConfig
from tests.support.tiny_settings import TINY

OTHERS = {
    "timm:vit_tiny_patch16_224": {"depth": 2, "embed_dim": 12, "num_heads": 2},
    "timm:mobilenetv3_small_050": {},
}


@pytest.fixture
def in_double(monkeypatch: pytest.MonkeyPatch) -> None:
    """Differences need float64 throughout; the network's own casts to float32 are switched off."""
    monkeypatch.setattr(torch.Tensor, "float", lambda tensor: tensor)


def network(backbone: str, args: dict, *, regions=("primary",), size_px: int = 64, **settings) -> AxillaryNetwork:
    torch.manual_seed(5)
    inputs = ("primary", "auxiliary") if len(regions) > 1 else ("primary",)
    model = ModelConfig(backbone=backbone, backbone_args=args, embed_dim=8, inputs=inputs, **settings)
    made = AxillaryNetwork(model, regions, 0, size_px).eval()
    with torch.no_grad():
        for name, weight in made.named_parameters():
            if not name.startswith("encoders"):
                weight.add_(0.3 * torch.randn_like(weight))
    return made.requires_grad_(False)  # as the averaged weights are


def batch(regions: list[int], size_px: int = 64, *, units: list[int] | None = None) -> dict[str, torch.Tensor]:
    draw = torch.Generator().manual_seed(2)
    units = units or list(range(len(regions)))
    return {
        "crops": torch.rand(len(regions), 1, size_px, size_px, generator=draw, dtype=torch.float64),
        "unit": torch.tensor(units),
        "region": torch.tensor(regions),
        "view": torch.zeros(len(regions), dtype=torch.int64),
        "clinical": torch.zeros(max(units) + 1, 0, dtype=torch.float64),
    }


def by_differences(net: AxillaryNetwork, data: dict, crop: int) -> np.ndarray:
    """Slow second implementation: each channel of the layer is nudged as a whole, and the logit is read again.

    d y / d (shift of channel k) is the sum of d y / d A_k over the cells, Z times alpha_k.
    """
    (name,) = [name for name, seen in net.seen.items() if int(data["region"][crop]) in seen]
    layer = layers_of(net, data["crops"].shape[-1])[name]
    module = net.encoders[name].backbone.body.get_submodule(layer.name)
    rows = [i for i, region in enumerate(data["region"].tolist()) if region in net.seen[name]]
    place, axis = rows.index(crop), {"NCHW": 1, "NHWC": 3, "NLC": 2}[layer.form]
    kept: list[torch.Tensor] = []
    handle = module.register_forward_hook(lambda m, i, output: kept.append(output.clone()))
    net(data)
    handle.remove()
    activation = kept[0]

    def logit(channel: int, by: float) -> float:
        def nudge(m, i, output):
            changed = output.clone()
            image = changed[place].movedim(axis - 1, 0)
            if layer.form == "NLC":
                image[channel, layer.prefix :] += by
            else:
                image[channel] += by
            return changed

        hook = module.register_forward_hook(nudge)
        value = float(net(data)[int(data["unit"][crop])])
        hook.remove()
        return value

    step = 1e-5
    maps = layer.as_maps(activation)[place]
    alpha = [(logit(k, step) - logit(k, -step)) / (2 * step * layer.cells**2) for k in range(maps.shape[0])]
    return np.einsum("k,kij->ij", np.array(alpha), maps.numpy())


@pytest.mark.usefixtures("in_double")
@pytest.mark.parametrize("backbone", [*TINY, *OTHERS])
def test_equals_finite_differences(backbone: str) -> None:
    size_px = 224 if "vit" in backbone else 64
    net = network(backbone, {**TINY, **OTHERS}[backbone], size_px=size_px).double()
    data = batch([0, 0], size_px, units=[0, 0])  # two views of one patient share a logit
    layers = layers_of(net, size_px)
    maps = grad_cam(net, data, layers)
    cells = next(iter(layers.values())).cells
    assert maps.shape == (2, cells, cells)
    for crop in range(2):
        slow = by_differences(net, data, crop)
        assert np.abs(slow).max() > 0
        assert np.allclose(maps[crop], slow, rtol=1e-4, atol=1e-6 * np.abs(slow).max()), backbone


@pytest.mark.usefixtures("in_double")
@pytest.mark.parametrize("shared", [True, False])
def test_maps_belong_to_their_crops(shared: bool) -> None:
    """Several regions, encoders and patients in one batch, as each of them alone."""
    net = network("swinv2", TINY["swinv2"], regions=("primary", "axilla"), shared_backbone=shared).double()
    data = batch([1, 0, 0, 1], units=[0, 0, 1, 2])
    layers = layers_of(net, 64)
    maps = grad_cam(net, data, layers)
    for crop in range(4):
        assert np.allclose(maps[crop], by_differences(net, data, crop), rtol=1e-4, atol=1e-9)


class Squares(nn.Module):
    """Reads brightness: mean of squares of 8 x 8 pixels, as two channels alike."""

    feature_info = ({"module": "cells"},)

    def __init__(self) -> None:
        super().__init__()
        self.cells = nn.Conv2d(1, 2, 8, stride=8, bias=False)
        nn.init.constant_(self.cells.weight, 1 / 64)

    def forward(self, crops):
        return self.cells(crops).mean(dim=(2, 3))


def planted(weight: float) -> tuple[AxillaryNetwork, dict]:
    """A network whose logit is `weight` times the mean brightness; a crop that is bright in its upper right alone."""
    net = network("resnet50", TINY["resnet50"])
    encoder = net.encoders["region_0"]
    encoder.backbone.body, encoder.backbone.mean, encoder.backbone.std = Squares(), torch.tensor(0.0), torch.tensor(1.0)
    encoder.norm, encoder.project = nn.Identity(), nn.Linear(2, 8)
    with torch.no_grad():
        encoder.project.weight.zero_()
        encoder.project.weight[0, 0] = 1.0
        net.fusion.heads.zero_()
        net.fusion.heads[0, 0] = weight
        net.fusion.out.weight.zero_()
    data = batch([0])
    data["crops"] = torch.zeros(1, 1, 64, 64)
    data["crops"][0, 0, :32, 32:] = 1.0
    data["clinical"] = data["clinical"].float()
    return net.eval(), data


def test_heat_lies_where_the_network_reads_and_has_the_sign_of_what_it_says() -> None:
    for weight in (2.0, -2.0):
        net, data = planted(weight)
        (heat,) = grad_cam(net, data, layers_of(net, 64))
        quadrant = np.zeros((8, 8), bool)
        quadrant[:4, 4:] = True
        assert (np.sign(heat[quadrant]) == np.sign(weight)).all()
        assert (heat[~quadrant] == 0).all()


def test_a_linear_head_on_mean_features_is_explained_whole() -> None:
    """Completeness: the cells' sum is the logit less the logit of an empty map."""
    net, data = planted(1.7)
    (heat,) = grad_cam(net, data, layers_of(net, 64))
    empty = data | {"crops": torch.zeros_like(data["crops"])}
    with torch.no_grad():
        assert heat.sum() == pytest.approx(float(net(data) - net(empty)), rel=1e-5)


def test_a_network_that_learnt_to_find_a_blob_shows_the_blob() -> None:
    """A trained network: bright blob or none, anywhere; the warmest cell lies on the blob."""
    net = network("resnet50", {"layers": [1, 1, 1, 1], "channels": [8, 8, 8, 8], "stem_width": 8})
    net.requires_grad_(True).train()
    rng = np.random.default_rng(0)
    y, x = np.mgrid[0:64, 0:64]

    def draw(count: int) -> tuple[dict, torch.Tensor, np.ndarray]:
        labels, places = rng.integers(0, 2, count), rng.integers(12, 52, (count, 2))
        blob = np.exp(-((x - places[:, 0, None, None]) ** 2 + (y - places[:, 1, None, None]) ** 2) / (2 * 4.0**2))
        pixels = 0.3 + 0.1 * rng.normal(size=(count, 64, 64)) + 1.0 * blob * labels[:, None, None]
        data = batch([0] * count)
        data["crops"] = torch.from_numpy(pixels[:, None].astype(np.float32))
        data["clinical"] = data["clinical"].float()
        return data, torch.from_numpy(labels.astype(np.float32)), places

    optimizer = torch.optim.AdamW(net.parameters(), lr=5e-3)
    for _ in range(50):
        data, labels, _ = draw(32)
        loss = nn.functional.binary_cross_entropy_with_logits(net(data), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    net.eval()
    data, labels, places = draw(64)
    assert ((net(data) > 0) == (labels > 0.5)).float().mean() > 0.9
    maps = grad_cam(net, data, layers_of(net, 64))
    cell = 64 / maps.shape[1]
    near = []
    for heat, label, place in zip(maps, labels, places, strict=True):
        if label:
            row, column = np.unravel_index(heat.argmax(), heat.shape)
            near.append(np.hypot((column + 0.5) * cell - place[0], (row + 0.5) * cell - place[1]) < 1.5 * cell)
    assert np.mean(near) > 0.9


@pytest.mark.parametrize("backbone", list(TINY))
def test_the_layer_is_the_deepest_that_is_fine_enough(backbone: str) -> None:
    """Strides 4 to 32 (SwinV2 here 4 and 8): 64 px have 7 cells at stride 8, 256 px at stride 32."""
    small = spatial_layer(Backbone(backbone, TINY[backbone], 64), 64)
    large = spatial_layer(Backbone(backbone, TINY[backbone], 256), 256)
    assert (small.cells, large.cells) == (8, 32 if backbone == "swinv2" else 8)
    assert FEWEST_CELLS == 7


def test_a_network_without_a_map_is_refused_in_words() -> None:
    backbone = Backbone("resnet50", TINY["resnet50"], 64)
    backbone.body = nn.Sequential(nn.Flatten(), nn.Linear(64 * 64, 8))
    with pytest.raises(InputError, match=r"square map.*--drawn 0"):
        spatial_layer(backbone, 64)


@pytest.mark.usefixtures("in_double")
def test_checkpointed_backbones_have_maps_too() -> None:
    plain = network("resnet50", TINY["resnet50"]).double()
    thrifty = network("resnet50", TINY["resnet50"], grad_checkpointing=True).double()
    data = batch([0])
    assert np.array_equal(grad_cam(plain, data, layers_of(plain, 64)), grad_cam(thrifty, data, layers_of(thrifty, 64)))


@pytest.mark.parametrize("form", ["NCHW", "NHWC", "NLC"])
def test_rows_stay_rows_whatever_the_order_of_axes(form: str) -> None:
    """Channel 2 of image 1 is hot at row 1, column 3 of a 4 x 4 map; tokens run row by row behind a class token."""
    hot = {"NCHW": (1, 2, 1, 3), "NHWC": (1, 1, 3, 2), "NLC": (1, 1 + 1 * 4 + 3, 2)}[form]
    output = torch.zeros({"NCHW": (2, 5, 4, 4), "NHWC": (2, 4, 4, 5), "NLC": (2, 17, 5)}[form])
    output[hot] = 1.0
    maps = SpatialLayer("x", 4, form, prefix=1 if form == "NLC" else 0).as_maps(output)
    assert maps.shape == (2, 5, 4, 4)
    assert maps.nonzero().tolist() == [[1, 2, 1, 3]]
