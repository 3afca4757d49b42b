"""SwinV2's cosine attention through torch's fused kernel, with timm's own weights.

timm multiplies normalised queries and keys, scales, adds the position bias and the shift mask, and takes the softmax in
separate kernels; its position-bias network runs anew at every call. Here the clamped logit scale multiplies the
normalised queries, bias and shift mask become the additive mask of `scaled_dot_product_attention`, and in evaluation
outside of `torch.compile` and `torch.export` the mask is kept until a weight that it depends on changes. Source of the
formula: Liu et al. 2022, Swin Transformer V2, section 3.3.
"""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from timm.models.swin_transformer_v2 import PatchMerging, SwinTransformerV2Block, WindowAttention
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

MAX_LOGIT_SCALE = math.log(1.0 / 0.01)
# On a GPU the memory-efficient kernel alone gives a gradient to an additive mask. cuDNN's backward pass is NaN for
# windows of 64 tokens (pytorch/pytorch#196678); flash attention takes no mask there, and is the fused kernel of a CPU.
GPU_KERNELS = (SDPBackend.EFFICIENT_ATTENTION, SDPBackend.MATH)
CPU_KERNELS = (SDPBackend.FLASH_ATTENTION, SDPBackend.MATH)


class FusedWindowAttention(WindowAttention):
    """timm's `WindowAttention`, same parameters and buffers, computed by `scaled_dot_product_attention`."""

    relative_coords_table: Tensor
    relative_position_index: Tensor
    _kept: tuple[tuple[Any, ...], Tensor] | None = None

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """Attend within windows.

        Args:
            x: tokens (images * windows, tokens, channels), windows of one image side by side.
            mask: 0 where a pair of tokens may attend, strongly negative elsewhere (windows, tokens, tokens), or None.

        Returns:
            Tensor of the shape of `x`.
        """
        rows, tokens, channels = x.shape
        bias = None if self.q_bias is None else torch.cat((self.q_bias, torch.zeros_like(self.q_bias), self.v_bias))
        windows = 1 if mask is None else mask.shape[0]
        head_width = channels // self.num_heads
        qkv = F.linear(x, self.qkv.weight, bias).view(rows // windows, windows, tokens, 3, self.num_heads, head_width)
        query, key, value = (each.flatten(1, 2) for each in qkv.permute(3, 0, 1, 4, 2, 5).unbind(0))
        scale = torch.clamp(self.logit_scale, max=MAX_LOGIT_SCALE).exp().repeat(windows, 1, 1)
        additive_mask = self._additive_mask(mask).to(query.dtype)
        # Here, and not around the network: gradient checkpointing comes back in the backward pass.
        with sdpa_kernel(list(CPU_KERNELS if x.device.type == "cpu" else GPU_KERNELS)):
            out = F.scaled_dot_product_attention(
                F.normalize(query, dim=-1) * scale,
                F.normalize(key, dim=-1),
                value,
                attn_mask=additive_mask,
                dropout_p=self.attn_drop.p if self.training else 0.0,
                scale=1.0,
            )
        out = out.view(rows // windows, windows, self.num_heads, tokens, head_width).transpose(2, 3)
        return self.proj_drop(self.proj(out.reshape(rows, tokens, channels)))

    def train(self, mode: bool = True) -> FusedWindowAttention:
        """Set the mode; training forgets the kept mask."""
        if mode:
            self._kept = None
        return super().train(mode)

    def _additive_mask(self, mask: Tensor | None) -> Tensor:
        """Position bias plus shift mask (1, windows * heads, tokens, tokens); kept while its sources stay."""
        weights = list(self.cpb_mlp.parameters())
        wants_gradient = torch.is_grad_enabled() and any(weight.requires_grad for weight in weights)
        # A translated network can't look at a tensor's address or version.
        if self.training or wants_gradient or torch.compiler.is_compiling():
            return self._compute_mask(mask)
        sources = [*weights, self.relative_coords_table, *([] if mask is None else [mask])]
        kind = self.relative_coords_table.device.type
        autocast = torch.amp.is_autocast_available(kind) and torch.is_autocast_enabled(kind)
        precision = torch.get_autocast_dtype(kind) if autocast else None
        state = (
            precision,  # under autocast the bias is computed, and kept, in fewer bits
            *((s.data_ptr(), s.device, s.dtype, None if s.is_inference() else s._version) for s in sources),
        )
        if self._kept is None or self._kept[0] != state:
            # Outside inference mode, so that a later pass that needs gradients may use what was kept.
            with torch.inference_mode(False), torch.no_grad():
                self._kept = (state, self._compute_mask(mask))
        return self._kept[1]

    def _compute_mask(self, mask: Tensor | None) -> Tensor:
        area = self.window_size[0] * self.window_size[1]
        table = 16 * torch.sigmoid(self.cpb_mlp(self.relative_coords_table).view(-1, self.num_heads))
        bias = table[self.relative_position_index.view(-1)].view(area, area, self.num_heads)
        # A GPU's fused kernels refuse, without a word, a mask whose last stride is not 1; a CPU takes any.
        bias = bias.permute(2, 0, 1).contiguous()
        if mask is None:
            return bias.unsqueeze(0)
        return (bias.unsqueeze(0) + mask.unsqueeze(1)).reshape(1, -1, area, area)


def start_from_scratch(network: nn.Module) -> None:
    """Initial weights for training without loaded ones on few steps, in place.

    timm starts the residual norms at 0 and linear weights at a spread of 0.02, which suits 300 epochs of a million
    images: behind a norm a weight's size acts as an inverse learning rate, so 0.02 is a fast one for narrow layers.
    Here linear weights keep the variance (spread 1 / sqrt(inputs)) and residual branches count from the first step.
    """
    block: Any
    merging: Any
    for block in (module for module in network.modules() if isinstance(module, SwinTransformerV2Block)):
        for norm in (block.norm1, block.norm2):
            nn.init.ones_(norm.weight)
        for linear in (block.attn.qkv, block.attn.proj, block.mlp.fc1, block.mlp.fc2):
            nn.init.normal_(linear.weight, std=linear.in_features**-0.5)
    for merging in (module for module in network.modules() if isinstance(module, PatchMerging)):
        nn.init.normal_(merging.reduction.weight, std=merging.reduction.in_features**-0.5)


def fuse_attention(network: nn.Module) -> int:
    """Give every SwinV2 window attention in `network` the fused computation, in place; weights and their names stay.

    Returns:
        How many attentions were changed.
    """
    attentions = [module for module in network.modules() if type(module) is WindowAttention]
    for attention in attentions:
        attention.__class__ = FusedWindowAttention
    return len(attentions)
