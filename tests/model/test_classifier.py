"""The LightningModule in a plain Trainer: monitoring, average, checkpoints, resume, freezing."""

from __future__ import annotations

import math

import pytest
import pytorch_lightning as pl
import torch
from sklearn.metrics import roc_auc_score

from mammo_aln.errors import InputError
from mammo_aln.model.classifier import AxillaryClassifier, PatientScores, WeightedMean, auc_or_nan
from mammo_aln.model.optim import learning_rate_factor
from mammo_aln.settings import ModelConfig, OptimConfig

NAN = float("nan")
CROPS = [(0, 0, 0), (0, 0, 1), (0, 1, 1), (1, 0, 0), (2, 1, 1), (2, 0, 1)]
REGIONS, COLUMNS = ("primary", "axilla"), ("age", "er", "ct")


@pytest.fixture
def batches(make_batch):
    """Three batches of three patients, one of them without any auxiliary crop, one label unknown."""
    made = [
        make_batch(CROPS, [1.0, 0.0, NAN], seed=1),
        make_batch([(0, 0, 0), (1, 0, 1), (2, 0, 0)], [0.0, 1.0, 1.0], seed=2),
        make_batch(CROPS[::-1], [0.0, 1.0, 0.0], seed=3),
    ]
    for number, batch in enumerate(made):
        batch["index"] = batch["index"] + 3 * number
    return made


def module(tiny_args, optim: dict | None = None, total_steps: int | None = None, **model) -> AxillaryClassifier:
    name = model.pop("backbone", "swinv2")
    config = ModelConfig(backbone=name, backbone_args=tiny_args[name], embed_dim=8, **model)
    return AxillaryClassifier(config, OptimConfig(**(optim or {})), REGIONS, COLUMNS, 64, total_steps)


def loader(batches):
    return torch.utils.data.DataLoader(batches, batch_size=None)


def trainer(**arguments) -> pl.Trainer:
    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False, "accelerator": "cpu"}
    return pl.Trainer(**(quiet | {"max_epochs": 2, "enable_checkpointing": False} | arguments))


@pytest.mark.parametrize("backbone", ["swinv2", "convnextv2", "efficientnetv2", "resnet50", "densenet121"])
def test_learns_in_a_plain_trainer(backbone, tiny_args, batches):
    network = module(tiny_args, {"lr": 0.01}, backbone=backbone)
    before = {name: weight.clone() for name, weight in network.network.named_parameters()}
    fit = trainer(max_epochs=5)
    fit.fit(network, loader(batches), loader(batches))
    assert fit.callback_metrics["train_loss"] < 0.69
    after = dict(network.network.named_parameters())
    assert [name for name in before if torch.equal(before[name], after[name])] == []


def test_validation_is_judged_whole_by_the_averaged_weights(tiny_args, batches):
    network = module(tiny_args)
    fit = trainer()
    fit.fit(network, loader(batches), loader(batches))
    network.eval()
    with torch.no_grad():
        logit = torch.cat([network.average.network(batch) for batch in batches]).double()
        learning = torch.cat([network.network(batch) for batch in batches]).double()
    label = torch.cat([batch["label"] for batch in batches])
    known = ~torch.isnan(label)
    assert fit.callback_metrics["val_auc"].item() == pytest.approx(roc_auc_score(label[known], logit[known]))
    loss = torch.nn.functional.binary_cross_entropy_with_logits(logit[known], label[known].double())
    assert fit.callback_metrics["val_loss"].item() == pytest.approx(loss.item(), rel=1e-5)
    assert not torch.allclose(logit, learning)


def test_scores_drop_a_samplers_duplicates():
    scores = PatientScores()
    scores.update(torch.tensor([2, 0]), torch.tensor([0.2, 0.0]), torch.tensor([1.0, 0.0]))
    scores.update(torch.tensor([1, 0]), torch.tensor([0.1, 0.0]), torch.tensor([NAN, 0.0]))
    logit, label = scores.compute()
    assert logit.tolist() == pytest.approx([0.0, 0.2])
    assert label.tolist() == [0.0, 1.0]


def test_auc_keeps_far_logits_apart_and_counts_ties_half():
    label = torch.tensor([0.0, 1.0, 0.0, 1.0])
    assert auc_or_nan(torch.tensor([200.0, 300.0, -1.0, 250.0]), label).item() == 1.0
    assert auc_or_nan(torch.zeros(4), label).item() == 0.5


@pytest.mark.parametrize("logit", [[NAN] * 4, [0.1, NAN, 0.3, 0.4], [0.1, 0.2, 0.3, NAN]])
def test_logits_that_are_no_numbers_have_no_auc(logit):
    """Their ranks would be in the order of the rows: 1.0 where the labels are in order."""
    with pytest.warns(UserWarning, match="the network gives NaN"):
        assert math.isnan(auc_or_nan(torch.tensor(logit), torch.tensor([0.0, 0.0, 1.0, 1.0])))


