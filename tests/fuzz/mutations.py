"""Files of networks and data, spoilt: single bytes, the archive, the headers of its arrays, the configuration."""

import copy
import gzip
import io
import json
import struct
import warnings
import zipfile

import numpy as np

from fuzz.arrays import pick

EXTREME = (0, 1, -1, 2, 3, 7, 10**3, 10**6, 10**8, 2**31 - 1, 2**31, 2**63, 10**30, -(2**40))
CHUNK = bytes(2**20)
BOMB = 300  # chunks of zeros, which compress to a thousandth


def bytewise(rng, data):
    """Some bytes changed, lost, repeated or moved."""
    data = bytearray(data)
    for _ in range(int(rng.integers(1, 4))):
        start = int(rng.integers(len(data))) if data else 0
        stop = start + int(pick(rng, 1, 1, 4, 64, 1000))
        kind = pick(rng, "flip", "flip", "value", "cut", "lose", "repeat", "zero", "add")
        if kind == "flip" and data:
            data[start] ^= 1 << int(rng.integers(8))
        elif kind == "value" and data:
            data[start] = int(pick(rng, 0, 255, 127, 128, int(rng.integers(256))))
        elif kind == "cut":
            del data[start:]
        elif kind == "lose":
            del data[start:stop]
        elif kind == "repeat":
            data[start:start] = data[start:stop]
        elif kind == "zero":
            data[start:stop] = bytes(len(data[start:stop]))
        else:
            data += rng.bytes(int(rng.integers(1, 100)))
    return bytes(data)


