"""The split: hashes that see through size and tone, and near-duplicates that stay on one side."""

import tracemalloc

import numpy as np
import pytest
from hypothesis import given, reject, settings
from hypothesis import strategies as st
from PIL import Image

from pipeline.data.split import (
    HASH_BITS,
    PARTS,
    SplitError,
    alike,
    around,
    difference_hash,
    joined,
    near_duplicates,
    require_torsos,
    split,
)
from pipeline.skeleton import LEFT_SHOULDER, RIGHT_HIP


def picture(seed):
    """A smooth picture, 170 x 160: cells of 10 px whose grey tones differ clearly."""
    cells = np.random.default_rng(seed).permutation(17 * 16).reshape(16, 17) % 28 * 8 + 10
    return Image.fromarray(np.kron(cells, np.ones((10, 10))).astype(np.uint8)).convert("RGB")


def apart(one, other):
    return int((difference_hash(np.asarray(one)) != difference_hash(np.asarray(other))).sum())


def test_hash_of_a_picture_that_brightens_to_the_right_is_all_ones():
    ramp = np.tile(np.arange(170, dtype=np.uint8)[:, None], (160, 1, 3))
    assert difference_hash(ramp).tolist() == [True] * HASH_BITS
    assert difference_hash(ramp[:, ::-1]).tolist() == [False] * HASH_BITS
    assert difference_hash(ramp.transpose(1, 0, 2)).tolist() == [False] * HASH_BITS


@pytest.mark.parametrize("size", [(340, 320), (85, 80), (510, 160)])
def test_hash_is_unchanged_by_size(size):
    assert apart(picture(0), picture(0).resize(size, Image.Resampling.BOX)) == 0


@pytest.mark.parametrize("tone", [lambda v: v * 0.6 + 40, lambda v: (v / 255) ** 0.7 * 255])
def test_hash_is_unchanged_by_tone(tone):
    assert apart(picture(1), picture(1).point([round(tone(v)) for v in range(256)] * 3)) == 0


def test_hashes_of_different_pictures_differ_in_about_half_of_the_bits():
    distances = [apart(picture(a), picture(b)) for a in range(5) for b in range(a)]
    assert min(distances) > 80


def test_near_duplicates_share_a_group_through_others():
    hashes = np.zeros((5, HASH_BITS), dtype=bool)
    hashes[2, :24] = True  # 24 bits from the first
    hashes[4, :48] = True  # 24 bits from that, 48 from the first
    hashes[1, :73] = True  # 25 bits from the nearest
    hashes[3] = True
    groups = near_duplicates(hashes, 24)
    assert groups[0] == groups[2] == groups[4]
    assert len(set(groups)) == 3
    assert len(set(near_duplicates(hashes, 23))) == 5
    assert len(set(near_duplicates(hashes, 25))) == 2


def all_pairs(hashes, bits):
    """The groups, by each hash's distance from each."""
    groups = np.arange(len(hashes))
    apart = (hashes[:, None] != hashes).sum(axis=-1)
    return joined(groups, np.argwhere(apart <= bits))


@given(
    st.integers(0, 2**32 - 1),
    st.sampled_from([0, 1, 7, 15, 16, 23, 24, 25, 64]),
    st.sampled_from([0.02, 0.3, 0.5]),
)
@settings(max_examples=40, deadline=None)
def test_near_duplicates_are_those_of_all_pairs(seed, bits, share):
    """Also where many are alike, and at the very distance that still counts."""
    rng = np.random.default_rng(seed)
    hashes = rng.random((90, HASH_BITS)) < share
    for place in range(40, 90):  # so many bits from one of the first, anywhere or side by side
        apart = bits + rng.integers(-1, 2)
        where = rng.permutation(HASH_BITS) if place % 2 else rng.integers(192) + np.arange(64)
        hashes[place] = hashes[place - 40]
        hashes[place, where[: max(apart, 0)]] ^= True
    assert near_duplicates(hashes, bits).tolist() == all_pairs(hashes, bits).tolist()


def test_near_duplicates_of_many_photographs_that_are_alike_do_not_take_all_pairs():
    hashes = np.zeros((30_000, HASH_BITS), dtype=bool)
    hashes[np.arange(30_000), np.arange(30_000) % HASH_BITS] = True
    hashes[7] = ~hashes[7]
    tracemalloc.start()
    groups = near_duplicates(hashes, 24)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert set(np.flatnonzero(groups)) == {7} and peak < 2**28  # all pairs: 2^29


def test_near_duplicates_are_found_among_others():
    hashes = np.random.default_rng(0).random((1100, HASH_BITS)) < 0.5
    hashes[1050] = hashes[3]
    hashes[1050, :10] ^= True
    groups = near_duplicates(hashes, 24)
    assert groups[3] == groups[1050] and len(set(groups)) == 1099


