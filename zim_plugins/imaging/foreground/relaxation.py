"""Red-black Gauss-Seidel for the colours of one level of the pyramid.

Rows and columns are parted into even and odd ones, which makes four planes. The squares of a chessboard's colour are
two whole planes then, their neighbours windows of the other two, and nothing is computed for a square whose turn it is
not.
"""

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import torch

REGULARIZATION = 1e-5
"""Weight of the smoothness of F and B where alpha is constant (epsilon_r of the paper)."""
GRADIENT_WEIGHT = 1.0
"""Weight of their smoothness per unit of alpha's difference between neighbours (omega of the paper)."""

Parity = tuple[int, int]
"""Of a plane's rows and columns, counted with a frame of one pixel round the image."""
Planes = dict[Parity, "torch.Tensor"]
"""Values (..., h' w') by the parity of row and column."""
Window = tuple[slice, slice]
"""Rows and columns of a plane."""


def relax(
    layers: "torch.Tensor", image: "torch.Tensor", opacity: "torch.Tensor", sweeps: int, first_diagonal: int
) -> "torch.Tensor":
    """Return F and B after some sweeps, (2, 3, h, w).

    Args:
        layers: F and B before, (2, 3, h, w).
        image: I, (3, h, w).
        opacity: alpha, (h, w).
        sweeps: how often each pixel is solved.
        first_diagonal: row plus column of the level that the first pixel is.
    """
    size = opacity.shape[0], opacity.shape[1]
    framed, alphas, images = _planes(layers), _planes(opacity[None, None]), _planes(image[None])
    squares = {parity: _squares(parity, size, alphas, images[parity][0]) for parity in framed}
    for _ in range(sweeps):
        for turn in (0, 1):
            for parity, equations in squares.items():
                if (sum(parity) + first_diagonal) % 2 == turn:
                    _solve(framed, parity, equations)
            _renew_frame(framed, size)
    joined = layers.new_empty(layers.shape)
    for (p, q), equations in squares.items():
        rows, columns = equations.inner
        joined[..., 1 - p :: 2, 1 - q :: 2] = framed[p, q][..., rows, columns]
    return joined


class _Squares(NamedTuple):
    """The equations of a plane's pixels."""

    inner: Window
    """Where the pixels are; the rest is frame."""
    neighbours: "list[tuple[Parity, Window, torch.Tensor]]"
    """Those above, below, left and right: their plane, where in it, and their weights, (h', w')."""
    inverse: "tuple[torch.Tensor, torch.Tensor, torch.Tensor]"
    """Of [[a^2 + s, a(1-a)], [a(1-a), (1-a)^2 + s]]: for F, off the diagonal, for B, (h', w') each."""
    evidence: "torch.Tensor"
    """What the image says of F and of B, (2, 3, h', w')."""


def _squares(parity: Parity, size: tuple[int, int], alphas: Planes, image: "torch.Tensor") -> _Squares:
    import torch

    p, q = parity
    rows, columns = (slice(1 - odd, (side + odd) // 2 + 1 - odd) for odd, side in zip(parity, size, strict=True))
    opacity, image = alphas[parity][0, 0, rows, columns], image[:, rows, columns]
    neighbours: list[tuple[Parity, Window, torch.Tensor]] = []
    for plane, down, right in (((1 - p, q), p - 1, 0), ((1 - p, q), p, 0), ((p, 1 - q), 0, q - 1), ((p, 1 - q), 0, q)):
        ys, xs = slice(rows.start + down, rows.stop + down), slice(columns.start + right, columns.stop + right)
        weight = REGULARIZATION + GRADIENT_WEIGHT * (alphas[plane][0, 0, ys, xs] - opacity).abs()
        neighbours.append((plane, (ys, xs), weight))
    above, below, left, right_one = (weight for *_, weight in neighbours)
    smoothness, clear = above + below + left + right_one, 1.0 - opacity
    ff, fb, bb = opacity * opacity + smoothness, opacity * clear, clear * clear + smoothness
    determinant = ff * bb - fb * fb
    inverse = bb / determinant, fb / determinant, ff / determinant
    return _Squares((rows, columns), neighbours, inverse, torch.stack([opacity * image, clear * image]))


def _solve(framed: Planes, parity: Parity, equations: _Squares) -> None:
    """Solve for the colours of a plane's pixels, in place."""
    known = equations.evidence.clone()
    for plane, (ys, xs), weight in equations.neighbours:
        known.addcmul_(framed[plane][..., ys, xs], weight)
    for_f, across, for_b = equations.inverse
    foreground = (for_f * known[0]).addcmul_(across, known[1], value=-1.0)
    background = known[1].mul_(for_b).addcmul_(across, known[0], value=-1.0)
    rows, columns = equations.inner
    target = framed[parity][..., rows, columns]
    target[0] = foreground.clamp_(0.0, 1.0)
    target[1] = background.clamp_(0.0, 1.0)


def _planes(values: "torch.Tensor") -> Planes:
    """Divide (n, c, h, w) with a frame of replicated pixels."""
    from torch.nn.functional import pad

    framed = pad(values, (1, 1, 1, 1), mode="replicate")
    return {(p, q): framed[..., p::2, q::2].contiguous() for p in (0, 1) for q in (0, 1)}


def _renew_frame(framed: Planes, size: tuple[int, int]) -> None:
    """Copy the outermost pixels into the frame, in place."""
    height, width = size
    for other in (0, 1):
        framed[0, other][..., 0, :] = framed[1, other][..., 0, :]
        framed[(height + 1) % 2, other][..., (height + 1) // 2, :] = framed[height % 2, other][..., height // 2, :]
        framed[other, 0][..., 0] = framed[other, 1][..., 0]
        framed[other, (width + 1) % 2][..., (width + 1) // 2] = framed[other, width % 2][..., width // 2]
