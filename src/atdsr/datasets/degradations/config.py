"""What is done to a picture before it becomes LR: operations with ranges to draw from."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from atdsr.base.sections import ConfigSection, Number

_MAX_OPERATIONS = 32

BlurKernel = Literal[
    "iso",
    "aniso",
    "generalized_iso",
    "generalized_aniso",
    "plateau_iso",
    "plateau_aniso",
    "sinc",
]
"""The kernels of a blur, by the names of BasicSR's option files."""

ResizeKernel = Literal[
    "nearest",
    "area",
    "bilinear",
    "bicubic",
    "antialiased_bilinear",
    "antialiased_bicubic",
    "lanczos",
]
"""The kernels of a resize; the last three widen when they shrink a picture."""


def _check_order(bounds: tuple[Any, Any]) -> tuple[Any, Any]:
    if bounds[0] > bounds[1]:
        raise ValueError("it must be the lowest and the highest value, in this order")
    return bounds


def _check_odd(bounds: tuple[int, int]) -> tuple[int, int]:
    if not all(bound % 2 for bound in bounds):
        raise ValueError("kernels have odd sizes")
    return bounds


def _check_weights(weights: Mapping[str, float]) -> Mapping[str, float]:
    if not sum(weights.values()) > 0:
        raise ValueError("one of the weights must be above 0")
    return weights


Probability = Annotated[float, Field(ge=0, le=1), Number]
"""A number from 0 to 1."""
Weight = Annotated[float, Field(ge=0, le=1e6), Number]
"""How often one of several things is drawn, relative to the others."""
Quality = Annotated[int, Field(ge=1, le=100), Number]
"""A quality of JPEG or WebP."""
KernelSize = Annotated[int, Field(ge=3, le=63), Number]
"""The side of a blur kernel in pixels."""

Sigma = Annotated[float, Field(gt=0, le=50), Number]
"""A standard deviation of a kernel in pixels."""
Positive = Annotated[float, Field(gt=0, le=2500), Number]
"""A number above 0."""
Level = Annotated[float, Field(gt=0, le=255), Number]
"""A standard deviation of noise in levels of 8 bits."""
Share = Annotated[float, Field(gt=0, le=1), Number]
"""A part of a whole, above 0."""
Factor = Annotated[float, Field(gt=0, le=4), Number]
"""A factor of a size."""

# pairs of a lowest and a highest value
SigmaRange = Annotated[tuple[Sigma, Sigma], AfterValidator(_check_order)]
PositiveRange = Annotated[tuple[Positive, Positive], AfterValidator(_check_order)]
LevelRange = Annotated[tuple[Level, Level], AfterValidator(_check_order)]
ShareRange = Annotated[tuple[Share, Share], AfterValidator(_check_order)]
FactorRange = Annotated[tuple[Factor, Factor], AfterValidator(_check_order)]
QualityRange = Annotated[tuple[Quality, Quality], AfterValidator(_check_order)]
SizeRange = Annotated[
    tuple[KernelSize, KernelSize], AfterValidator(_check_order), AfterValidator(_check_odd)
]

BlurWeights = Annotated[dict[BlurKernel, Weight], AfterValidator(_check_weights)]
ResizeWeights = Annotated[dict[ResizeKernel, Weight], AfterValidator(_check_weights)]


class Blur(ConfigSection):
    """A blur by a kernel that is drawn.

    With C the position relative to the centre and S the covariance, kernels are exp(-q / 2) for
    the Gaussian ones, exp(-q^b / 2) for the generalized ones and 1 / (1 + q^b) for the plateau
    ones, q = C' S^-1 C (Wang et al., "Real-ESRGAN", arXiv 2107.10833, section 3.1); "sinc" is the
    circular low-pass filter of its section 3.3. Each is divided by its sum.

    Attributes:
        kind: "blur".
        probability: Share of the crops that are blurred.
        kernels: Weights of the kernels.
        sigma: Standard deviation in pixels of the picture as it is then.
        variance: Variances along the axes of an anisotropic kernel; None takes squares of two
            numbers from `sigma`. Its angle is drawn from all.
        size: Side of the kernel in pixels, odd.
        generalized: Exponent b of the generalized kernels.
        plateau: Exponent b of the plateau kernels.
        cutoff: Cutoff frequency of "sinc" as a share of pi; None is from 1/3 for sizes below 13
            and from 1/5 for others, up to 1, as in Real-ESRGAN's code.
    """

    kind: Literal["blur"] = "blur"
    probability: Probability = 1.0
    kernels: BlurWeights = Field(default={"iso": 1.0})
    sigma: SigmaRange = (0.2, 3.0)
    variance: PositiveRange | None = None
    size: SizeRange = (7, 21)
    generalized: PositiveRange = (0.5, 4.0)
    plateau: PositiveRange = (1.0, 2.0)
    cutoff: ShareRange | None = None


class Resize(ConfigSection):
    """A resize by a factor that is drawn, with a kernel that is drawn.

    "nearest", "area", "bilinear" and "bicubic" are those of PyTorch's `interpolate` ("nearest" as
    its "nearest-exact"), the last two without antialiasing, as in OpenCV. "antialiased_bicubic" is
    MATLAB's, "antialiased_bilinear" and "lanczos" are Pillow's.

    Attributes:
        kind: "resize".
        probability: Share of the crops that are resized.
        relative_to: What the factor multiplies, the size of LR ("lr") or that of the picture as it
            is then ("current").
        factor: The lowest and the highest factor; one of them is drawn unless `up` or `down` is
            above 0.
        up: Share of the resizes with a factor from 1 to the highest.
        down: Share of those with a factor from the lowest to 1. With `up` or `down`, all others
            have the factor 1.
        uniform: What is drawn uniformly, the factor ("factor") or 1 divided by it ("inverse"),
            which gives more small ones.
        kernels: Weights of the kernels.
    """

    kind: Literal["resize"] = "resize"
    probability: Probability = 1.0
    relative_to: Literal["lr", "current"] = "lr"
    factor: FactorRange = (1.0, 1.0)
    up: Probability = 0.0
    down: Probability = 0.0
    uniform: Literal["factor", "inverse"] = "factor"
    kernels: ResizeWeights = Field(default={"antialiased_bicubic": 1.0})

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.up + self.down > 1 + 1e-9:
            raise ValueError("up and down together are above 1")
        if self.up + self.down > 0 and not self.factor[0] <= 1 <= self.factor[1]:
            raise ValueError("factor must be a range around 1, since up or down is given")
        return self


