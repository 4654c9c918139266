"""The parts of the pipeline, each against a reference in the same run."""

import os
import sys
import tempfile
from collections.abc import Callable
from math import nan
from pathlib import Path
from typing import NamedTuple

import numpy as np
import onnxruntime
import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks import peers
from benchmarks.timing import peak_memory, process, race
from pipeline.annotations import image_paths
from pipeline.commands.export import export
from pipeline.data.crops import Crops, batches
from pipeline.data.targets import factors, targets_of
from pipeline.device import autocast
from pipeline.evaluation import protocol
from pipeline.judging.fit import UNJUDGED
from pipeline.networks import heatmaps
from pipeline.networks.estimator import CropEstimator, decode, inputs
from pipeline.networks.generator import Generator
from pipeline.networks.layers import normalise
from pipeline.paths import DATASET
from pipeline.settings import Settings
from pipeline.settings import check as checked
from pipeline.training.batches import Photographs, training_batch
from pipeline.training.loop import iteration
from pipeline.training.state import TrainingState

ROOT = Path(__file__).resolve().parents[1]
MATRIX = 4096  # side of the large matrix product


class Row(NamedTuple):
    """A line of the table."""

    part: str
    ours: float
    reference: float
    unit: str  # of both
    ratio: float  # as `wanted` compares it
    wanted: str  # "at most 1.5", "at least 4" or ""

    @property
    def met(self) -> bool | None:
        """Whether the bar is met; None where there is none."""
        if not self.wanted:
            return None
        limit = float(self.wanted.split()[2])
        return self.ratio <= limit if self.wanted.startswith("at most") else self.ratio >= limit


def changed(settings: Settings, **groups: dict) -> Settings:
    """Settings with some values of some groups replaced, checked again."""
    values = settings.model_dump()
    for name, group in groups.items():
        values[name] |= group
    return checked(values, "benchmark")


def noise(settings: Settings, device: torch.device, count: int = 1000) -> Photographs:
    """Crops of noise: what costs time does not look at them."""
    rng, geometry = np.random.default_rng(0), settings.cache.geometry
    size, margin = geometry.stored_size, geometry.margin
    points = rng.uniform(margin, size - margin, (count, 14, 2)).astype(np.float32)
    crops = Crops(
        geometry=geometry,
        images=rng.integers(0, 256, (count, size, size, 3), dtype=np.uint8),
        points=points,
        annotated=np.ones((count, 14), dtype=bool),
        occluded=np.zeros((count, 14), dtype=bool),
        originals=points.astype(np.float64),
        affines=np.tile(np.eye(2, 3), (count, 1, 1)),
    )
    return Photographs(crops, targets_of(crops), np.arange(count), np.arange(32), device)


def trainer(settings: Settings, photographs: Photographs) -> Callable[[], None]:
    """A function that trains one step at the full input size, its batch made anew."""
    settings = full_size(settings)
    state = TrainingState(settings, photographs.device)
    if photographs.device.type == "cuda":
        for network in (state.generator, state.pose, state.confidence):
            network.compile()

    def step() -> None:
        iteration(state, training_batch(state.step, photographs, settings), settings)

    return step


def new_generator(settings: Settings, device: torch.device) -> Generator:
    """An untrained generator, laid out in memory as training lays it out."""
    generator = Generator(settings.model, settings.cache.geometry)
    return generator.to(device).to(memory_format=torch.channels_last)


def untrained(settings: Settings, device: torch.device, precision: str = "fp32") -> CropEstimator:
    """An estimator of such a generator."""
    generator = new_generator(settings, device).eval()
    made_by = {"cache": settings.cache.model_dump(), "model": settings.model.model_dump()}
    return CropEstimator(generator, settings.cache.geometry, made_by, device, precision)


def full_size(settings: Settings) -> Settings:
    """Training that plays from the first step on, at the last input size."""
    sizes = settings.train.input_sizes[-1:]
    return changed(settings, train={"input_sizes": sizes, "game_start": 0.0, "steps": 10**6})


