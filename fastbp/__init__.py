"""fastbp: hand-written backpropagation kernels for multicore CPUs under a thin model API.

>>> import fastbp as fb
>>> net = fb.Sequential(fb.Affine(100), fb.ReLU(), fb.Affine(10), input_shape=(64,), seed=0)
>>> net.output_shape
(10,)
"""

from fastbp import _startup
from fastbp import datasets as datasets
from fastbp import functional as functional
from fastbp import graph as graph
from fastbp import initializers as initializers
from fastbp import kernels as kernels
from fastbp import metrics as metrics
from fastbp._version import __version__ as __version__
from fastbp.gradcheck import GradientError as GradientError
from fastbp.gradcheck import GradientReport as GradientReport
from fastbp.gradcheck import check_gradients as check_gradients
from fastbp.gradcheck import check_projection as check_projection
from fastbp.kernels._runtime import get_num_threads as get_num_threads
from fastbp.kernels._runtime import set_num_threads as set_num_threads
from fastbp.layers import Affine as Affine
from fastbp.layers import AvgPool1d as AvgPool1d
from fastbp.layers import AvgPool2d as AvgPool2d
from fastbp.layers import AvgPool3d as AvgPool3d
from fastbp.layers import Conv1d as Conv1d
from fastbp.layers import Conv2d as Conv2d
from fastbp.layers import Conv3d as Conv3d
from fastbp.layers import Flatten as Flatten
from fastbp.layers import GlobalAvgPool2d as GlobalAvgPool2d
from fastbp.layers import Identity as Identity
from fastbp.layers import LeakyReLU as LeakyReLU
from fastbp.layers import LogSoftmax as LogSoftmax
from fastbp.layers import MaxPool1d as MaxPool1d
from fastbp.layers import MaxPool2d as MaxPool2d
from fastbp.layers import MaxPool3d as MaxPool3d
from fastbp.layers import Parameter as Parameter
from fastbp.layers import ReLU as ReLU
from fastbp.layers import Sigmoid as Sigmoid
from fastbp.layers import Softmax as Softmax
from fastbp.layers import Standardize as Standardize
from fastbp.layers import Tanh as Tanh
from fastbp.losses import Loss as Loss
from fastbp.losses import MeanSquaredError as MeanSquaredError
from fastbp.losses import SigmoidCrossEntropy as SigmoidCrossEntropy
from fastbp.losses import SoftmaxCrossEntropy as SoftmaxCrossEntropy
from fastbp.losses import SquaredError as SquaredError
from fastbp.optimizers import SGD as SGD
from fastbp.training import Evaluation as Evaluation
from fastbp.training import History as History
from fastbp.training import Sequential as Sequential
from fastbp.training import minibatches as minibatches

_startup.end()
