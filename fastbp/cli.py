"""The command line: ``fastbp train``, ``fastbp predict``, ``fastbp info``; ``python -m fastbp`` is the same.

Exit status 0 when all went well, 2 for arguments or data that make no sense (one line on standard error says what to
do), 1 for a run that failed or whose network could only be saved elsewhere, 130 after Ctrl-C.
"""

import argparse
import io
import math
import os
import sys
import tempfile
import warnings
from collections.abc import Sequence
from typing import Any, NoReturn

import numpy as np

import fastbp as fb
from fastbp import optimizers
from fastbp._checks import Array, as_labels, as_one_of_k, as_real, check_finite
from fastbp._saving import check_room, check_writable
from fastbp.info import describe
from fastbp.kernels import _ahead, _cache
from fastbp.recipes import (
    ACTIVATIONS,
    BATCH,
    LIMIT,
    RECIPES,
    as_images,
    convolutional,
    dtype_for,
    falling,
    perceptron,
    rate_for,
    weight_decay_for,
)
from fastbp.serialization import as_text, write_npz


class _Parser(argparse.ArgumentParser):
    """Reports bad arguments in one line."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {_printable(message)} (see {self.prog} --help)\n")


class _Defaults(argparse.ArgumentDefaultsHelpFormatter):
    """Shows the defaults that there are."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        return action.help if action.default is None else super()._get_help_string(action)


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1, got {text}")
    return value


def _seed(text: str) -> int:
    value = int(text)
    if value < 0:
        raise argparse.ArgumentTypeError(f"must not be negative, got {text}")
    return value


def _nonnegative(text: str) -> float:
    value = float(text)
    if not 0 <= value < float("inf"):
        raise argparse.ArgumentTypeError(f"must be finite and not negative, got {text}")
    return value


def _share(text: str) -> float:
    value = float(text)
    if not 0 < value < 1:
        raise argparse.ArgumentTypeError(f"must be above 0 and below 1, got {text}")
    return value


_positive.__name__, _seed.__name__, _nonnegative.__name__, _share.__name__ = "integer", "integer", "number", "number"


