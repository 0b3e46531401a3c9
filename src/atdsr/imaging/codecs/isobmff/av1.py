"""The colours that the sequence header of AV1 data states, for files whose boxes do not.

Source: AV1 Bitstream & Decoding Process Specification, sections 5.3, 5.5 and 6.4.2.
"""

from dataclasses import dataclass

_SEQUENCE_HEADER = 1
_UNSPECIFIED = 2


@dataclass(frozen=True)
class Nclx:
    """What samples mean in code points of ITU-T H.273, named after the box that states them.

    Attributes:
        primaries: ColourPrimaries.
        transfer: TransferCharacteristics.
        matrix: MatrixCoefficients.
        full_range: Whether samples use their full range.
    """

    primaries: int
    transfer: int
    matrix: int
    full_range: bool


class _Bits:
    """Bits of some data, the highest of a byte first; after the end there are zeros."""

    def __init__(self, data: bytes):
        self._value = int.from_bytes(data, "big")
        self._left = 8 * len(data)

    def take(self, count: int = 1) -> int:
        """Return the next bits as a number."""
        self._left -= count
        shifted = self._value >> self._left if self._left >= 0 else 0
        return shifted & ((1 << count) - 1)

    def skip_variable(self) -> None:
        """Skip a number whose leading zeros state its length."""
        zeros = 0
        while zeros < 32 and not self.take():
            zeros += 1
        self.take(zeros)


def read_colour(data: bytes) -> Nclx | None:
    """Return the colours that AV1 data state; None where no sequence header comes first."""
    at = 0
    while at + 2 <= len(data):
        kind, extended, sized = data[at] >> 3 & 15, data[at] >> 2 & 1, data[at] >> 1 & 1
        at += 1 + extended
        size, shift = 0, 0
        while sized and at < len(data) and shift < 56:
            byte = data[at]
            size |= (byte & 0x7F) << shift
            at, shift = at + 1, shift + 7
            if byte < 0x80:
                break
        if kind == _SEQUENCE_HEADER:
            return _sequence_header(_Bits(data[at : at + min(size, 256)]))
        if not sized:
            return None
        at += size
    return None


def _sequence_header(bits: _Bits) -> Nclx:
    profile, _, reduced = bits.take(3), bits.take(), bits.take()
    if reduced:
        bits.take(5)
    else:
        _skip_operating_points(bits)
    width, height = 1 + bits.take(4), 1 + bits.take(4)
    bits.take(width)
    bits.take(height)
    if not reduced and bits.take():  # numbers of frames
        bits.take(7)
    bits.take(3)
    if not reduced:
        _skip_tools(bits)
    bits.take(3)
    return _colour_config(bits, profile)


def _skip_operating_points(bits: _Bits) -> None:
    model = delay = 0
    if bits.take():  # timing
        bits.take(64)
        if bits.take():
            bits.skip_variable()
        model = bits.take()
        if model:
            delay = 1 + bits.take(5)
            bits.take(42)
    display = bits.take()
    for _ in range(1 + bits.take(5)):
        bits.take(12)
        if bits.take(5) > 7:
            bits.take()
        if model and bits.take():
            bits.take(2 * delay + 1)
        if display and bits.take():
            bits.take(4)


def _skip_tools(bits: _Bits) -> None:
    bits.take(4)
    ordered = bits.take()
    if ordered:
        bits.take(2)
    screen = 2 if bits.take() else bits.take()
    if screen and not bits.take():  # motion vectors of whole pixels are not chosen by frame
        bits.take()
    if ordered:
        bits.take(3)


def _colour_config(bits: _Bits, profile: int) -> Nclx:
    if bits.take() and profile == 2:  # more than 8 bits
        bits.take()
    gray = profile != 1 and bits.take()
    points = _UNSPECIFIED, _UNSPECIFIED, _UNSPECIFIED
    if bits.take():
        points = bits.take(8), bits.take(8), bits.take(8)
    full = bool((not gray and points == (1, 13, 0)) or bits.take())
    return Nclx(*points, full)
