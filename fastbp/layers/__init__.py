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
from fastbp.layers.conv import Conv as Conv
from fastbp.layers.conv import Conv1d as Conv1d
from fastbp.layers.conv import Conv2d as Conv2d
from fastbp.layers.conv import Conv3d as Conv3d
from fastbp.layers.flatten import Flatten as Flatten
from fastbp.layers.layer import Layer as Layer
from fastbp.layers.layer import Parameter as Parameter
from fastbp.layers.pool import AvgPool1d as AvgPool1d
from fastbp.layers.pool import AvgPool2d as AvgPool2d
from fastbp.layers.pool import AvgPool3d as AvgPool3d
from fastbp.layers.pool import GlobalAvgPool2d as GlobalAvgPool2d
from fastbp.layers.pool import MaxPool as MaxPool
from fastbp.layers.pool import MaxPool1d as MaxPool1d
from fastbp.layers.pool import MaxPool2d as MaxPool2d
from fastbp.layers.pool import MaxPool3d as MaxPool3d
from fastbp.layers.standardize import Standardize as Standardize

BY_NAME: dict[str, type[Layer]] = {
    layer.__name__: layer
    for layer in (
        *(Affine, Conv1d, Conv2d, Conv3d, Flatten, Identity, LeakyReLU, LogSoftmax, ReLU, Sigmoid, Softmax, Tanh),
        *(MaxPool1d, MaxPool2d, MaxPool3d, AvgPool1d, AvgPool2d, AvgPool3d, GlobalAvgPool2d, Standardize),
    )
}