def _defaults(name: str, unit: str = "") -> str:
    """The defaults of both kinds of network, as text."""
    values = {model: getattr(recipe, name) for model, recipe in RECIPES.items()}
    texts = {model: " ".join(map(str, value)) if isinstance(value, list) else value for model, value in values.items()}
    return ", ".join(f"{text}{unit} for {model}" for model, text in texts.items() if text)


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="fastbp", description="Train and use neural networks on multicore CPUs.")
    parser.add_argument("--version", action="version", version=f"fastbp {fb.__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="{train,predict,info}")

    train = commands.add_parser(
        "train",
        help="train a network",
        description="Train a network, by default on the embedded handwritten digits. Its first layer standardises "
        "inputs by mean and standard deviation of the training set.",
        formatter_class=_Defaults,
    )
    train.add_argument(
        "--model", choices=list(RECIPES), default="mlp", help="multilayer perceptron or convolutional network"
    )
    train.add_argument(
        "--data", nargs="+", metavar="FILE", help="one .npz file with arrays x and y, or two IDX files (images, labels)"
    )
    train.add_argument(
        "--filters",
        type=_positive,
        nargs="+",
        metavar="N",
        help=f"filters of the convolutions of 3 x 3, each followed by pooling (default: {_defaults('filters')})",
    )
    train.add_argument(
        "--hidden",
        type=_positive,
        nargs="*",
        metavar="N",
        help=f"units of hidden layers (default: {_defaults('hidden')})",
    )
    train.add_argument(
        "--activation", choices=list(ACTIVATIONS), default="relu", help="of the hidden layers and convolutions"
    )
    train.add_argument(
        "--epochs",
        type=_positive,
        help=f"passes over the training set (default: {_defaults('epochs')}; more for small sets, to make "
        f"{_defaults('steps', ' steps')})",
    )
    train.add_argument("--batch-size", type=_positive, default=BATCH, help="samples per step")
    train.add_argument("--optimizer", choices=list(optimizers.BY_NAME), default="sgd", help="how weights are updated")
    train.add_argument(
        "--lr",
        type=_nonnegative,
        help=f"learning rate of the first step, falling to 0 by the last (default: {_defaults('rate')}, less for "
        "inputs that are much alike or more hidden layers)",
    )
    train.add_argument("--l2", type=_nonnegative, help="weight decay (default: 1 / samples to train on)")
    train.add_argument(
        "--dtype",
        choices=["float32", "float64"],
        help="what to compute in (default: float32, or float64 where that would round away what inputs differ in)",
    )
    train.add_argument("--test", type=_share, default=0.2, help="share of the samples kept for testing")
    train.add_argument("--seed", type=_seed, default=0, help="of the split, the initial weights and the shuffling")
    train.add_argument("--threads", type=_positive, metavar="N", help="threads of the kernels (default: all CPUs)")
    train.add_argument("--save", metavar="FILE", help="write the trained network to this .npz file")
    train.set_defaults(run=_train)

    about = " ".join((_predict.__doc__ or "").split())
    predict = commands.add_parser("predict", help="classify samples with a saved network", description=about)
    predict.add_argument("network", help=".npz file that train --save wrote")
    predict.add_argument(
        "--data",
        nargs="+",
        metavar="FILE",
        required=True,
        help="one .npz file with an array x, or an IDX file of images",
    )
    predict.add_argument("--proba", action="store_true", help="print probabilities in place of classes")
    predict.add_argument("--out", metavar="FILE", help="write an .npz file in place of printing")
    predict.add_argument("--threads", type=_positive, metavar="N", help="threads of the kernels (default: all CPUs)")
    predict.set_defaults(run=_predict)

    info = commands.add_parser("info", help="show what the kernels run on", description=_info.__doc__)
    info.set_defaults(run=_info)
    return parser


def _writable(path: str | None) -> str | None:
    """Refuse a place that cannot be written before any work is done."""
    if path == "-":
        raise ValueError("- does not stand for standard output; name a file, such as ./-")
    if path is not None:
        check_writable(path)
    return path


def _save(net: fb.Sequential, path: str) -> str:
    """Save a trained network, if need be elsewhere, so that the training is not lost; returns the name of the file."""
    try:
        net.save(path)
    except OSError as error:
        try:
            other = _save_elsewhere(net)
        except OSError:
            raise error from None
        sys.stderr.write(f"fastbp train: {_one_line(error)}; the network is in {other} instead\n")
        return other
    return path


def _save_elsewhere(net: fb.Sequential) -> str:
    """Save a network in the folder for temporary files."""
    descriptor, path = tempfile.mkstemp(prefix="fastbp-", suffix=".npz")
    os.close(descriptor)
    try:
        net.save(path)
    except BaseException:
        os.unlink(path)
        raise
    return path


def _labels(y: Array) -> tuple[Array, int]:
    """Class indices, from class indices or 1-of-K rows, and the number of classes."""
    if not len(y):
        raise ValueError("there are no samples to train on")
    if y.ndim == 2 and y.shape[1] > 1:
        rows = as_one_of_k(y, y.shape[1], np.dtype(np.float64))
        if (rows.max(axis=1) < 1).any():
            raise ValueError("y holds probabilities; the command line takes class indices or exact 1-of-K rows")
        return rows.argmax(axis=1), y.shape[1]
    if y.ndim != 1 or y.dtype.kind not in "iu":
        raise ValueError(f"y must hold class indices (integers) or 1-of-K rows, got {y.dtype} of shape {y.shape}")
    if y.min() < 0:
        raise ValueError(f"labels must not be negative, but row {int(y.argmin())} has {y.min()}")
    classes = max(2, int(y.max()) + 1)
    if classes > max(1000, len(y)):
        raise ValueError(f"row {int(y.argmax())} has the label {y.max()}: too many classes for {len(y)} samples")
    return as_labels(y, classes), classes


def _samples(x: Array, dtype: str | None) -> Array:
    """Samples in the dtype of the network, checked before they are shuffled, so that a message names the right row."""
    if x.ndim < 2 or not x[:1].size:
        raise ValueError(f"x must have the shape (N, features) or (N, ...) of images, got {x.shape}")
    widest = "float64" if x.dtype.itemsize > 4 else "float32"
    check_finite(as_real(x, np.dtype(dtype or widest), "x"), given=x)
    return as_real(x, np.dtype(dtype or dtype_for(x)), "x")


def _given(value: Any, default: Any) -> Any:
    return default if value is None else value


def _train(arguments: argparse.Namespace) -> int:
    target = _writable(arguments.save)
    if arguments.data:
        x, y = fb.datasets.read(arguments.data)
        assert y is not None
    else:
        x, y = fb.datasets.load_digits()
    labels, classes = _labels(y)
    x = _samples(x, arguments.dtype)
    recipe = RECIPES[arguments.model]
    if arguments.model == "cnn":
        x = as_images(x)
    elif arguments.filters:
        raise ValueError("--filters are those of a convolutional network; add --model cnn")
    (x_train, y_train), (x_test, y_test) = fb.datasets.split(x, labels, test=arguments.test, seed=arguments.seed)

    hidden, activation = _given(arguments.hidden, recipe.hidden), arguments.activation
    filters = _given(arguments.filters, recipe.filters)
    if arguments.model == "cnn":
        layers = convolutional(x.shape[1:], filters, hidden, activation, classes)
    else:
        layers = perceptron(x.shape[1:], hidden, activation, classes)
    scale = fb.Standardize.of(x_train, limit=LIMIT)
    net = fb.Sequential(scale, *layers, input_shape=x.shape[1:], dtype=x.dtype, seed=arguments.seed)
    if target is not None:
        as_text({"layers": [layer.config() for layer in net.layers]})  # or it could not be saved after all
        check_room(target, sum(parameter.value.nbytes for parameter in net.parameters()))
    loss = fb.SoftmaxCrossEntropy()
    batches = math.ceil(len(x_train) / arguments.batch_size)
    epochs = _given(arguments.epochs, recipe.epochs_for(batches))
    rate = rate_for(recipe, hidden, scale, x_train) if arguments.lr is None else arguments.lr
    l2 = _given(arguments.l2, weight_decay_for(len(x_train)))
    optimizer = optimizers.BY_NAME[arguments.optimizer](falling(rate, epochs * batches))
    _print(f"{net.summary()}\n{len(x_train)} samples to train on, {len(x_test)} to test, {classes} classes")
    _print(f"{epochs} epochs of {batches} steps, learning rate {rate:.3g} falling to 0, weight decay {l2:.3g}\n")
    sys.stdout.flush()
    kernels = _ahead.missing(_ahead.kernels_of(filters), net.dtype)
    if kernels and _cache.writable():
        sys.stderr.write("compiling the kernels, once on this machine: ten to twenty seconds\n")
    interrupted, history = False, None
    try:
        with _ahead.compiling(kernels, net.dtype):
            history = net.fit(
                x_train,
                y_train,
                loss=loss,
                optimizer=optimizer,
                l2=l2,
                batch_size=arguments.batch_size,
                epochs=epochs,
                validation_data=(x_test, y_test),
                progress=True,
            )
    except KeyboardInterrupt:
        interrupted = True
        sys.stderr.write("\ninterrupted\n")
    if interrupted and not optimizer.steps:
        return 130
    saved = None if target is None else _save(net, target)
    u = net.predict(x_test)
    _print("\nconfusion matrix on the test set (rows: true class, columns: predicted class)")
    _print(_matrix(y_test, u, classes))
    _print(f"\ntest accuracy {100 * fb.metrics.accuracy(y_test, u.argmax(1)):.2f} %")
    last, guessing = history["loss"][-1] if history else 0.0, _guessing(y_train)
    if last > 0.95 * guessing > 0:
        sys.stdout.flush()
        sys.stderr.write(
            f"hint: the loss, {last:.3g}, is not below that of guessing, {guessing:.3g}; "
            f"try a smaller --lr (it was {rate:.3g}) or more epochs\n"
        )
    if saved is not None:
        _print(f"saved {_printable(saved)}")
    if interrupted:
        return 130
    return 0 if saved == target else 1


def _guessing(y: Array) -> float:
    """The cross-entropy of who knows nothing but how frequent each class is."""
    p = np.bincount(y) / len(y)
    return float(-(p[p > 0] * np.log(p[p > 0])).sum())


_MOST_SHOWN = 50  # classes


def _matrix(y: Array, u: Array, classes: int) -> str:
    if classes > _MOST_SHOWN:
        return f"not shown: {classes} classes"
    counts = fb.metrics.confusion_matrix(y, u.argmax(1), classes)
    width = max(len(str(counts.max())), len(str(classes - 1))) + 2
    head = " " * width + "".join(f"{j:{width}d}" for j in range(classes))
    rows = (f"{i:{width}d}" + "".join(f"{n:{width}d}" for n in row) for i, row in enumerate(counts))
    return "\n".join([head, *rows])


def _predict(arguments: argparse.Namespace) -> int:
    """Print one class per line, or with --proba one line of tab-separated probabilities per sample.

    A sample that holds NaN has no class: its line is nan, in a file -1.
    """
    target = _writable(arguments.out)
    net = fb.Sequential.load(arguments.network)
    x, _ = fb.datasets.read(arguments.data, labels=False)
    if x.ndim in (2, 3) and len(net.input_shape) == 3 and x[:1].size == math.prod(net.input_shape):
        x = x.reshape(len(x), *net.input_shape)  # rows of images, as train takes them
    binary = net.output_shape == (1,)
    p = net.predict_proba(x, binary=binary)
    known = np.isfinite(p).all(axis=1)
    classes = np.where(known, p[:, 0] > 0.5 if binary else p.argmax(axis=1), -1)
    if target is not None:
        write_npz(target, {"classes": classes, "probabilities": p} if arguments.proba else {"classes": classes})
    elif arguments.proba:
        for row in p:
            _print("\t".join(f"{value:.6g}" for value in row))
    else:
        for number in classes:
            _print(str(number) if number >= 0 else "nan")
    return 0


def _info(arguments: argparse.Namespace) -> int:
    """Show versions, processor, block sizes, threads and the cache folder."""
    _print(describe())
    return 0


def _print(text: str) -> None:
    sys.stdout.write(text + "\n")


def _one_line(error: BaseException) -> str:
    if isinstance(error, OSError) and error.filename is not None:
        return f"{_printable(str(error.filename)) or repr('')}: {error.strerror}"
    return _printable(" ".join(str(error).split())) or type(error).__name__


def _printable(text: str) -> str:
    """The text in one line, without what would control a terminal."""
    return "".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in text)


def _prepare_streams() -> None:
    """Closed streams swallow what is written; characters that a stream cannot show are escaped."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115
        elif isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _show_warning(message: Warning | str, *_: Any, **__: Any) -> None:
    sys.stderr.write(f"fastbp: {message}\n")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit status."""
    _prepare_streams()
    arguments = _parser().parse_args(argv)
    try:
        with warnings.catch_warnings():
            warnings.showwarning = _show_warning
            if getattr(arguments, "threads", None):
                fb.set_num_threads(arguments.threads)
            status = int(arguments.run(arguments))
            sys.stdout.flush()
            return status
    except BrokenPipeError:  # the reader of a pipe has closed it, as head does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except (ValueError, TypeError, OSError, MemoryError, OverflowError, FloatingPointError) as error:
        sys.stderr.write(f"fastbp {arguments.command}: {_one_line(error)}\n")
        return 1 if isinstance(error, FloatingPointError) else 2
    except KeyboardInterrupt:
        sys.stderr.write("\ninterrupted\n")
        return 130