def members(data):
    """The members of an archive by name."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def archive(parts, method=zipfile.ZIP_STORED):
    """An archive, with right checksums, of pairs of a name and bytes, or None for a bomb: an array of zeros."""
    made = io.BytesIO()
    with warnings.catch_warnings(action="ignore"), zipfile.ZipFile(made, "w", method) as target:  # names may repeat
        for name, content in parts:
            if content is not None:
                target.writestr(name, content)
                continue
            info = zipfile.ZipInfo(name)
            info.compress_type = zipfile.ZIP_DEFLATED
            with target.open(info, "w") as member:
                np.lib.format.write_array_header_1_0(
                    member, {"descr": "<f4", "fortran_order": False, "shape": (BOMB * len(CHUNK) // 4,)}
                )
                for _ in range(BOMB):
                    member.write(CHUNK)
    return made.getvalue()


def archived(rng, data):
    """Another archive of nearly the same members."""
    parts = list(members(data).items())
    i = int(rng.integers(len(parts)))
    name, content = parts[i]
    kind = pick(rng, "name", "raw", "empty", "twice", "lost", "strange", "spoilt", "order", "object")
    if rng.integers(40) == 0:
        kind = "bomb"
    if kind == "name":
        parts[i] = (
            pick(rng, "x", "x.npy", name[:-4], "../" + name, ".npy", "a/b.npy", "ü.npy", "a" * 300, "config.npy"),
            content,
        )
    elif kind in ("raw", "empty"):
        parts[i] = name, rng.bytes(50) if kind == "raw" else b""
    elif kind == "twice":
        parts.append((f"copy-{name}", content))
    elif kind == "lost":
        del parts[i]
    elif kind == "strange":
        parts.append((pick(rng, "folder/", "text.txt", "__class__.npy", "dtype.npy"), content))
    elif kind == "bomb":
        parts.append(("extra.npy", None))
    elif kind == "spoilt":
        parts[i] = name, bytewise(rng, content)
    elif kind == "order":
        parts = [parts[int(j)] for j in rng.permutation(len(parts))]
    else:
        made = io.BytesIO()
        np.save(made, np.array([{}], object), allow_pickle=True)
        parts[i] = name, made.getvalue()
    return archive(parts, pick(rng, zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA))


def headed(rng, data):
    """The header of one array changed, with a right checksum."""
    parts = list(members(data).items())
    i = int(rng.integers(len(parts)))
    name, content = parts[i]
    version = content[6:8]
    length = struct.unpack("<H", content[8:10])[0]
    header, rest = content[10 : 10 + length].decode("latin-1"), content[10 + length :]
    kind = pick(rng, "descr", "shape", "order", "text", "length")
    if kind == "descr":
        descr = pick(
            rng, "<f4", ">f4", "<f8", "<i8", "|O", "|V2147483647", "<U9", "|S3", "<c8", "<M8[s]", "|b1", "f", "[]", "x"
        )
        header = f"{{'descr': '{descr}', " + header.partition(", ")[2]
    elif kind == "shape":
        shape = pick(rng, (), (0,), (1, 1), (2**31,), (2**62,), (2**32, 2**32), (-1,), (3,) * 40, (10**9,))
        header = header.partition("'shape': ")[0] + f"'shape': {shape}, }}"
    elif kind == "order":
        header = header.replace("False", "True")
    elif kind == "text":
        header = bytewise(rng, header.encode("latin-1")).decode("latin-1")
    text = (header.rstrip() + " " * int(rng.integers(0, 60)) + "\n").encode("latin-1", "replace")
    size = len(text) if kind != "length" else int(pick(rng, 0, 1, len(text) + 8, 65535))
    parts[i] = name, content[:6] + version + struct.pack("<H", min(size, 65535)) + text + rest
    return archive(parts)


def configured(rng, data):
    """The configuration changed, with a right checksum."""
    parts = members(data)
    config = json.loads(str(np.load(io.BytesIO(parts["config.npy"]))))
    for _ in range(int(rng.integers(1, 3))):
        _change(rng, config)
    made = io.BytesIO()
    np.save(made, np.array(json.dumps(config)))
    return archive({**parts, "config.npy": made.getvalue()}.items())


def _change(rng, config):
    kind = pick(rng, "any", "any", "layers", "windows", "windows", "many")
    layers = config.get("layers")
    if kind == "many" and isinstance(layers, list):
        layers[:0] = [{"type": pick(rng, "Identity", "ReLU", "Flatten")}] * int(pick(rng, 10, 1000, 20_000))
    elif kind == "layers" and isinstance(layers, list) and layers:
        i = int(rng.integers(len(layers)))
        made = {"type": pick(rng, "ReLU", "Softmax", "Flatten", "GlobalAvgPool2d", "Affine", "os", "__class__", 3)}
        pick(
            rng, lambda: layers.pop(i), lambda: layers.insert(i, made), lambda: layers.append(copy.deepcopy(layers[i]))
        )()
    elif kind == "windows" and isinstance(layers, list):
        for layer in layers:
            for key in ("size", "stride", "padding", "dilation"):
                if isinstance(layer, dict) and key in layer and rng.integers(2):
                    layer[key] = pick(rng, *EXTREME, [pick(rng, *EXTREME), 1], [[0, pick(rng, *EXTREME)], [1, 0]])
    else:
        place = config
        while True:
            keys = list(place) if isinstance(place, dict) else list(range(len(place)))
            if not keys:
                return
            key = keys[int(rng.integers(len(keys)))]
            if not isinstance(place[key], dict | list) or rng.integers(4) == 0:
                break
            place = place[key]
        if rng.integers(6) == 0:
            del place[key]
        else:
            place[key] = pick(
                rng, *EXTREME, None, "", "text", True, 0.5, 1e308, float("nan"), [], {}, [[]], [1, 2], {"type": "ReLU"}
            )


def idx(array):
    """An IDX file of bytes."""
    return (
        bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.astype(np.uint8).tobytes()
    )


def zipped(rng, data):
    """A gzip file that holds something else, or far more, than it says."""
    kind = pick(rng, "spoilt inside", "spoilt", "twice", "empty")
    if rng.integers(40) == 0:
        kind = "bomb"
    if kind == "spoilt inside":
        return gzip.compress(bytewise(rng, data))
    if kind == "spoilt":
        return bytewise(rng, gzip.compress(data))
    if kind == "twice":
        return gzip.compress(gzip.compress(data)) if rng.integers(2) else gzip.compress(data) * 2
    if kind == "empty":
        return gzip.compress(b"")
    made = io.BytesIO()
    with gzip.GzipFile(fileobj=made, mode="wb") as target:
        target.write(data)
        for _ in range(BOMB):
            target.write(CHUNK)
    return made.getvalue()
