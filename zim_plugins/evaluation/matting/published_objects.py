"""SDMatte's comparison of promptable matting on whole objects, as its authors printed it; never mixed with our rows.

Read off the table image of their public page (vivo, ICCV 2025), MSE x 1e3, SAD and Grad as they define them. The last
rows come from other places and say so. ZIM's Grad is defined otherwise and therefore left out.
"""

from zim_plugins.evaluation.matting.published import PublishedRow

COLUMNS = ("MSE x 1e3", "SAD", "Grad")
SOURCE = (
    "Printed in SDMatte's Table 1 (its authors' runs, prompts and definitions), ZIM's in its own Table 2; not measured "
    "here, and not comparable with the tables above digit by digit."
)
DATASETS = {("aim500", "all"): 0, ("am2k", "all"): 1, ("p3m10k", "P3M-500-NP"): 2}
"""Column of `_BOX` by data set and subset; RefMatte-RW-100, the fourth, is no data set of this project."""
_BOX = """
MAM 11.6/36.7/21.0 3.8/17.1/11.3 6.1/18.9/13.6
MatAny 54.5/106.3/31.7 13.6/35.3/14.1 32.8/61.0/22.2
SmartMatting 7.7/25.3/27.2 3.8/14.9/16.5 3.7/14.1/18.3
SEMat_(SAM2) 7.1/24.3/16.1 2.8/12.9/8.7 2.8/10.9/11.2
LiteSDMatte 5.6/20.8/20.9 3.3/12.5/11.1 2.5/9.3/12.6
SDMatte 4.9/19.5/20.6 2.9/11.0/10.1 2.0/7.9/9.3
SDMatte* 3.6/16.4/14.9 2.0/9.2/8.7 1.6/7.6/10.9
ZIM_(its_Table_2) 24.3/-/- 3.6/-/- -/-/-
"""
_POINT = """
SDMatte 10.9/31.8/- 6.0/17.5/- -/-/-
ZIM_(its_Table_2) 42.4/-/- 22.6/-/- -/-/-
"""


def published_objects(dataset: str, subset: str, prompts: frozenset[str]) -> list[tuple[PublishedRow, tuple[str, ...]]]:
    """Return the printed rows on a data set's subset with their cells, "" where nothing was printed.

    Args:
        dataset: this project's name for it.
        subset: its part, "all" for the whole.
        prompts: kinds of prompt that were asked here: only their rows are wanted.
    """
    column = DATASETS.get((dataset, subset))
    if column is None:
        return []
    rows = []
    for prompt, text in (("box", _BOX), ("point", _POINT)):
        if prompt not in prompts:
            continue
        for line in text.strip().splitlines():
            method, *cells = line.split()
            printed = cells[column].split("/")
            if printed != ["-"] * 3:
                values = tuple(float("nan") if one == "-" else float(one) for one in printed)
                cells = tuple("" if one == "-" else one for one in printed)
                rows.append((PublishedRow(method.replace("_", " "), prompt, values), cells))
    return rows
