"""Files of a model that are damaged or another's: each way changes one of a folder's, gives its
name."""

import json
import struct
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper

from faults.bad import damage

GENERATOR, FINDER, JUDGEMENT = "generator.safetensors", "finder.safetensors", "judgement.json"
ONNX, ONNX_FINDER = "generator.onnx", "finder.onnx"
VALUES = (None, "text", "0.5", True, [], {}, float("nan"), float("inf"), 1e308, -1e308, 10**400, -1)


def damaged(folder: Path, rng: np.random.Generator) -> str:
    name = (GENERATOR, FINDER, ONNX, ONNX_FINDER)[int(rng.integers(4))]
    content = (folder / name).read_bytes()
    (folder / name).write_bytes(damage.damaged(content, rng))
    return name


def damaged_header(folder: Path, rng: np.random.Generator) -> str:
    """What a safetensors file says of its tensors."""
    name = (GENERATOR, FINDER)[int(rng.integers(2))]
    content = (folder / name).read_bytes()
    last = 8 + struct.unpack("<Q", content[:8])[0]
    head = damage.overwritten(content[:last], rng)
    (folder / name).write_bytes(head + content[last:])
    return name


def other_header(folder: Path, rng: np.random.Generator) -> str:
    """Whole, but of other tensors or settings."""
    name = (GENERATOR, FINDER)[int(rng.integers(2))]
    header, content = parts(folder / name)
    tensor = str(rng.choice([each for each in header if each != "__metadata__"]))
    settings = json.loads(header["__metadata__"]["settings"])
    changes = (
        lambda: header.pop("__metadata__"),
        lambda: header.pop(tensor),
        lambda: header.update({tensor + ".other": header.pop(tensor)}),
        lambda: header[tensor].update(dtype="F16"),
        lambda: header[tensor].update(dtype="I32"),
        lambda: header[tensor].update(shape=[2**40, 2**40]),
        lambda: header[tensor].update(shape=header[tensor]["shape"][::-1]),
        lambda: header[tensor].update(data_offsets=[0, 4]),
        lambda: header["__metadata__"].update(settings="[" * 5000),
        lambda: header["__metadata__"].update(settings="5"),
        lambda: header["__metadata__"].update(settings="null"),
        lambda: header["__metadata__"].update(settings="text " * 2000),
        lambda: header["__metadata__"].update(settings=json.dumps(_other(settings, rng))),
        lambda: header["__metadata__"].update(settings=json.dumps(_other(settings, rng))),
        lambda: header["__metadata__"].update(settings=json.dumps(_other(settings, rng))),
        lambda: header["__metadata__"].update(settings=json.dumps(_huge(settings))),
    )
    changes[int(rng.integers(len(changes)))]()
    said = json.dumps(header).encode()
    (folder / name).write_bytes(struct.pack("<Q", len(said)) + said + content)
    return name