def cache_stage() -> list[Row]:
    """The whole stage on the real LSPet, start included, and what libjpeg-turbo alone takes."""
    dataset = ROOT / DATASET
    if not dataset.is_dir():
        raise FileNotFoundError(f"{dataset} is missing: run `dvc repro download` first")
    paths = image_paths(dataset)
    with tempfile.TemporaryDirectory(dir=ROOT / ".dvc" / "tmp") as scratch:
        folder = stage_folder(Path(scratch), dataset)
        command = [sys.executable, "-m", "stages.cache"]
        environment = os.environ | {"PYTHONPATH": str(ROOT)}
        ours, floor = race(
            lambda: process(*command, cwd=folder, env=environment),
            lambda: peers.decode_all(paths),
            rounds=3,
        )
        memory = peak_memory(*command, cwd=folder, env=environment)
    return [
        Row(
            "cache stage, 10,000 photographs; decoding alone",
            ours,
            floor,
            "s",
            ours / floor,
            "at most 2",
        ),
        Row("cache stage, memory beside the mapped files", memory / 2**20, nan, "MiB", nan, ""),
    ]


def stage_folder(folder: Path, dataset: Path) -> Path:
    """A folder in which a stage finds params.yaml and the data set, and nothing else."""
    (folder / "data").mkdir()
    (folder / DATASET).symlink_to(dataset)
    (folder / "params.yaml").write_bytes((ROOT / "params.yaml").read_bytes())
    return folder


def target_heatmaps() -> list[Row]:
    """A batch's targets, the paper's heatmap size: dense on every pixel, or from cached factors."""
    size = 64
    points = np.random.default_rng(0).uniform(0, size, (32, 14, 2)).astype(np.float32)
    both = [torch.from_numpy(each) for each in factors(points, size, 1.0)]
    ours, dense = race(
        lambda: heatmaps.expand(*both),
        lambda: peers.dense_heatmaps(points, size, 1.0),
        rounds=10,
        calls=10,
    )
    at_rest = sum(each.half().nbytes for each in both) / 2**20
    as_maps = 32 * 14 * size**2 * 2 / 2**20
    name = f"target heatmaps of a batch, {size} x {size}"
    return [
        Row(f"{name}; dense NumPy", ours, dense, "s", dense / ours, "at least 100"),
        Row(f"{name}, at rest; dense", at_rest, as_maps, "MiB", as_maps / at_rest, "at least 30"),
    ]


def train_step(settings: Settings, photographs: Photographs) -> list[Row]:
    """The adversarial training step against the peers', itself without the game, and its data."""
    device, settings = photographs.device, full_size(settings)
    ours = trainer(settings, photographs)
    alone = trainer(changed(settings, train={"adversarial": False}), photographs)
    plain = peers.PlainGame(settings, device)
    batch = training_batch(0, photographs, settings)
    plain_batch = batch._replace(images=batch.images.contiguous())
    some = photographs.train[: settings.train.batch]
    step, without, naive, data, waiting = race(
        ours,
        alone,
        lambda: plain.step(plain_batch),
        lambda: training_batch(1, photographs, settings),
        lambda: photographs.stored(some),
        rounds=15,
        device=device,
    )
    share = 5 if device.type == "cpu" else 3
    return [
        Row(
            "adversarial train step; peers' fp32 NCHW, a forward a loss",
            step,
            naive,
            "s",
            naive / step,
            "at least 4",
        ),
        Row(
            "adversarial train step; without discriminators",
            step,
            without,
            "s",
            step / without,
            "at most 1.5",
        ),
        Row(
            "augmentation of a batch; train step, %",
            data,
            step,
            "s",
            100 * data / step,
            f"at most {share}",
        ),
        Row(
            "waiting for photographs; train step, %",
            waiting,
            step,
            "s",
            100 * waiting / step,
            "at most 1",
        ),
    ]


