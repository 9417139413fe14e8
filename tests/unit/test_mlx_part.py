"""Where MLX must be here, it is: the tests of the MLX port skip as whole modules without it."""

from __future__ import annotations

import pytest


@pytest.mark.real("mlx_lm")
def test_mlx_computes():
    import mlx.core as mx
    import mlx_lm

    assert mlx_lm.__version__
    assert (mx.array([1.0, 2.0]) * 3).tolist() == [3.0, 6.0]
