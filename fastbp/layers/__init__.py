"""Layers of `fastbp.Sequential`."""

from fastbp.layers.activations import Activation as Activation
from fastbp.layers.activations import Identity as Identity
from fastbp.layers.activations import LeakyReLU as LeakyReLU
from fastbp.layers.activations import LogSoftmax as LogSoftmax
from fastbp.layers.activations import ReLU as ReLU
from fastbp.layers.activations import Sigmoid as Sigmoid
from fastbp.layers.activations import Softmax as Softmax
from fastbp.layers.activations import Tanh as Tanh
from fastbp.layers.affine import Affine as Affine
from fastbp.layers.flatten import Flatten as Flatten
from fastbp.layers.layer import Layer as Layer
from fastbp.layers.layer import Parameter as Parameter

BY_NAME: dict[str, type[Layer]] = {
    layer.__name__: layer for layer in (Affine, Flatten, Identity, LeakyReLU, LogSoftmax, ReLU, Sigmoid, Softmax, Tanh)
}