def arithmetic(settings: Settings, device: torch.device) -> list[Row]:
    """G's arithmetic rate, forward and backward, beside the machine's own large matrix product."""
    generator, size = new_generator(settings, device).train(), settings.cache.input_size
    images = torch.randn(settings.train.batch, 3, size, size, device=device)
    images = images.contiguous(memory_format=torch.channels_last)
    matrix = torch.randn(MATRIX, MATRIX, device=device).bfloat16()

    def both_ways() -> None:
        with autocast("bf16", device):
            outputs = generator(images)
        sum(maps.square().mean() for maps in outputs).backward()

    with FlopCounterMode(display=False) as counter:
        both_ways()
    if device.type == "cuda":
        generator.compile()
    seconds, product = race(both_ways, lambda: matrix @ matrix, rounds=15, device=device)
    rate, limit = counter.get_total_flops() / seconds / 1e9, 2 * MATRIX**3 / product / 1e9
    wanted = "at least 60" if device.type == "cpu" else "at least 40"
    return [
        Row(
            "G forward and backward, bf16; matrix product, %",
            rate,
            limit,
            "GFLOP/s",
            100 * rate / limit,
            wanted,
        )
    ]


def prediction(settings: Settings, photographs: Photographs) -> list[Row]:
    """Joints of 32 crops with flip test; and of the 1,000 photographs of a test part, in fp32."""
    device, crops = photographs.device, photographs.crops
    fastest, ours = (untrained(settings, device, precision) for precision in ("auto", "fp32"))
    plain = Generator(settings.model, crops.geometry).to(device).eval()
    indices = np.arange(32)
    images = inputs(crops, indices).to(device)

    def fast() -> None:
        fastest.predict(crops, indices, images)

    @torch.inference_mode()
    def eager() -> None:
        x = normalise(images)
        for each in (x, x.flip(-1)):
            decode(plain.heatmaps(plain(each)[-1]), crops.geometry, crops.geometry.reach)

    seconds, reference = race(fast, eager, rounds=15, device=device)
    rows = [
        Row(
            "prediction of 32 crops; eager fp32 NCHW",
            seconds,
            reference,
            "s",
            reference / seconds,
            "at least 2",
        )
    ]
    if device.type == "cpu":
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        (single,) = race(fast, rounds=5)
        torch.set_num_threads(threads)
        rows.append(Row("prediction on one core, a photograph", single / 32, nan, "s", nan, ""))
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "generator.onnx"
            export(ours, UNJUDGED, file)
            session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
        feed = {"images": images.numpy()}
        exported, reference = race(lambda: session.run(None, feed), eager, rounds=7)
        rows.append(
            Row(
                "onnxruntime, 32 crops; eager fp32 NCHW",
                exported,
                reference,
                "s",
                reference / exported,
                "",
            )
        )

    some = np.arange(1000)

    def evaluated() -> None:
        protocol.measure(protocol.evaluate(ours, crops, some))

    ready = [
        normalise(inputs(crops, part).to(device)).contiguous(memory_format=torch.channels_last)
        for part in batches(some, protocol.BATCH)
    ]

    @torch.inference_mode()
    def forward_passes() -> None:
        for _ in range(2):  # as they are, and under occluders
            for x in ready:
                ours.generator(x), ours.generator(x.flip(-1))

    whole, floor = race(evaluated, forward_passes, rounds=2, device=device)
    return [
        *rows,
        Row(
            "evaluation of 1,000; G's forward passes alone",
            whole,
            floor,
            "s",
            whole / floor,
            "at most 1.2",
        ),
    ]


def start() -> list[Row]:
    """`dvc repro` with nothing to do, and how long a stage that needs no torch takes to begin."""
    dvc, python = [sys.executable, "-m", "dvc"], sys.executable
    # --dry checks all that a real one would, and runs nothing where something has changed.
    repro, version = race(
        lambda: process(*dvc, "repro", "--dry", cwd=ROOT),
        lambda: process(*dvc, "--version", cwd=ROOT),
        rounds=3,
    )
    download, cached, bare = race(
        lambda: process(python, "-c", "import stages.download", cwd=ROOT),
        lambda: process(python, "-c", "import stages.cache", cwd=ROOT),
        lambda: process(python, "-c", "pass", cwd=ROOT),
        rounds=5,
    )
    return [
        Row("dvc repro with nothing to do; dvc --version", repro, version, "s", repro, "at most 3"),
        Row(
            "start of the download stage; python -c pass",
            download,
            bare,
            "s",
            download - bare,
            "at most 0.5",
        ),
        Row(
            "start of the cache stage; python -c pass",
            cached,
            bare,
            "s",
            cached - bare,
            "at most 0.5",
        ),
    ]
