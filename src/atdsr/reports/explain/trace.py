"""What one layer did with one picture: recorded in a forward pass, its attentions written out.

The network's fused attentions keep no weights. A `Trace` keeps what goes into them, and works the
weights out for the few tokens that somebody asks about, with the functions of `attention.py` and
`windows.py` (`tests/unit/reports/test_explain.py` holds the two together).
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from functools import cached_property, partial

import torch
import torch.nn.functional as F
from torch import Tensor

from atdsr.base.errors import AtdsrError
from atdsr.network.attention import position_bias, split_heads
from atdsr.network.model import ATD, Block, Layer
from atdsr.network.windows import partition, shift, shift_penalties

Progress = Callable[[float], None]
_RUNS_AT_ONCE = 32


class ExplainError(AtdsrError):
    """A layer, a place or a picture that cannot be explained."""


@dataclass(frozen=True, eq=False)
class Attended:
    """Which tokens one token attends to, and how much.

    Attributes:
        tokens: positions in the padded grid, row by row, int64 `k`; the query is among them.
        weights: `heads k`; each row sums to 1.
    """

    tokens: Tensor
    weights: Tensor


@dataclass(frozen=True, eq=False)
class Trace:
    """The inside of one layer for one picture.

    Tokens are counted row by row in the padded grid `h w`; the picture is its top left part.

    Attributes:
        name: `BLOCK.LAYER`, both counted from 0.
        layer: the layer itself.
        height: of the picture in pixels.
        width: of the picture in pixels.
        qkv: queries, keys and values, `h w 3c`.
        similarity: the map A, `n m`.
        learned: the block's dictionary as it was trained, `m c`.
        dictionary: the dictionary that the tokens looked up here, `m c`.
        refined: the dictionary after this layer, `m c`; None where the layer does not refine it.
    """

    name: str
    layer: Layer
    height: int
    width: int
    qkv: Tensor = field(repr=False)
    similarity: Tensor = field(repr=False)
    learned: Tensor = field(repr=False)
    dictionary: Tensor = field(repr=False)
    refined: Tensor | None = field(repr=False)

    @property
    def grid(self) -> tuple[int, int]:
        """Height and width after padding."""
        return self.qkv.shape[0], self.qkv.shape[1]

    @cached_property
    def categories(self) -> Tensor:
        """The dictionary token that each token looks up most, int64 `h w` (equation 11)."""
        return self.similarity.argmax(-1).view(self.grid)

    @cached_property
    @torch.no_grad()
    def keys(self) -> Tensor:
        """What the tokens' queries are compared with, unit vectors `m d` (equation 7)."""
        return F.normalize(self.layer.dictionary.key(self.dictionary), dim=-1, eps=1e-12)

    @cached_property
    def runs(self) -> Tensor:
        """The tokens of each run, `runs g`, a short last one completed (equation 12)."""
        category = self.layer.category
        keys, _ = category.sort_keys(self.categories.view(1, -1), self.qkv[None])
        order = keys[0].sort(stable=True).indices
        group = min(len(order), category.group)
        missing = -len(order) % group
        return torch.cat([order, order[len(order) - missing :].flip(0)]).view(-1, group)

    def token(self, x: int, y: int) -> int:
        """The token of a pixel of the picture."""
        return y * self.grid[1] + x

    def place(self, token: int) -> tuple[int, int]:
        """Column and row of a token, the inverse of `token`."""
        y, x = divmod(token, self.grid[1])
        return x, y

    @torch.no_grad()
    def category_attention(self, token: int) -> Attended:
        """The attention of a token to its run (equation 13).

        A token that completes a short last run is there twice; it is listed once, with the sum
        of its two weights.
        """
        # the completion of a run comes after all tokens, so the first place is the token's own
        place = int((self.runs.flatten() == token).nonzero()[0])
        run, row = divmod(place, self.runs.shape[1])
        tokens = self.runs[run]
        weights = self._within(tokens[None])[0, :, row]  # heads g
        distinct, where = tokens.unique(return_inverse=True)
        summed = weights.new_zeros(len(weights), len(distinct)).index_add_(1, where, weights)
        return Attended(distinct, summed)

    @torch.no_grad()
    def window_attention(self, token: int) -> Attended:
        """The attention of a token to its window (equation 6)."""
        window = self.layer.window
        side = window.side
        places = torch.arange(self.similarity.shape[0], device=self.qkv.device)
        places = places.view(1, *self.grid, 1)
        if window.shifted:
            places = shift(places, side)
        places = partition(places, side)[0, ..., 0]  # rows columns n
        row, column, query = (int(i) for i in (places == token).nonzero()[0])
        tokens = places[row, column]
        q, k, _ = split_heads(self.qkv.flatten(0, 1)[tokens], window.bias_table.shape[1])
        bias = position_bias(window.bias_table, side)[:, query]  # heads n
        scores = (q[:, query, None] * q.shape[-1] ** -0.5 @ k.mT)[:, 0] + bias
        if window.shifted:
            rows, columns = places.shape[:2]
            penalties = shift_penalties(side, scores.device)
            scores = scores + penalties[int(row == rows - 1), int(column == columns - 1), query]
        return Attended(tokens, scores.softmax(-1))

    @torch.no_grad()
    def alike_and_far(self, surroundings: Tensor) -> Tensor:
        """How much each pixel attends to what looks like it and is far away, `height width`.

        It is the attention (the mean of the heads) to the pixels of its own category in its run
        that are farther away than an eighth of the picture's longer side, each times its likeness.

        Args:
            surroundings: `height width f`; the likeness of two pixels is the product of theirs,
                not below 0.
        """
        padding = (0, 0, 0, self.grid[1] - self.width, 0, self.grid[0] - self.height)
        looks = F.pad(surroundings.to(self.qkv), padding).flatten(0, 1)  # 0 is like nothing
        token = torch.arange(len(looks), device=looks.device)
        places = torch.stack([token // self.grid[1], token % self.grid[1]], -1).to(looks.dtype)
        categories = self.categories.flatten()
        found = []
        for runs in self.runs.split(_RUNS_AT_ONCE):
            of_own = categories[runs][:, :, None] == categories[runs][:, None]
            likeness = (looks[runs] @ looks[runs].mT).clamp(min=0) * of_own
            far = torch.cdist(places[runs], places[runs]) > max(self.height, self.width) / 8
            attention = self._within(runs).mean(1)  # runs g g
            found.append((attention * far * likeness).sum(-1).flatten())
        result = looks.new_empty(len(looks))
        result[self.runs.flatten()[: len(looks)]] = torch.cat(found)[: len(looks)]
        return result.view(self.grid)[: self.height, : self.width]

    def _within(self, runs: Tensor) -> Tensor:
        """Attention weights of all tokens of some runs: `runs g` -> `runs heads g g`."""
        category = self.layer.category
        q, k, _ = split_heads(self.qkv.flatten(0, 1)[runs], category.heads)
        return (q * category.log_scale().exp() @ k.mT).softmax(-1)


def structure(categories: Tensor, count: int) -> float:
    """How much a category map tells: the information of a pixel about its neighbour, in nats.

    It is 0 for a map of one category and for noise, and grows with the number of categories that
    lie in connected regions.

    Args:
        categories: int64 `h w`, from 0 to count - 1.
        count: number of categories there can be.
    """
    beside = categories[:, :-1] * count + categories[:, 1:]
    below = categories[:-1] * count + categories[1:]
    pairs = torch.cat([beside.flatten(), below.flatten()]).bincount(minlength=count * count)
    joint = pairs.double().view(count, count)
    joint = (joint + joint.T) / (2 * joint.sum()).clamp(min=1)
    independent = joint.sum(0) * joint.sum(1)[:, None]
    return float((torch.xlogy(joint, joint) - torch.xlogy(joint, independent)).sum())


class _Enough(Exception):  # noqa: N818 - nothing is wrong
    """The layer that was asked for has run; what comes after it is not needed."""


def record(
    model: ATD, image: Tensor, name: str | None = None, progress: Progress = lambda _: None
) -> Trace:
    """Run the network on a picture and keep what one layer did.

    Args:
        model: the network.
        image: `1 3 h w` in [0, 1], of the network's device and dtype.
        name: of the layer; None is the one whose category map has the most `structure`.
        progress: called with the share of the work that is done, from 0 to 1.

    Raises:
        ExplainError: the network has no such layer.
    """
    layers = _named_layers(model)
    if name is not None:
        check_layer(model, name)
    wanted = list(layers) if name is None else [name]
    last = list(layers).index(wanted[-1]) + 1
    best = _Best()

    def after(done: int, trace: Trace) -> None:
        best.offer(trace)
        progress(done / last)
        if done == last:
            raise _Enough

    with ExitStack() as hooks, torch.no_grad(), suppress(_Enough):
        for done, (label, (block, layer)) in enumerate(layers.items(), start=1):
            if label in wanted:
                hooks.enter_context(_traced(label, block, layer, image, partial(after, done)))
        model(image)
    return best.trace


def _named_layers(model: ATD) -> dict[str, tuple[Block, Layer]]:
    blocks = (module for module in model.blocks if isinstance(module, Block))
    return {
        f"{b}.{i}": (block, layer)
        for b, block in enumerate(blocks)
        for i, layer in enumerate(module for module in block.layers if isinstance(module, Layer))
    }


def check_layer(model: ATD, name: str) -> None:
    """Find out before the work whether there is such a layer.

    Raises:
        ExplainError: there is none; the sentence tells which there are.
    """
    if name in _named_layers(model):
        return
    depths = model.config.depths
    ranges = ", ".join(f"{b}.0 to {b}.{depth - 1}" for b, depth in enumerate(depths))
    raise ExplainError(
        f"there is no layer {name}; this network has {len(depths)} blocks with the layers {ranges} "
        "(BLOCK.LAYER, counted from 0)."
    )


class _Best:
    """The trace with the most structure so far; only that one is kept in memory."""

    def __init__(self) -> None:
        self._structure = -1.0

    def offer(self, trace: Trace) -> None:
        shown = trace.categories[: trace.height, : trace.width]
        found = structure(shown.cpu(), trace.similarity.shape[1])
        if found > self._structure:
            self.trace, self._structure = trace, found


@contextmanager
def _traced(
    name: str, block: Block, layer: Layer, image: Tensor, give: Callable[[Trace], None]
) -> Iterator[None]:
    """While it lasts, a forward pass gives the trace of a layer once the layer is through."""
    inside: dict[str, Tensor] = {}

    def keep_qkv(_module: object, _inputs: object, output: Tensor) -> None:
        inside["qkv"] = output[0]

    def keep_similarity(_module: object, _inputs: object, output: tuple[Tensor, Tensor]) -> None:
        inside["similarity"] = output[1][0]

    def finish(_module: object, inputs: tuple[Tensor, ...], output: tuple[Tensor, ...]) -> None:
        trace = Trace(
            name=name,
            layer=layer,
            height=image.shape[2],
            width=image.shape[3],
            learned=block.dictionary.detach(),
            dictionary=inputs[1][0].detach(),
            refined=output[1][0] if layer.refinement is not None else None,
            **inside,
        )
        inside.clear()
        give(trace)

    hooks = [
        layer.qkv.register_forward_hook(keep_qkv),
        layer.dictionary.register_forward_hook(keep_similarity),
        layer.register_forward_hook(finish),
    ]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
