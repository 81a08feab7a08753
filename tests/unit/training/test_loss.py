"""What the network is taught."""

import torch

from qd_agent.inference.network import Axis
from training.loss import soft_labels


def test_labels_keep_their_value():
    axis = Axis(1.0, 0.1, 106)
    values = torch.tensor([1.0, 4.234, 11.5, 99.0])
    labels = soft_labels(values, axis)
    centres = torch.from_numpy(axis.centres()).float()
    torch.testing.assert_close(labels @ centres, torch.tensor([1.0, 4.234, 11.5, 11.5]))
    torch.testing.assert_close(labels.sum(1), torch.ones(4))