def not_finite(folder: Path, rng: np.random.Generator) -> str:
    name = (GENERATOR, FINDER)[int(rng.integers(2))]
    header, content = parts(folder / name)
    first, last = header[str(rng.choice([n for n in header if "weight" in n]))]["data_offsets"]
    value = struct.pack("<f", float(rng.choice([np.nan, np.inf, -np.inf, 1e38, -1e38])))
    place = first + 4 * int(rng.integers((last - first) // 4))
    content = content[:place] + value + content[place + 4 :]
    said = json.dumps(header).encode()
    (folder / name).write_bytes(struct.pack("<Q", len(said)) + said + content)
    return name


def exchanged(folder: Path, rng: np.random.Generator) -> str:
    """One file in place of another."""
    first, second = ((GENERATOR, FINDER), (ONNX, ONNX_FINDER))[int(rng.integers(2))]
    if rng.random() < 0.5:
        first, second = second, first
    (folder / first).write_bytes((folder / second).read_bytes())
    return first


def other_judgement(folder: Path, rng: np.random.Generator) -> str:
    path = folder / JUDGEMENT
    values = json.loads(path.read_text())
    key, value = str(rng.choice(list(values))), VALUES[int(rng.integers(len(VALUES)))]
    if rng.random() < 0.2:
        del values[key]
    elif rng.random() < 0.2:
        values["x" * 2000 if rng.random() < 0.5 else "other"] = value
    else:
        values[key] = value
    path.write_text(json.dumps(values))
    return JUDGEMENT


def no_judgement(folder: Path, rng: np.random.Generator) -> str:
    path = folder / JUDGEMENT
    whole = (
        *(b"", b"[]", b"5", b"null", b"text", b"[" * 20_000, b"\xff\xfe", rng.bytes(400)),
        *(b'{"bias": 1' + b"0" * 5000 + b"}", b'{"a": "' + b"x" * 9999 + b'"}'),
    )
    if rng.random() < 0.3:
        path.write_bytes(damage.damaged(path.read_bytes(), rng))
    else:
        path.write_bytes(whole[int(rng.integers(len(whole)))])
    return JUDGEMENT


def other_facts(folder: Path, rng: np.random.Generator) -> str:
    """What an exported file says of itself."""
    name = (ONNX, ONNX_FINDER)[int(rng.integers(2))]
    model = onnx.load(folder / name)
    fact = model.metadata_props[int(rng.integers(len(model.metadata_props)))]
    if rng.random() < 0.3:
        model.metadata_props.remove(fact)
    elif rng.random() < 0.4:
        fact.value = str(rng.choice(["", "5", "null", "[" * 5000, "text", "x" * 5000]))
    else:
        settings = next(each for each in model.metadata_props if each.key == "settings")
        settings.value = json.dumps(_other(json.loads(settings.value), rng))
    onnx.save(model, folder / name)
    return name


def other_graph(folder: Path, rng: np.random.Generator) -> str:
    """A network of other inputs and outputs, which says that it is ours."""
    name = (ONNX, ONNX_FINDER)[int(rng.integers(2))]
    model = onnx.load(folder / name)
    graph, shape = model.graph, ["batch", 3, 32, 32]
    wanted = {each.name: each for each in graph.output}
    if rng.random() < 0.4:  # ours, but for a name
        each = (graph.input[0], *graph.output)[int(rng.integers(1 + len(graph.output)))]
        each.name += "_other"
    else:
        kind = int(rng.choice([TensorProto.FLOAT, TensorProto.UINT8, TensorProto.DOUBLE]))
        shapes = (shape, ["batch", 32, 32, 3], [1, 3, 32, 32], ["batch", 3, 64, 64], [], [2])
        given = helper.make_tensor_value_info(
            "images", kind, shapes[int(rng.integers(len(shapes)))]
        )
        nodes = [helper.make_node("Identity", ["images"], [each]) for each in wanted]
        outputs = [helper.make_tensor_value_info(each, kind, None) for each in wanted]
        made = helper.make_graph(nodes, "other", [given], outputs)
        version = [helper.make_opsetid("", 18)]
        other = helper.make_model(made, opset_imports=version, ir_version=9)
        other.metadata_props.extend(model.metadata_props)
        model = other
    onnx.save(model, folder / name)
    return name


def parts(path: Path) -> tuple[dict, bytes]:
    """Header and tensors of a safetensors file."""
    content = path.read_bytes()
    last = 8 + struct.unpack("<Q", content[:8])[0]
    return json.loads(content[8:last]), content[last:]


def _other(settings: dict, rng: np.random.Generator) -> dict:
    """Settings of which one value, or one group, is another."""
    group = str(rng.choice(list(settings)))
    value = VALUES[int(rng.integers(len(VALUES)))]
    if rng.random() < 0.3:
        return settings | {group: value}
    key = str(rng.choice(list(settings[group])))
    return settings | {group: settings[group] | {key: value}}


def _huge(settings: dict) -> dict:
    """Of a network that no memory holds, though each value is allowed."""
    changes = {
        "model": {"features": [4096] * 6, "stacks": 16, "block": "basic"},
        "finder": {"features": [4096] * 4},
    }
    return settings | {name: settings[name] | changes[name] for name in changes if name in settings}


WAYS = (
    *(damaged, damaged, damaged, damaged_header, other_header, other_header, other_header),
    *(not_finite, exchanged, other_judgement, other_judgement, no_judgement, other_facts),
    *(other_facts, other_graph),
)
