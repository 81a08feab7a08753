"""The network's shape, entry and cost."""

import numpy as np
import pytest
import torch

from qd_agent.inference.network import (
    POINTS,
    WIDE,
    NetworkConfig,
    SizingNetwork,
    _Convolution,
    _side_by_side,
    bin_patterns,
)


def test_binning_averages_covered_points_and_scales_to_mean_one():
    intensity = np.zeros((1, 5004))
    coverage = np.zeros((1, 5004))
    intensity[0, :8] = [1, 2, 3, 99, 4, 4, 4, 4]
    coverage[0, :8] = [1, 1, 1, 0, 1, 1, 1, 1]
    binned, covered = bin_patterns(intensity, coverage)
    assert binned.shape == (1, POINTS)
    assert covered[0, :3].tolist() == [0.75, 1.0, 0.0]
    assert binned[0, 0] / binned[0, 1] == pytest.approx(2.0 / 4.0)
    assert (binned * covered).sum() / covered.sum() == pytest.approx(1.0)


def test_what_is_not_covered_does_not_matter():
    network = SizingNetwork().eval()
    coverage = torch.ones(1, POINTS)
    coverage[0, 300:400] = 0.0
    pattern = torch.rand(1, POINTS) + 0.5
    other = pattern.clone()
    other[0, 300:400] = 1e3
    with torch.no_grad():
        first, second = network(pattern, coverage), network(other, coverage)
    torch.testing.assert_close(first.diameter, second.diameter)


def test_flattening_removes_a_straight_background():
    network = SizingNetwork()
    ramp = torch.linspace(2.0, 0.5, POINTS)[None]
    flat = network.channels(ramp, torch.ones(1, POINTS))[0, 1]
    assert flat[150:-150].abs().max() < 1e-3


@pytest.mark.parametrize(
    ("config", "weights"), [(NetworkConfig(), (190_000, 210_000)), (WIDE, (355_000, 370_000))]
)
def test_outputs_and_weights_have_the_promised_size(
    config: NetworkConfig, weights: tuple[int, int]
):
    network = SizingNetwork(config).eval()
    with torch.no_grad():
        out = network(torch.ones(2, POINTS), torch.ones(2, POINTS))
    assert out.diameter.shape == (2, config.diameter.count)
    assert out.kind.shape == (2, 3)
    assert weights[0] < sum(p.numel() for p in network.parameters()) < weights[1]


def test_a_config_survives_the_card():
    import json

    for config in (NetworkConfig(features=64), WIDE):
        assert NetworkConfig.from_dict(json.loads(json.dumps(config.as_dict()))) == config
    with pytest.raises((TypeError, KeyError, ValueError)):
        NetworkConfig.from_dict({"diameter": {"first": 1}})


def test_how_steep_a_pattern_is_does_not_enter_by_its_root():
    """Scaled and lifted roots look alike; points that are not covered stay nothing."""
    network = SizingNetwork(NetworkConfig(standardized=True))
    root = 1.0 + 0.2 * torch.sin(torch.linspace(0.0, 60.0, 1251))
    coverage = torch.ones(2, 1251)
    coverage[:, :100] = 0.0
    entered = network.channels(torch.stack([root, 3.0 * root + 2.0]) ** 2, coverage)[:, 0]
    torch.testing.assert_close(entered[0], entered[1], atol=1e-4, rtol=0.0)
    assert (entered[:, :100] == 0).all()
    assert entered[0, 100:].std() == pytest.approx(1.0, abs=0.01)


def test_a_flat_line_enters_as_nothing():
    network = SizingNetwork(NetworkConfig(standardized=True))
    assert (network.channels(torch.ones(1, 1251), torch.ones(1, 1251))[:, 0].abs() < 1e-3).all()


def test_a_card_from_before_the_root_was_standardized_is_read_as_it_was():
    old = NetworkConfig(standardized=False)
    values = old.as_dict()
    del values["standardized"]
    assert NetworkConfig.from_dict(values) == old


def test_convolutions_over_channels_side_by_side_are_those_of_one_dimension():
    torch.manual_seed(0)
    layer = _Convolution(6, 8, 9, stride=3, padding=4, bias=False)
    x = torch.randn(3, 6, 50)
    plain = torch.nn.functional.conv1d(x, layer.weight, None, 3, 4)
    torch.testing.assert_close(layer(_side_by_side(x))[:, :, 0], plain)
