"""Tables 1 and 2 of the ZIM paper (arXiv 2411.00626); never mixed with our measurements unmarked."""

from dataclasses import dataclass

TABLE_1_COLUMNS = ("zim_sad", "zim_mse", "zim_mae", "zim_grad", "zim_conn")
TABLE_2_COLUMNS = ("zim_mse", "zim_grad")


@dataclass(frozen=True)
class PublishedRow:
    """One method with one kind of prompt."""

    method: str
    prompt: str
    values: tuple[float, ...]
    """In the order of the table's columns."""


@dataclass(frozen=True)
class PublishedTable:
    """One table of the paper, or the half of it that belongs to one data set and subset."""

    caption: str
    dataset: str
    subset: str
    columns: tuple[str, ...]
    rows: tuple[PublishedRow, ...]


def _rows(text: str, columns: slice) -> tuple[PublishedRow, ...]:
    rows = []
    for line in text.strip().splitlines():
        method, prompt, *values = line.split()
        rows.append(PublishedRow(method, prompt, tuple(float(v) for v in values[columns])))
    return tuple(rows)


_TABLE_1 = """
SAM point 68.076 21.651 23.307 16.496 67.730 17.093 5.569 5.756 4.800 17.035
SAM box 36.086 11.057 12.714 14.867 35.834 3.516 1.044 1.231 2.551 3.450
SAM2 point 77.552 25.296 26.952 20.691 77.182 44.538 14.794 14.982 8.191 44.474
SAM2 box 38.386 12.024 13.680 14.536 38.123 2.301 0.613 0.800 2.440 2.236
HQ-SAM point 110.681 36.674 38.331 16.855 110.421 18.842 6.457 6.645 4.599 18.792
HQ-SAM box 124.262 42.457 44.144 13.673 124.113 8.458 2.733 2.920 2.472 8.400
Matte-Any point 68.797 20.844 23.564 8.118 68.939 19.717 6.053 6.675 2.633 19.506
Matte-Any box 34.661 9.746 12.182 7.021 34.856 6.950 1.983 2.445 2.142 6.905
Matting-Any point 275.398 77.335 97.141 20.019 270.722 164.145 36.187 55.943 23.244 155.780
Matting-Any box 246.214 68.372 87.617 19.185 241.597 109.639 23.780 38.662 15.841 102.439
SMat point 363.821 123.664 128.651 28.669 362.767 177.392 59.113 62.622 20.420 176.125
SMat box 390.360 133.515 138.330 28.418 389.478 183.200 61.157 64.678 20.614 181.927
ZIM point 31.286 8.213 10.740 5.324 31.009 6.645 1.788 2.320 1.469 6.472
ZIM box 9.961 1.893 3.426 4.813 9.655 1.860 0.448 0.659 1.281 1.807
"""
"""Fine SAD MSE MAE Grad Conn, coarse SAD MSE MAE Grad Conn."""

_TABLE_2 = """
SAM point 82.495 48.716 88.648 56.331
SAM box 29.061 45.136 51.486 56.885
SAM2 point 55.614 49.568 84.867 62.052
SAM2 box 25.132 45.339 39.539 55.519
HQ-SAM point 47.911 41.366 63.222 49.596
HQ-SAM box 11.212 33.890 18.687 46.190
Matte-Any point 82.079 21.677 83.310 33.330
Matte-Any box 27.293 18.790 38.497 30.333
Matting-Any point 29.144 19.199 44.443 31.193
Matting-Any box 6.969 16.711 12.786 28.214
SMat point 104.492 37.493 83.180 42.936
SMat box 3.788 17.288 7.869 27.238
ZIM point 22.600 15.682 42.422 27.819
ZIM box 3.601 14.378 24.337 25.492
"""
"""AM-2K MSE Grad, AIM-500 MSE Grad."""

PUBLISHED = (
    PublishedTable("ZIM, Table 1: MicroMat-3K, fine", "micromat3k", "fine", TABLE_1_COLUMNS, _rows(_TABLE_1, slice(5))),
    PublishedTable(
        "ZIM, Table 1: MicroMat-3K, coarse", "micromat3k", "coarse", TABLE_1_COLUMNS, _rows(_TABLE_1, slice(5, 10))
    ),
    PublishedTable("ZIM, Table 2: AM-2K", "am2k", "all", TABLE_2_COLUMNS, _rows(_TABLE_2, slice(2))),
    PublishedTable("ZIM, Table 2: AIM-500", "aim500", "all", TABLE_2_COLUMNS, _rows(_TABLE_2, slice(2, 4))),
)


def published_tables(dataset: str) -> list[PublishedTable]:
    """The paper's tables on a data set."""
    return [table for table in PUBLISHED if table.dataset == dataset]