class Noise(ConfigSection):
    """Gaussian or Poisson noise.

    Poisson noise has the variance of counts: with n levels of brightness in the crop and p the
    power of 2 from n on, a value v of 0..1 becomes Poisson(p v) / p, and the difference is
    multiplied by the strength (as in BasicSR, `basicsr/data/degradations.py`).

    Attributes:
        kind: "noise".
        probability: Share of the crops that get noise.
        sigma: Standard deviation of Gaussian noise, in levels of 8 bits.
        poisson: Share of Poisson noise; all other noise is Gaussian.
        strength: Strength of Poisson noise.
        gray: Share of noise that is the same in all channels.
        correlated: Share of Gaussian noise whose channels are correlated at random, with standard
            deviations up to the highest sigma (Zhang et al., "Designing a Practical Degradation
            Model", arXiv 2103.14006, section 3.3).
    """

    kind: Literal["noise"] = "noise"
    probability: Probability = 1.0
    sigma: LevelRange = (1.0, 25.0)
    poisson: Probability = 0.0
    strength: PositiveRange = (0.05, 3.0)
    gray: Probability = 0.4
    correlated: Probability = 0.0

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.gray + self.correlated > 1 + 1e-9:
            raise ValueError("gray and correlated together are above 1")
        return self


class Jpeg(ConfigSection):
    """Compression as JPEG, by libjpeg.

    Attributes:
        kind: "jpeg".
        probability: Share of the crops that are compressed.
        quality: Quality, drawn uniformly.
        subsampled: Share with colour at half the resolution (4:2:0); all others have it in full
            (4:4:4).
        offset: Whether the grid of blocks begins at a random place, as in a crop of a larger file.
    """

    kind: Literal["jpeg"] = "jpeg"
    probability: Probability = 1.0
    quality: QualityRange = (30, 95)
    subsampled: Probability = 1.0
    offset: bool = True


class Webp(ConfigSection):
    """Compression as lossy WebP, by libwebp.

    Attributes:
        kind: "webp".
        probability: Share of the crops that are compressed.
        quality: Quality, drawn uniformly.
        offset: See `Jpeg`.
    """

    kind: Literal["webp"] = "webp"
    probability: Probability = 1.0
    quality: QualityRange = (30, 95)
    offset: bool = True


Simple = Blur | Resize | Noise | Jpeg | Webp
"""What changes pixels."""
_LENGTH = Field(min_length=1, max_length=_MAX_OPERATIONS)
_BY_KIND = Field(discriminator="kind")


class InOrder(ConfigSection):
    """Operations in this order, as one.

    Attributes:
        kind: "sequence".
        probability: Share of the crops that they are done to.
        operations: The operations.
    """

    kind: Literal["sequence"] = "sequence"
    probability: Probability = 1.0
    operations: Annotated[tuple[Annotated[Simple, _BY_KIND], ...], _LENGTH]


class Choice(ConfigSection):
    """One of several operations.

    Attributes:
        kind: "choice".
        probability: Share of the crops that one is done to.
        operations: The operations.
        weights: Their weights; None takes all as often.
    """

    kind: Literal["choice"] = "choice"
    probability: Probability = 1.0
    operations: Annotated[tuple[Annotated[Simple | InOrder, _BY_KIND], ...], _LENGTH]
    weights: tuple[Weight, ...] | None = None

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.weights is not None:
            if len(self.weights) != len(self.operations):
                raise ValueError("weights must be as many as operations")
            _check_weights({str(number): w for number, w in enumerate(self.weights)})
        return self


class Shuffle(ConfigSection):
    """Operations in random order, except that those with a resize in them keep theirs.

    Attributes:
        kind: "shuffle".
        probability: Share of the crops that they are done to.
        operations: The operations.
    """

    kind: Literal["shuffle"] = "shuffle"
    probability: Probability = 1.0
    operations: Annotated[tuple[Annotated[Simple | InOrder | Choice, _BY_KIND], ...], _LENGTH]


Operation = Simple | InOrder | Choice | Shuffle
"""What a degradation consists of."""


class Degradation(ConfigSection):
    """How LR is made from HR.

    A crop that does not have the size of LR after the last operation is resized to it by MATLAB's
    bicubic.

    Attributes:
        eight_bits: Whether values are clamped to 0..1 after each operation, and rounded to 8 bits
            at the end. Otherwise they stay as they are, as in the training of denoisers.
        operations: What is done, in this order.
        clean: Share of the crops with which nothing of that is done, so that a network learns to
            leave clean pictures as they are.
    """

    eight_bits: bool = True
    operations: Annotated[tuple[Annotated[Operation, _BY_KIND], ...], _LENGTH]
    clean: Probability = 0.0


def contains_resize(operation: Operation) -> bool:
    """Return whether an operation may change the size of a picture."""
    if isinstance(operation, InOrder | Choice | Shuffle):
        return any(contains_resize(inner) for inner in operation.operations)
    return isinstance(operation, Resize)