def test_a_mean_loss_with_a_nan_is_nan():
    mean = WeightedMean()
    mean.update(torch.tensor(0.5), torch.tensor(4))
    mean.update(torch.tensor(NAN), torch.tensor(0))
    assert mean.compute() == 0.5
    mean.update(torch.tensor(NAN), torch.tensor(4))
    assert math.isnan(mean.compute())


def test_one_class_gives_nan_and_a_warning(tiny_args, batches):
    only = [batch | {"label": torch.ones(3)} for batch in batches]
    fit = trainer(max_epochs=1, num_sanity_val_steps=0)
    with pytest.warns(UserWarning, match="one class only"):
        fit.fit(module(tiny_args), loader(batches), loader(only))
    assert math.isnan(fit.callback_metrics["val_auc"])
    assert math.isfinite(fit.callback_metrics["val_loss"])


def test_prediction_gives_index_and_logit(tiny_args, batches):
    network = module(tiny_args)
    rows = trainer().predict(network, loader(batches))
    assert torch.cat([row["index"] for row in rows]).tolist() == list(range(9))
    with torch.no_grad():
        assert torch.equal(rows[1]["logit"], network.eval()(batches[1]))


def test_checkpoint_is_plain_and_loads_without_the_files_it_began_from(tiny_args, batches, tmp_path):
    network = module(tiny_args, fusion="attention")
    fit = trainer()
    fit.fit(network, loader(batches), loader(batches))
    path = tmp_path / "last.ckpt"
    fit.save_checkpoint(path)
    content = torch.load(path, weights_only=True)
    content["hyper_parameters"]["model"]["pretrained"] = str(tmp_path / "gone.safetensors")
    torch.save(content, path)
    loaded = AxillaryClassifier.load(path)
    assert not loaded.training
    with torch.no_grad():
        assert torch.equal(loaded(batches[0]), network.eval()(batches[0]))


class Interruption(pl.Callback):
    """Saves at the end of the first epoch, and carries the generator's state over as a resumed run has to."""

    def __init__(self, path, state=None) -> None:
        self.path, self.state, self.resumed = path, state, state is not None

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        if trainer.global_step == 3:
            if self.resumed:
                torch.set_rng_state(self.state)
            self.state = torch.get_rng_state()

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        # A callback may save here: the average must already hold this step.
        assert int(pl_module.average.updates) == trainer.global_step

    def on_train_epoch_end(self, trainer, pl_module):
        if trainer.current_epoch == 0:
            trainer.save_checkpoint(self.path)


@pytest.mark.parametrize("settings", [{}, {"class_weight": "balanced", "label_smoothing": 0.1}])
def test_resume_equals_the_uninterrupted_run_bit_for_bit(settings, tiny_args, batches, tmp_path):
    path = tmp_path / "part.ckpt"
    whole, again = (module(tiny_args, settings, modality_dropout=0.5, backbone="densenet121") for _ in range(2))
    straight = trainer(callbacks=[interruption := Interruption(path)])
    straight.fit(whole, loader(batches), loader(batches))
    resumed = trainer(callbacks=[Interruption(path, interruption.state)])
    resumed.fit(again, loader(batches), loader(batches), ckpt_path=path, weights_only=True)
    assert resumed.global_step == 6
    for name, value in whole.state_dict().items():
        assert torch.equal(value, again.state_dict()[name]), name
    for name, value in straight.callback_metrics.items():
        assert torch.equal(value, resumed.callback_metrics[name]), name


@pytest.mark.parametrize("balanced", [False, True], ids=["even", "balanced"])
def test_each_input_alone_adds_to_the_loss_over_the_patients_who_have_it(balanced, tiny_args, make_batch):
    """Closed form: the weight times the mean, over the inputs, of the cross-entropy of each."""
    settings = {"class_weight": "balanced" if balanced else "none"}
    losses = {}
    for weight in (0.0, 0.7):
        torch.manual_seed(0)
        network = module(tiny_args, {**settings, "unimodal_weight": weight}, drop_rate=0.0, modality_dropout=0.0)
        network.class_counts.copy_(torch.tensor([2.0, 1.0]))
        batch = make_batch(CROPS[:3] + CROPS[4:], [1.0, 0.0, 0.0, NAN])  # patients 1 and 3 have no crop
        torch.manual_seed(1)
        losses[weight] = network.training_step(batch, 0).item()
    weights = [8 / (2 * 5), 8 / (2 * 3)] if balanced else [1.0, 1.0]  # counts of before, of the batch, and one each
    torch.manual_seed(1)
    with torch.no_grad():
        each = list(network.network.unimodal_logits(*network.network.tokens(batch)))
    means = []
    for logits, there in each:
        costs = [
            weights[int(label)] * math.log1p(math.exp(-logit if label else logit))
            for logit, here, label in zip(logits.tolist(), there.tolist(), batch["label"].tolist(), strict=True)
            if here and not math.isnan(label)
        ]
        means.append(sum(costs) / sum(weights[label] for label in (1, 0, 0)))
    assert [there.tolist() for _, there in each] == [[True, False, True, False]] * 2 + [[True] * 4]
    assert losses[0.7] - losses[0.0] == pytest.approx(0.7 * sum(means) / 3, rel=1e-4)


