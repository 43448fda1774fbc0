"""The network as a chain of layers: shapes, parameters, forward and backward, one training step, prediction.

`fastbp.training` adds `fit` and `evaluate` to it, under the name `Sequential`.
"""

import copy
import math
import os
import threading
from collections.abc import Sequence
from itertools import zip_longest
from os import PathLike
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from fastbp import initializers, kernels, losses, serialization
from fastbp._checks import (
    Array,
    as_array,
    as_real,
    as_samples,
    check_count,
    check_lengths,
    check_number,
    check_shape,
    generator,
    memory,
    real_dtype,
)
from fastbp._plan import Plan
from fastbp._step import LabelError, Step, Steps, check_loss
from fastbp.kernels._arrays import check_array, shown
from fastbp.kernels._interrupts import uninterrupted
from fastbp.layers import BY_NAME, Layer, LeakyReLU, LogSoftmax, Parameter, ReLU, Sigmoid, Softmax
from fastbp.layers.layer import Source
from fastbp.optimizers import SGD, check_optimizer
from fastbp.report import Cost, LayerCost, Summary

PREDICT_BATCH = 1024


class _Guard:
    """Lets one thread at a time train a network: ``with guard.free(): ...``"""

    def __init__(self) -> None:
        self._lock, self._process = threading.Lock(), os.getpid()

    def free(self) -> threading.Lock:
        """The lock, for ``with``; RuntimeError while somebody has it.

        The lock itself, because a Ctrl-C cannot come between it and its ``with``, as it can in methods written in
        Python: it would be locked for ever.
        """
        if self._lock.locked():
            if self._process == os.getpid():
                raise RuntimeError(
                    "this network is being trained by another thread, or by what a signal handler has interrupted; "
                    "train a copy.deepcopy of it"
                )
            # the parent was training when this process was forked from it: that thread does not exist here
            self._lock = threading.Lock()
        self._process = os.getpid()
        return self._lock