def test_what_pairs_connect_is_one_group():
    groups = np.array([0, 1, 1, 2, 3, 4])
    together = joined(groups, np.array([[0, 2], [3, 5]]))
    assert together[0] == together[1] == together[2] and together[3] == together[5]
    assert len({together[0], together[3], together[4]}) == 3
    nothing = np.empty((0, 2), dtype=int)
    assert (joined(groups, nothing) == groups).all()


@given(
    st.lists(st.integers(0, 60), min_size=40, max_size=200),
    st.floats(0.05, 0.4),
    st.floats(0.05, 0.4),
    st.integers(0, 5),
)
@settings(max_examples=30, deadline=None)
def test_split_keeps_groups_whole_covers_all_and_fills_the_shares(groups, validation, test, seed):
    groups = np.array(groups)
    try:
        parts = split(groups, validation, test, seed)
    except SplitError:
        reject()
    assert len(parts) == len(groups) and set(parts) <= set(PARTS)
    for group in set(groups):
        assert len(set(parts[groups == group])) == 1
    # At a border at most one group is too large to fit: it, and no more, is missing or too much.
    largest = np.bincount(groups).max()
    wanted = {"test": test * len(groups), "validation": validation * len(groups)}
    for part, share in wanted.items():
        assert abs((parts == part).sum() - share) <= largest + 1
    assert (parts == "test").sum() <= wanted["test"] + 1e-9


def test_split_of_single_photographs_has_the_shares_asked_for():
    parts = split(np.arange(1000), 0.1, 0.2, seed=0)
    assert {part: int((parts == part).sum()) for part in PARTS} == {
        "train": 700,
        "validation": 100,
        "test": 200,
    }


@pytest.mark.parametrize(
    ("groups", "missing"),
    [
        (range(5), "test"),
        ([0] * 50, "train|validation"),
        ([0] * 90 + [*range(1, 11)], "validation"),
    ],
)
def test_a_split_that_leaves_a_part_empty_is_refused(groups, missing):
    with pytest.raises(SplitError, match=rf"no photograph for .*({missing}).* {len(groups)} photo"):
        split(np.array(groups), 0.1, 0.1, seed=0)


def test_split_is_decided_by_the_seed():
    groups = np.arange(200)
    first = split(groups, 0.1, 0.1, seed=0)
    assert (first == split(groups, 0.1, 0.1, seed=0)).all()
    other = split(groups, 0.1, 0.1, seed=1)
    assert (first != other).sum() > 20
    # Not simply the first ones.
    assert len(set(np.flatnonzero(first == "test")) & set(range(20))) < 20


def test_split_does_not_depend_on_the_numbers_that_groups_bear():
    groups = np.repeat(np.arange(50), 2)
    assert (split(groups, 0.1, 0.1, 3) == split(groups * 7 + 4, 0.1, 0.1, 3)).all()


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("damage", ["shoulder", "hip", "one place"])
def test_a_part_in_which_nobody_has_a_torso_is_refused(part, damage):
    parts = np.array(["train", "validation", "test"] * 2)
    joints = np.random.default_rng(0).random((6, 14, 2))
    require_torsos(parts, joints)
    places = np.flatnonzero(parts == part)
    for place in places:
        if damage == "one place":
            joints[place, LEFT_SHOULDER] = joints[place, RIGHT_HIP]
        else:
            joints[place, LEFT_SHOULDER if damage == "shoulder" else RIGHT_HIP] = np.nan
    with pytest.raises(SplitError, match=f"nothing can be measured on {part}: left shoulder"):
        require_torsos(parts, joints)
    joints[places[0]] = joints[(places[0] + 1) % 6]  # one of them is enough
    require_torsos(parts, joints)


def test_photographs_of_one_label_are_joined_and_others_are_not():
    labels = ["film", "", "hall", "film", "", "hall", "film"]
    groups = joined(np.arange(7), alike(labels))
    assert groups.tolist() == [0, 1, 2, 0, 3, 2, 0]
    assert alike(["", ""]).shape == (0, 2)


def test_a_published_test_part_stays_and_its_likes_are_in_no_part():
    groups = np.array([0, 0, 1, 1, *range(2, 12)])
    test = np.zeros(14, dtype=bool)
    test[[0, 2, 3]] = True
    parts = around(test, groups, 0.25, seed=3)
    assert parts[:4].tolist() == ["test", "", "test", "test"]
    # Of the ten others a quarter, at most, validates.
    assert sorted(parts[4:]) == ["train"] * 8 + ["validation"] * 2
    assert (around(test, groups, 0.25, seed=4) != parts).any()
    with pytest.raises(SplitError, match="no photograph is left for validation"):
        around(test, groups, 0.05, seed=0)