class Watch(pl.Callback):
    def __init__(self) -> None:
        self.rates: list[float] = []
        self.norms: list[float] = []

    def on_before_zero_grad(self, trainer, pl_module, optimizer):
        grads = [weight.grad for weight in pl_module.network.parameters() if weight.grad is not None]
        if grads:
            self.norms.append(torch.linalg.vector_norm(torch.stack([grad.norm() for grad in grads])).item())

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        self.rates.append(trainer.optimizers[0].param_groups[0]["lr"])


def test_learning_rate_follows_the_schedule_and_gradients_are_clipped(tiny_args, batches):
    watch = Watch()
    settings = {"lr": 0.02, "gradient_clip_norm": 0.01, "warmup_fraction": 0.25}
    trainer(max_epochs=4, callbacks=[watch]).fit(module(tiny_args, settings), loader(batches))
    true = [0.02 * learning_rate_factor(step, total_steps=12, warmup_fraction=0.25) for step in range(12)]
    assert watch.rates == pytest.approx(true)
    assert max(watch.norms) == pytest.approx(0.01, rel=1e-3)


def test_without_an_average_the_learning_weights_are_judged(tiny_args, batches):
    network = module(tiny_args, {"ema_decay": 0.0})
    assert network.average is None
    trainer(max_epochs=1).fit(network, loader(batches), loader(batches))
    with torch.no_grad():
        assert torch.equal(network.eval()(batches[0]), network.network(batches[0]))


def test_loaded_backbones_stay_frozen_for_their_epochs(tiny_args, batches, tmp_path):
    source = module(tiny_args, backbone="resnet50")
    first = trainer(max_epochs=1)
    first.fit(source, loader(batches))
    first.save_checkpoint(tmp_path / "source.ckpt")
    network = module(tiny_args, backbone="resnet50", pretrained=str(tmp_path / "source.ckpt"), freeze_epochs=1)
    state = {name: value.clone() for name, value in network.network.encoders["region_1"].backbone.state_dict().items()}
    averaged = source.average.network.encoders["region_1"].backbone.state_dict()
    assert all(torch.equal(averaged[name], value) for name, value in state.items())
    fit = trainer(max_epochs=1)
    fit.fit(network, loader(batches))
    now = network.network.encoders["region_1"].backbone.state_dict()
    assert all(torch.equal(now[name], value) for name, value in state.items())
    assert not torch.equal(
        network.network.encoders["region_1"].project.weight, source.network.encoders["region_1"].project.weight
    )
    fit.fit_loop.max_epochs = 2
    fit.fit(network, loader(batches))
    later = network.network.encoders["region_1"].backbone.state_dict()
    assert [name for name in state if torch.equal(later[name], state[name]) and "num_batches" not in name] == []


def test_freed_backbones_begin_at_a_low_rate_and_the_others_go_on(tiny_args, batches, tmp_path):
    source = module(tiny_args, backbone="resnet50")
    first = trainer(max_epochs=1)
    first.fit(source, loader(batches))
    first.save_checkpoint(tmp_path / "source.ckpt")
    settings = {"lr": 0.02, "warmup_fraction": 0.2, "layer_decay": 1.0}
    network = module(
        tiny_args, settings, backbone="resnet50", pretrained=str(tmp_path / "source.ckpt"), freeze_epochs=2
    )
    rates = []

    class Rates(pl.Callback):
        def on_before_optimizer_step(self, trainer, pl_module, optimizer):
            rates.append((optimizer.param_groups[0]["lr"], optimizer.param_groups[-1]["lr"]))

    trainer(max_epochs=5, callbacks=[Rates()]).fit(network, loader(batches))  # 15 steps, 3 of warm-up, freed at 6
    head = [0.02 * learning_rate_factor(step, total_steps=15, warmup_fraction=0.2) for step in range(15)]
    assert [after for _, after in rates] == pytest.approx(head)
    assert [before for before, _ in rates[6:9]] == pytest.approx([head[6] / 3, head[7] * 2 / 3, head[8]])
    assert [before for before, _ in rates[9:]] == pytest.approx(head[9:])


def test_an_endless_trainer_is_refused(tiny_args, batches):
    endless = trainer(max_epochs=-1)
    with pytest.raises(InputError, match="max_epochs or max_steps"):
        endless.fit(module(tiny_args), loader(batches))
