"""llama4lab.plots: what its pictures share. The pictures themselves are drawn, and compared, in the notebooks."""

from itertools import pairwise

import matplotlib.pyplot as plt
import numpy as np
import pytest

from llama4lab import figures
from llama4lab.plots.marks import label_ends


@pytest.mark.parametrize("scale", ["linear", "log"])
def test_labels_of_lines_that_end_together_do_not_overlap_and_keep_their_order(scale):
    with plt.rc_context(figures.style.STYLE):
        fig, ax = plt.subplots()
        ax.set(yscale=scale, ylim=(0.01, 1))
        ends = [
            ("rope", 0.97, "#009e73"),
            ("hybrid", 1.0, "#0072b2"),
            ("chunk-only", 0.03, "#d55e00"),
            ("no position\nencoding", 0.99, "#cc79a7"),
        ]
        label_ends(ax, ends)
        fig.draw_without_rendering()
        boxes = {text.get_text(): text.get_window_extent() for text in ax.texts}
        edge = ax.get_window_extent().x1
    plt.close(fig)
    order = sorted(ends, key=lambda end: end[1])
    for (lower, *_), (upper, *_) in pairwise(order):
        assert boxes[lower].y1 <= boxes[upper].y0 + 1
    assert all(box.x0 > edge for box in boxes.values())
    level_of_line = ax.transData.transform((0, 0.03))[1]
    assert np.isclose((boxes["chunk-only"].y0 + boxes["chunk-only"].y1) / 2, level_of_line, atol=3)
