"""Training: `Sequential.fit`, `Sequential.evaluate`, mini-batches, and the history of a fit."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from fastbp import graph
from fastbp._checks import Array, as_array, as_samples, check_count, check_finite, check_lengths, check_number
from fastbp._step import NotFiniteError
from fastbp.graph import UndefinedReport
from fastbp.kernels._arrays import shown
from fastbp.model import PREDICT_BATCH, Network
from fastbp.optimizers import check_optimizer
from fastbp.progress import Progress


class History(dict[str, list[float]]):
    """Values by name, one per epoch: "loss", with weight decay "cost", with validation "val_loss", "val_accuracy"."""

    def add(self, values: dict[str, float]) -> None:
        """Append the values of one epoch."""
        for name, value in values.items():
            self.setdefault(name, []).append(value)


@dataclass(frozen=True)
class Evaluation:
    """Mean loss per sample, and the share of samples classified right (None where the loss does not classify)."""

    loss: float
    accuracy: float | None


def minibatches(
    x: npt.ArrayLike, y: npt.ArrayLike, batch_size: int, rng: np.random.Generator | None = None
) -> Iterator[tuple[Array, Array]]:
    """Batches of samples and targets, the last one with what is left.

    Parameters
    ----------
    x, y : arrays of the same length
    batch_size : int
    rng : numpy.random.Generator, optional
        Shuffles first; without it the order stays.

    Raises
    ------
    ValueError
        When the lengths differ or there are no samples.

    Examples
    --------
    >>> import numpy as np, fastbp as fb
    >>> [len(xb) for xb, yb in fb.minibatches(np.zeros((5, 3)), np.zeros(5), 2)]
    [2, 2, 1]
    """
    samples, targets = as_array(x, "x"), as_array(y, "y")
    size = check_count(batch_size, "batch_size")
    if samples.ndim == 0:
        raise ValueError("x must have samples along its first dimension")
    check_lengths(samples, targets)
    if rng is not None and not isinstance(rng, np.random.Generator):
        raise TypeError(f"rng must be a numpy.random.Generator, got {shown(rng)}")
    order = np.arange(len(samples)) if rng is None else rng.permutation(len(samples))

    def batches() -> Iterator[tuple[Array, Array]]:
        for start in range(0, len(order), size):
            index = order[start : start + size]
            yield samples[index], targets[index]

    return batches()


class Sequential(Network):
    """A network of layers, each fed by the one before.

    Parameters
    ----------
    *layers : Layer
        For instance ``Affine(100), ReLU(), Affine(10)``.
    input_shape : int or tuple of int
        Shape of one sample.
    dtype : "float32" or "float64"
        What the network computes in; inputs are converted.
    seed : int, optional
        Of the network's own generator, which draws the initial weights and shuffles in `fit`. The same seed gives
        bitwise the same weights for every number of threads.

    Raises
    ------
    ValueError
        When a layer cannot take the shape that the one before it gives; the message names the layer.
    TypeError
        When something is no layer.

    Examples
    --------
    >>> import fastbp as fb
    >>> x, y = fb.datasets.load_digits()
    >>> net = fb.Sequential(fb.Affine(32), fb.ReLU(), fb.Affine(10), input_shape=64, seed=0)
    >>> history = net.fit(x, y, loss=fb.SoftmaxCrossEntropy(), optimizer=fb.SGD(0.5), epochs=5)
    >>> history["loss"][0] > history["loss"][-1]
    True
    >>> net.predict(x[:3]).shape
    (3, 10)
    """

    def fit(
        self,
        x: npt.ArrayLike,
        y: npt.ArrayLike,
        *,
        loss: Any,
        optimizer: Any,
        l2: float = 0.0,
        batch_size: int = 32,
        epochs: int = 1,
        validation_data: tuple[npt.ArrayLike, npt.ArrayLike] | None = None,
        progress: bool = False,
    ) -> History:
        """Train on (x, y) by mini-batches, shuffled anew in every epoch; goes on from where the network stands.

        Parameters
        ----------
        x : array, shape (N, *input_shape)
        y : array
            Targets as the loss takes them.
        loss : Loss or function of (u, t) returning (value, gradient)
        optimizer : for instance SGD(0.1)
        l2 : float
            Weight decay: the cost is J = E + l2 times the sum of all squared weights.
        batch_size, epochs : int
            The last batch of an epoch has what is left.
        validation_data : (x, y), optional
            Evaluated after every epoch.
        progress : bool
            Write a line per epoch to standard error, or where there are many about fifty, and one every ten seconds; on
            a terminal show a progress bar, too.

        Returns
        -------
        History
            "loss" (mean over the batches of the epoch, each before its update), "cost" (loss + l2 times the penalty at
            the end of the epoch, when l2 > 0), and with ``validation_data`` "val_loss" and "val_accuracy".

        Raises
        ------
        FloatingPointError
            When the loss stops being finite (names epoch and batch; parameters are those before that batch), or a
            parameter or the validation loss does (names the epoch).
        ValueError, TypeError
            When shapes, dtypes or labels do not fit, there are no samples, ``x`` is not finite (names the row), or the
            value of a parameter is read-only (names it).
        RuntimeError
            When another thread trains the same network.
        """
        samples = as_samples(x, self.input_shape, self.dtype)
        loss, targets = self.check_targets(samples, y, loss)
        check_finite(samples, given=x)
        # gathering a batch from any other memory order would copy the whole array first
        samples, targets = np.ascontiguousarray(samples), np.ascontiguousarray(targets)
        check_optimizer(optimizer)
        l2 = check_number(l2, "l2")
        size = min(check_count(batch_size, "batch_size"), len(samples))
        epochs = check_count(epochs, "epochs", least=0)
        if validation_data is not None:
            if not isinstance(validation_data, tuple | list) or len(validation_data) != 2:
                raise ValueError("validation_data must be a pair (x, y)")
            x_val = as_samples(validation_data[0], self.input_shape, self.dtype, "validation x")
            check_finite(x_val, "validation x", validation_data[0])
            self.check_targets(x_val, validation_data[1], loss)
        self._check_writable()
        history = History()
        x_batch = np.empty((size, *samples.shape[1:]), self.dtype)
        t_batch = np.empty((size, *targets.shape[1:]), targets.dtype)
        with self._guard.free(), Progress(epochs, -(-len(samples) // size), show=progress) as shown:
            for epoch in range(1, epochs + 1):
                order = self.rng.permutation(len(samples))
                total = 0.0
                for start in range(0, len(order), size):
                    index = order[start : start + size]
                    x_now, t_now = x_batch[: len(index)], t_batch[: len(index)]
                    # with "raise" in place of "clip", take would go through a temporary array
                    samples.take(index, axis=0, out=x_now, mode="clip")
                    targets.take(index, axis=0, out=t_now, mode="clip")
                    try:
                        total += self._step(x_now, t_now, loss, optimizer, l2) * len(index)
                    except NotFiniteError as error:
                        batch = start // size + 1
                        raise NotFiniteError(f"epoch {epoch}, batch {batch}: {error}; try a lower rate") from None
                    shown.batch()
                for parameter in self.parameters():
                    if not np.isfinite(parameter.value).all():
                        raise NotFiniteError(
                            f"epoch {epoch}: {parameter.name} is not finite any more; try a lower rate"
                        )
                values = {"loss": total / len(samples)}
                if l2:
                    values["cost"] = values["loss"] + l2 * self.penalty()
                if validation_data is not None:
                    result = self.evaluate(*validation_data, loss=loss)
                    if not np.isfinite(result.loss):
                        raise NotFiniteError(f"epoch {epoch}: the validation loss is {result.loss}; try a lower rate")
                    values["val_loss"] = result.loss
                    if result.accuracy is not None:
                        values["val_accuracy"] = result.accuracy
                history.add(values)
                shown.epoch(epoch, values)
        return history

    def undefined(self, x: npt.ArrayLike, y: npt.ArrayLike, loss: Any) -> UndefinedReport:
        """Where the backward pass on a batch meets points without derivative, such as 0 of a rectifier.

        Runs a pass of its own, layer by layer; neither parameters nor gradients change.

        Parameters
        ----------
        x, y : arrays
            A batch.
        loss : Loss or function
            As in `fit`.

        Returns
        -------
        UndefinedReport
            For each layer with such points: its name, how many elements, and to how many of them a gradient other than
            zero came. Printing shows a table.

        Raises
        ------
        ValueError, TypeError
            As `fit`.

        Examples
        --------
        >>> import numpy as np, fastbp as fb
        >>> net = fb.Sequential(fb.Affine(3), fb.ReLU(), fb.Affine(2), input_shape=4, seed=0)
        >>> net.undefined(np.zeros((5, 4)), np.zeros(5, int), fb.SoftmaxCrossEntropy())
        node    operation  elements  gradient not 0  not defined at
        ----------------------------------------------------------------
        relu_1  relu             15              15  u = 0, where du = 0
        """
        samples = as_samples(x, self.input_shape, self.dtype)
        loss, targets = self.check_targets(samples, y, loss)
        return graph.undefined(graph.apply(loss, graph.apply(self, graph.Variable(samples, constant=True)), targets))

    def evaluate(self, x: npt.ArrayLike, y: npt.ArrayLike, *, loss: Any, batch_size: int = PREDICT_BATCH) -> Evaluation:
        """Mean loss on (x, y), without the decay term, and accuracy; changes nothing.

        Raises ValueError or TypeError when shapes, dtypes or labels do not fit, or there are no samples.
        """
        samples = as_samples(x, self.input_shape, self.dtype)
        loss, targets = self.check_targets(samples, y, loss)
        size = check_count(batch_size, "batch_size")
        total, right = 0.0, 0
        classifies = True
        u = self.predict(samples, batch_size=size)
        delta = np.empty_like(u[:size])
        for start in range(0, len(u), size):
            u_now, t_now = u[start : start + size], targets[start : start + size]
            total += loss.compute(u_now, t_now, delta[: len(u_now)]) * len(u_now)
            correct = loss.correct(u_now, t_now)
            classifies = correct is not None
            right += correct or 0
        return Evaluation(total / len(u), right / len(u) if classifies else None)
