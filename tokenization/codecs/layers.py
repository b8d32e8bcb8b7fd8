"""Layers of decoders that are fed piece by piece: what they give in all is what the network gives for the whole at once.

Each keeps what it needs of the past, and holds back what the future can still change; nothing is computed twice. Sums are the network's own, but added up in another
order here and there, so results may differ in a float32's last digits.

Shapes: one row, D channels, L steps; ``x_1DL`` goes in, as many steps as there are, also none.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from tokenization.adapter import TokenizerError

if TYPE_CHECKING:
    from torch import Tensor

Pad = Callable[[Any], Any]


class Layer(Protocol):
    """Takes steps in, gives steps out; ``last`` says that no more follow."""

    def feed(self, x_1DL: Tensor, last: bool) -> Tensor: ...


@dataclass
class Pointwise:
    """What looks at one step at a time."""

    function: Callable[[Any], Any]

    def feed(self, x_1DL: Tensor, last: bool) -> Tensor:
        return self.function(x_1DL) if x_1DL.shape[-1] else x_1DL


@dataclass
class Chain:
    """One after the other."""

    layers: Sequence[Layer]

    def feed(self, x_1DL: Tensor, last: bool) -> Tensor:
        for layer in self.layers:
            x_1DL = layer.feed(x_1DL, last)
        return x_1DL


@dataclass
class Sum:
    """Two ways for the same steps, added up: what came by the faster one waits."""

    straight: Layer
    through: Layer
    _ahead: Any = None

    def feed(self, x_1DL: Tensor, last: bool) -> Tensor:
        fast_1DL, slow_1DL = self.straight.feed(x_1DL, last), self.through.feed(x_1DL, last)
        fast_1DL = joined(self._ahead, fast_1DL)
        steps = slow_1DL.shape[-1]
        self._ahead = fast_1DL[..., steps:]
        return fast_1DL[..., :steps] + slow_1DL


class Convolution:
    """A convolution that steps by one. ``begin`` pads the start, which needs more than ``needs`` steps; ``after`` zeros follow the end."""

    def __init__(self, conv: Any, begin: Pad, needs: int, after: int) -> None:
        self._conv, self._weight = (
            conv,
            conv.weight,
        )  # once: weights that are kept as direction and length are multiplied here
        self._begin, self._needs, self._after = begin, needs, after
        self._held: Any = None
        self._begun = False

    @property
    def _reach(self) -> int:
        return (self._conv.kernel_size[0] - 1) * self._conv.dilation[0]

    def feed(self, x_1DL: Tensor, last: bool) -> Tensor:
        import torch.nn.functional as F

        heard_1DL = joined(self._held, x_1DL)
        self._held = heard_1DL
        if not self._begun:
            if not heard_1DL.shape[-1] or (heard_1DL.shape[-1] <= self._needs and not last):
                return self._nothing(x_1DL)
            heard_1DL, self._begun = self._begin(heard_1DL), True
        if last:
            heard_1DL = F.pad(heard_1DL, (0, self._after))
        self._held = heard_1DL[..., max(0, heard_1DL.shape[-1] - self._reach) :]
        if heard_1DL.shape[-1] <= self._reach:
            return self._nothing(x_1DL)
        c = self._conv
        return F.conv1d(heard_1DL, self._weight, c.bias, dilation=c.dilation, groups=c.groups)

    def _nothing(self, x_1DL: Tensor) -> Tensor:
        return x_1DL.new_zeros(1, self._conv.out_channels, 0)


class Upsampling:
    """A transposed convolution: pieces overlap by what a step sounds on, and the overlaps are added. ``before`` and ``after`` steps are cut off the whole."""

    def __init__(self, conv: Any, before: int, after: int) -> None:
        self._conv, self._weight = conv, conv.weight
        self._before, self._after = before, after
        self._tail: Any = None

    def feed(self, x_1DL: Tensor, last: bool) -> Tensor:
        sounded_1DL = self._sounded(x_1DL, last)
        bias = self._conv.bias
        if bias is not None:
            sounded_1DL = sounded_1DL + bias[:, None]
        cut = min(self._before, sounded_1DL.shape[-1])
        self._before -= cut
        return sounded_1DL[..., cut:]

    def _sounded(self, x_1DL: Tensor, last: bool) -> Tensor:
        """Without the bias, and uncut at the start."""
        import torch.nn.functional as F

        c, steps = self._conv, x_1DL.shape[-1] * self._conv.stride[0]
        if steps:
            made_1DL = F.conv_transpose1d(x_1DL, self._weight, None, c.stride, groups=c.groups)
            if self._tail is not None:
                made_1DL[..., : self._tail.shape[-1]] += self._tail
        else:
            made_1DL = x_1DL.new_zeros(1, c.out_channels, 0) if self._tail is None else self._tail
        end = max(0, made_1DL.shape[-1] - self._after) if last else steps
        self._tail = made_1DL[..., steps:] if steps or self._tail is not None else None
        return made_1DL[..., :end]


@dataclass
class Recurrent:
    """An LSTM beside what goes into it."""

    lstm: Any
    _state: Any = None

    def feed(self, x_1DL: Tensor, last: bool) -> Tensor:
        if not x_1DL.shape[-1]:
            return x_1DL
        x_L1D = x_1DL.permute(2, 0, 1)
        y_L1D, self._state = self.lstm(x_L1D, self._state)
        return (y_L1D + x_L1D).permute(1, 2, 0)


@dataclass
class Attention:
    """A causal transformer of the library, which keeps keys and values itself."""

    transformer: Any
    _kept: dict[str, Any] = field(default_factory=dict)

    def feed(self, x_1DL: Tensor, last: bool) -> Tensor:
        if not x_1DL.shape[-1]:
            return x_1DL
        made = self.transformer(x_1DL.mT, use_cache=True, **self._kept)
        self._kept = {"past_key_values": made.past_key_values}
        return made.last_hidden_state.mT


def joined(before: Tensor | None, after: Tensor) -> Tensor:
    """One behind the other."""
    import torch

    return after if before is None else torch.cat([before, after], dim=-1)


# As the library writes them


def _require_causal(module: Any) -> None:
    """Raises :class:`TokenizerError` where a layer hears the whole: no published model of these does."""
    if not module.causal or getattr(module, "norm_type", "weight_norm") != "weight_norm":
        raise TokenizerError("these weights are of a model whose layers hear the whole utterance: leave out --stream")


def padded_as(module: Any) -> Convolution:
    """A causal convolution of EnCodec or Mimi, which mirrors its start, or fills it."""
    _require_causal(module)
    left, mirrors = int(module.padding_total), module.pad_mode == "reflect"
    return Convolution(module.conv, lambda x: module._pad1d(x, (left, 0), module.pad_mode), left if mirrors else 0, 0)


def symmetric(conv: Any) -> Convolution:
    """A plain convolution, with as many zeros on either side."""
    import torch.nn.functional as F

    [zeros] = conv.padding
    return Convolution(conv, lambda x: F.pad(x, (zeros, 0)), 0, zeros)


def trimmed_as(module: Any) -> Upsampling:
    """A transposed convolution of EnCodec or Mimi, cut at its end."""
    _require_causal(module)
    overlap = module.conv.kernel_size[0] - module.conv.stride[0]
    after = math.ceil(overlap * module.trim_right_ratio)
    return Upsampling(module.conv, overlap - after, after)


def plain(conv: Any) -> Upsampling:
    """A plain transposed convolution."""
    [zeros], [more] = conv.padding, conv.output_padding
    return Upsampling(conv, zeros, zeros - more)


def resnet(module: Any) -> Sum:
    return Sum(layer_of(module.shortcut), chain(module.block))


def dac_unit(module: Any) -> Sum:
    return Sum(Pointwise(lambda x: x), chain([module.snake1, module.conv1, module.snake2, module.conv2]))


def dac_block(module: Any) -> Chain:
    return chain([module.snake1, module.conv_t1, module.res_unit1, module.res_unit2, module.res_unit3])


def dac_decoder(module: Any) -> Chain:
    return chain([module.conv1, *module.block, module.snake1, module.conv2, module.tanh])


MADE: dict[str, Callable[[Any], Layer]] = {
    "ELU": Pointwise, "Identity": Pointwise, "Snake1d": Pointwise, "Tanh": Pointwise,
    "EncodecConv1d": padded_as, "EncodecConvTranspose1d": trimmed_as, "EncodecResnetBlock": resnet,
    "EncodecLSTM": lambda module: Recurrent(module.lstm),
    "MimiConv1d": padded_as, "MimiConvTranspose1d": trimmed_as, "MimiResnetBlock": resnet, "MimiTransformerModel": Attention,
    "Conv1d": symmetric, "ConvTranspose1d": plain, "DacResidualUnit": dac_unit, "DacDecoderBlock": dac_block, "DacDecoder": dac_decoder,
    "ParametrizedConv1d": symmetric, "ParametrizedConvTranspose1d": plain,
}  # fmt: skip
"""How each of the library's modules is fed piece by piece, by the name of its class."""


def layer_of(module: Any) -> Layer:
    """A fresh layer of a module of the library. Raises :class:`TokenizerError` for one that is not known here."""
    kind = type(module).__name__
    if kind not in MADE:
        raise TokenizerError(f"a layer of kind {kind} cannot be fed piece by piece here: leave out --stream")
    return MADE[kind](module)


def chain(modules: Any) -> Chain:
    return Chain([layer_of(module) for module in modules])