class Network:
    """A chain of layers with its parameters. Users meet it as `Sequential`, which adds training to it."""

    def __init__(
        self,
        *layers: Layer,
        input_shape: int | Sequence[int],
        dtype: npt.DTypeLike = "float32",
        seed: int | None = None,
    ) -> None:
        rng = generator(seed)
        taken, most = 0, memory()

        def source_for(layer: Layer, following: Layer | None) -> Source:
            default = "he" if isinstance(following, ReLU | LeakyReLU) else "glorot"
            initializer = initializers.get(getattr(layer, "init", None) or default, layer.name)

            def source(letter: str, shape: tuple[int, ...]) -> Array:
                nonlocal taken
                taken += math.prod(shape) * self.dtype.itemsize
                if taken + math.prod(shape) * 8 > most:  # drawn in float64, then copied
                    raise MemoryError
                if letter == "b":
                    return np.zeros(shape)
                value = as_real(initializer(shape, rng), np.dtype(np.float64), f"{layer.name}: init")
                if value.shape != shape:
                    raise ValueError(f"{layer.name}: init must give the shape {shape}, got {value.shape}")
                return value

            return source

        self._assemble(layers, input_shape, dtype, rng, source_for)

    def _assemble(self, layers: Any, input_shape: Any, dtype: Any, rng: np.random.Generator, source_for: Any) -> None:
        """Name the layers, check their shapes, and make their parameters from ``source_for(layer, next layer)``."""
        self.dtype = real_dtype(dtype)
        self.input_shape = check_shape(input_shape, "input_shape")
        self.rng = rng
        self._start()
        if not layers:
            raise ValueError("a network needs at least one layer")
        seen: set[int] = set()
        for layer in layers:
            if not isinstance(layer, Layer):
                hint = f"; write {layer.__name__}()" if isinstance(layer, type) else ""
                raise TypeError(f"layers must be fastbp layers, got {shown(layer)}{hint}")
            if layer.name or id(layer) in seen:
                raise ValueError(f"{layer!r} is already part of a network; make a new one")
            seen.add(id(layer))
        self.layers: tuple[Layer, ...] = tuple(layers)
        try:
            self._name_layers()
            self.shapes = [self.input_shape]
            for layer in self.layers:
                self.shapes.append(layer.output_shape(self.shapes[-1]))
            for layer, following, shape in zip_longest(self.layers, self.layers[1:], self.shapes[:-1]):
                self._build(layer, shape, source_for(layer, following))
        except BaseException:
            for layer in self.layers:
                layer.name, layer.parameters = "", ()
            raise

    def _build(self, layer: Layer, shape: tuple[int, ...], source: Source) -> None:
        """Make the parameters of one layer; MemoryError says which one, and how many bytes they take."""
        taken = 0

        def counted(letter: str, of: tuple[int, ...]) -> Array:
            nonlocal taken
            taken += math.prod(of) * self.dtype.itemsize
            return source(letter, of)

        try:
            layer.build(shape, self.dtype, counted)
        except MemoryError:
            where = f"{layer.name}, {layer!r} on samples {shape}"
            raise MemoryError(f"{where}: not enough memory, its parameters take {taken:,} bytes") from None

    def _name_layers(self) -> None:
        numbers: dict[str, int] = {}
        for layer in self.layers:
            kind = type(layer).__name__.lower()
            numbers[kind] = numbers.get(kind, 0) + 1
            layer.name = f"{kind}_{numbers[kind]}"

    def _start(self) -> None:
        """State that is not part of the network: it is neither copied nor saved."""
        self._guard = _Guard()
        self._plan: Plan | None = None
        self._steps: Steps | None = None
        self._waiting: tuple[int, ...] | None = None  # shape of the output that backward is due for

    # --- what it is -----------------------------------------------------------------------------------------------

    @property
    def output_shape(self) -> tuple[int, ...]:
        """Shape of one output sample."""
        return self.shapes[-1]

    def parameters(self) -> list[Parameter]:
        """All parameters in layer order, weight before bias."""
        return [parameter for layer in self.layers for parameter in layer.parameters]

    def penalty(self) -> float:
        """Sum of the squares of all weights: l2 times it is the decay term of the cost J."""
        weights = (parameter.value for parameter in self.parameters() if parameter.decays)
        return math.fsum(float(np.square(w, dtype=np.float64).sum()) for w in weights)

    def __repr__(self) -> str:
        lines = "".join(f"    {layer!r},\n" for layer in self.layers)
        return f"{type(self).__name__}(\n{lines}    input_shape={self.input_shape}, dtype={self.dtype.name!r},\n)"

    def cost(self, batch_size: int = 1) -> Cost:
        """What one training step on ``batch_size`` samples takes: multiply-adds by layer, and bytes.

        The forward pass of a layer, its weight gradient and its input gradient take as many multiply-adds each; the
        first layer with weights needs no input gradient. w weight matrices: w products forward, 2 w - 1 backward.
        """
        n = check_count(batch_size, "batch_size")
        rows, first = [], True
        for layer, shape, output in zip(self.layers, self.shapes, self.shapes[1:], strict=False):
            forward = n * layer.multiply_adds(shape)
            backward = forward * (1 if first else 2)
            first = first and not layer.parameters
            parameters = sum(parameter.value.size for parameter in layer.parameters)
            rows.append(LayerCost(layer.name, repr(layer), output, parameters, forward, backward))
        plan, size = Plan(self.layers, keep_buffers=False), self.dtype.itemsize
        activations = sum(n * math.prod(self.shapes[i + 1]) for i in plan.kept_outputs()) * size
        saved = sum(n * layer.saved_bytes(shape) for layer, shape in zip(self.layers, self.shapes, strict=False))
        deltas = n * (sum(plan.delta_sizes([math.prod(s) for s in self.shapes])) + math.prod(self.output_shape))
        return Cost(n, tuple(rows), activations + saved, deltas * size, size)

    def summary(self) -> Summary:
        """Table of layers, output shapes, parameters and multiply-adds for one sample; printing it shows the table."""
        return Summary(self.input_shape, self.dtype.name, self.cost(1))

    # --- forward and backward -------------------------------------------------------------------------------------

    def _training_plan(self) -> Plan:
        if self._plan is None:
            self._plan = Plan(self.layers, keep_buffers=True)
        return self._plan

    def forward(self, x: npt.ArrayLike) -> Array:
        """Output of the last layer for the samples ``x``, kept in mind for `backward`.

        Parameters
        ----------
        x : array, shape (N, *input_shape)
            Must not change until `backward`.

        Returns
        -------
        ndarray, shape (N, *output_shape), of the network's dtype

        Raises
        ------
        ValueError
            When the shape does not fit.
        TypeError
            When ``x`` does not hold real numbers.
        """
        samples = as_samples(x, self.input_shape, self.dtype)
        with self._guard.free():
            self._waiting = None  # nothing, if this is interrupted
            y = self._training_plan().forward(samples).copy()
            self._waiting = y.shape
        return y

    def backward(
        self, delta: npt.ArrayLike, *, l2: float = 0.0, accumulate: bool = False, input_grad: bool = False
    ) -> Array | None:
        """Fill the ``grad`` of every parameter from ``delta``, the gradient of a loss by the output of `forward`.

        delta_k = (delta_{k+1} w_{k+1}) * f'_k,   dw_k = delta_k' z_k + 2 l2 w_k,   db_k = sum_n delta_k[n]

        Parameters
        ----------
        delta : array, shape of the output of the last `forward`
        l2 : float
            Weight decay.
        accumulate : bool
            Add to the gradients instead of overwriting them.
        input_grad : bool
            Whether to return the gradient by the input as well.

        Returns
        -------
        ndarray, shape of the input, if ``input_grad``, else None

        Raises
        ------
        RuntimeError
            When there was no `forward` before.
        ValueError
            When the shape of ``delta`` is not that of the output.
        """
        l2 = check_number(l2, "l2")
        gradient = as_real(delta, self.dtype, "delta")
        with self._guard.free():
            if self._waiting is None:
                raise RuntimeError("backward needs a forward pass before it")
            if gradient.shape != self._waiting:
                raise ValueError(f"delta must have the shape of the output, {self._waiting}, got {gradient.shape}")
            dx = self._training_plan().backward(gradient, input_grad=input_grad, l2=l2, accumulate=accumulate)
            return dx.copy() if dx is not None else None

    def train_step(self, x: npt.ArrayLike, y: npt.ArrayLike, *, loss: Any, optimizer: Any, l2: float = 0.0) -> float:
        """One step of training on the batch (x, y): forward, loss, backward, update.

        With plain `SGD` the update is part of the weight-gradient product, and ``grad`` is not written.

        Returns
        -------
        float
            The loss on the batch before the update, without the decay term.

        Raises
        ------
        FloatingPointError
            When the loss is not finite; the parameters are as before.
        ValueError, TypeError
            When shapes, dtypes or labels do not fit, or the value of a parameter is read-only.
        """
        step = None if self._steps is None else self._steps.last
        if step is not None and type(optimizer) is SGD and step.takes(x, y, loss, l2, True):
            with self._guard.free():
                try:
                    return self._run(step, x, y, loss, optimizer)  # type: ignore[arg-type]
                except LabelError:  # the checks below say which
                    pass
        samples = as_samples(x, self.input_shape, self.dtype)
        loss, targets = self.check_targets(samples, y, loss)
        check_optimizer(optimizer)
        l2 = check_number(l2, "l2")
        self._check_writable()
        with self._guard.free():
            return self._step(samples, targets, loss, optimizer, l2)

    def _check_writable(self) -> None:
        """Refuse to train parameters that are read-only, before any of them changes."""
        for parameter in self.parameters():
            parameter.check_writable()

    def _step(self, x: Array, t: Array, loss: losses.Loss, optimizer: Any, l2: float) -> float:
        """`train_step` on checked arrays, under the guard."""
        plan = self._training_plan()
        if self._steps is None:
            self._steps = Steps(plan)
        updates = type(optimizer) is SGD
        x, t = np.ascontiguousarray(x), np.ascontiguousarray(t)
        self._waiting = None  # the buffers of `forward` are used from here on
        step = self._steps.step(x, t, loss, l2, updates)
        if step is not None:
            return self._run(step, x, t, loss, optimizer)
        u = plan.forward(x)
        delta = plan.loss_context.output("delta", u.shape, u.dtype)
        value = loss.compute(u, t, delta)
        check_loss(value, loss, delta)
        if updates:
            uninterrupted(self._descend, plan, delta, l2, optimizer)
        else:
            plan.backward(delta, l2=l2)
            uninterrupted(optimizer.step, self.parameters())
        return value

    def _descend(self, plan: Plan, delta: Array, l2: float, optimizer: SGD) -> None:
        """Gradient descent in all layers."""
        plan.backward(delta, l2=l2, rate=optimizer.rate())
        optimizer.steps += 1

    def _run(self, step: Step, x: Array, t: Array, loss: losses.Loss, optimizer: Any) -> float:
        """A recorded step, under the guard."""
        self._waiting = None
        if type(optimizer) is SGD:
            return step.run(x, t, loss, optimizer.rate(), optimizer.count)
        value = step.run(x, t, loss)
        uninterrupted(optimizer.step, self.parameters())
        return value

    def check_targets(self, x: Array, y: npt.ArrayLike, loss: Any) -> tuple[losses.Loss, Array]:
        """The loss as a `Loss`, and targets for the samples ``x`` as it takes them."""
        loss = losses.get(loss)
        if isinstance(self.layers[-1], Softmax) and loss.contains == "Softmax":
            raise ValueError(
                f"{loss!r} contains the softmax: remove the last layer, {type(self.layers[-1]).__name__}()"
            )
        if isinstance(self.layers[-1], Sigmoid) and loss.contains == "Sigmoid":
            raise ValueError(f"{loss!r} contains the sigmoid: remove the last layer, Sigmoid()")
        targets = as_array(y, "y")
        check_lengths(x, targets)
        if isinstance(loss, losses.UserLoss):
            return loss, targets
        if len(self.output_shape) != 1:
            raise ValueError(f"{loss!r} needs one-dimensional outputs, the network's are {self.output_shape}")
        return loss, loss.targets(targets, self.output_shape[0], self.dtype)

    # --- prediction -----------------------------------------------------------------------------------------------

    def predict(self, x: npt.ArrayLike, *, batch_size: int = PREDICT_BATCH) -> Array:
        """Outputs of the last layer for the samples ``x`` (N, *input_shape), in batches; NaN propagates.

        May run in many threads at once. Raises as `forward`.
        """
        samples = as_samples(x, self.input_shape, self.dtype)
        size = check_count(batch_size, "batch_size")
        shape = (len(samples), *self.output_shape)
        check_array(self.layers[-1].name, "the output", shape, self.dtype)
        y = np.empty(shape, self.dtype)
        plan = Plan(self.layers, keep_buffers=True)
        for start in range(0, len(samples), size):
            y[start : start + size] = plan.forward(samples[start : start + size])
        return y

    def predict_proba(self, x: npt.ArrayLike, *, binary: bool = False, batch_size: int = PREDICT_BATCH) -> Array:
        """Class probabilities for the samples ``x``: the softmax of the outputs, or with ``binary`` their sigmoid.

        A last layer that gives probabilities already is left as it is.

        Raises
        ------
        ValueError
            When the network has one output and ``binary`` is not set, or its outputs are not one-dimensional.
        """
        if len(self.output_shape) != 1:
            raise ValueError(f"probabilities need one-dimensional outputs, the network's are {self.output_shape}")
        if self.output_shape == (1,) and not binary:
            raise ValueError("the softmax of one output is always 1; binary=True gives the sigmoid of it")
        u = self.predict(x, batch_size=batch_size)
        last = self.layers[-1]
        check_array(last.name, "the probabilities", u.shape, u.dtype)
        if isinstance(last, LogSoftmax):
            return np.asarray(np.exp(u))
        if isinstance(last, Softmax) or (binary and isinstance(last, Sigmoid)):
            return u
        p = np.empty_like(u)
        if binary:
            kernels.sigmoid_forward(u, p)
        else:
            kernels.softmax_forward(u, p)
        return p

    # --- copies and files -----------------------------------------------------------------------------------------

    def __getstate__(self) -> dict[str, Any]:
        return {key: value for key, value in vars(self).items() if key not in ("_guard", "_plan", "_steps", "_waiting")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._start()

    def _config(self) -> dict[str, Any]:
        return {
            "input_shape": list(self.input_shape),
            "dtype": self.dtype.name,
            "layers": [{"type": type(layer).__name__, **layer.config()} for layer in self.layers],
            "rng": self.rng.bit_generator.state,
        }

    @classmethod
    def _from_config(cls, config: dict[str, Any], arrays: serialization.Arrays) -> Self:
        layers = serialization.layers_from(config["layers"])
        rng = np.random.default_rng()
        rng.bit_generator.state = config["rng"]

        def source_for(layer: Layer, following: Layer | None) -> Source:
            return lambda letter, shape: arrays.take(f"{layer.name}.{letter}", shape)

        net = cls.__new__(cls)
        net._assemble(layers, config["input_shape"], config["dtype"], rng, source_for)
        return net

    def astype(self, dtype: npt.DTypeLike) -> Self:
        """A copy of the network that computes in ``dtype``, float32 or float64."""
        net = copy.deepcopy(self)
        net.dtype = real_dtype(dtype)
        for parameter in net.parameters():
            parameter.convert(net.dtype)
        return net

    def save(self, path: str | PathLike[str]) -> None:
        """Write the network to an .npz file: its parameters, its configuration as JSON, the state of its generator.

        The file appears whole or not at all: it is written under a temporary name, flushed to disk and renamed. It
        keeps owner and permissions of the file that it replaces. What killed processes left behind of earlier attempts
        to write the same file is removed.

        Raises
        ------
        OSError
            When the folder is missing or cannot be written; an older file of that name stays as it was.
        ValueError
            When a layer is not one of fastbp's own, or there are too many layers.
        """
        for layer in self.layers:
            if BY_NAME.get(type(layer).__name__) is not type(layer):
                raise ValueError(f"{layer!r} cannot be saved: load would not know its class, {type(layer)}")
        serialization.write(path, self._config(), {p.name: p.value for p in self.parameters()})

    @classmethod
    def load(cls, path: str | PathLike[str]) -> Self:
        """Read a network that `save` wrote, from a file or a pipe. No code in it is run.

        Raises
        ------
        OSError
            When the file cannot be read.
        ValueError
            When it is not a network of fastbp, or is damaged.
        MemoryError
            When the network does not fit into memory.
        """
        with serialization.reading(path) as (config, arrays):
            return cls._from_config(config, arrays)
