"""What P knows, worked by hand with players of one rule each."""

import math

import pytest
import torch
from torch import Tensor, nn

from pipeline.networks.heatmaps import render
from pipeline.skeleton import FLIP
from pipeline.training.probes import auc, knowledge

SIZE = 20


class Always(nn.Module):
    """Everything is true."""

    def forward(self, image: Tensor, maps: Tensor) -> Tensor:
        return torch.ones(len(maps), 14)


class Looking(Always):
    """A joint is true in the row of the image's colour."""

    def forward(self, image: Tensor, maps: Tensor) -> Tensor:
        rows = maps[:, :14].amax(-1).argmax(-1)
        return 0.5 - (rows - image.mean((1, 2, 3)).unsqueeze(-1)).abs()


class Sided(Always):
    """A joint whose partner is another is true on its own side: the lower number to the left."""

    def forward(self, image: Tensor, maps: Tensor) -> Tensor:
        columns = maps[:, :14].amax(-2).argmax(-1)
        return torch.tensor([1.0 if j < FLIP[j] else -1.0 for j in range(14)]) * (10 - columns)


@pytest.fixture
def people() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Two people in images of colours 4 and 12, in these rows; joints of the lower number in column
    5, their partners in column 15, but for ankles, which are a pixel apart. A knee is unknown."""
    columns = torch.tensor([5.0 if j < FLIP[j] else 15.0 for j in range(14)])
    columns[0], columns[5] = 10.0, 11.0
    points = torch.stack([torch.stack([columns, torch.full((14,), y)], -1) for y in (4.0, 12.0)])
    points[1, 1] = math.nan
    images = torch.stack([torch.full((3, 8, 8), y) for y in (4.0, 12.0)])
    mask = (~points.isnan().any(-1)).float()
    pose = render(points, SIZE, 1.0)
    return images, torch.cat([pose, pose * 0], 1), points, mask


def test_who_says_true_to_everything_knows_nothing(people):
    assert {k: v.item() for k, v in knowledge(Always(), *people).items()} == {
        "pose/true_in_another": 1.0,
        "pose/true_exchanged": 1.0,
    }


def test_who_looks_is_not_deceived_by_another_photograph(people):
    known = knowledge(Looking(), *people)
    assert known["pose/true_in_another"] == 0
    assert known["pose/true_exchanged"] == 1


def test_who_knows_left_from_right_is_not_deceived_by_their_exchange(people):
    """Ankles, which are too near, neck and head, which have no partner, and the knee whose partner
    is unknown do not count."""
    known = knowledge(Sided(), *people)
    assert known["pose/true_exchanged"] == 0
    assert known["pose/true_in_another"] == pytest.approx(25 / 27)  # lower ankles are in the middle


def test_the_auc_worked_by_hand():
    answers = torch.tensor([[3.0, 1.0, 2.0], [2.0, 9.0, 0.0]])
    labels = torch.tensor([[1.0, 0.0, 0.0], [1.0, 1.0, 0.0]])
    mask = torch.tensor([[1.0, 1.0, 1.0], [1.0, 0.0, 1.0]])
    # 3 is above 1, 2 and 0; 2 above 1 and 0, and ties with 2; 9 does not count.
    assert auc(answers, labels, mask).item() == pytest.approx(5.5 / 6)
    assert auc(answers, labels * 0, mask) == auc(answers, labels * 0 + 1, mask) == 0.5
