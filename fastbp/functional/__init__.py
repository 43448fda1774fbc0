"""The kernels as checked functions that return new arrays.

    from fastbp import functional as F

Inputs are converted once: integers, booleans and half floats become float32 or float64 as NumPy promotes them, complex
and object arrays are refused (TypeError). Shapes that do not fit raise ValueError. Gradients come in the order of the
inputs, dx, dw, db; ``y`` is always the output of the forward function.
"""

from fastbp.functional.activation import identity_backward as identity_backward
from fastbp.functional.activation import identity_forward as identity_forward
from fastbp.functional.activation import leaky_relu_backward as leaky_relu_backward
from fastbp.functional.activation import leaky_relu_forward as leaky_relu_forward
from fastbp.functional.activation import log_softmax_backward as log_softmax_backward
from fastbp.functional.activation import log_softmax_forward as log_softmax_forward
from fastbp.functional.activation import relu_backward as relu_backward
from fastbp.functional.activation import relu_forward as relu_forward
from fastbp.functional.activation import sigmoid_backward as sigmoid_backward
from fastbp.functional.activation import sigmoid_forward as sigmoid_forward
from fastbp.functional.activation import softmax_backward as softmax_backward
from fastbp.functional.activation import softmax_forward as softmax_forward
from fastbp.functional.activation import tanh_backward as tanh_backward
from fastbp.functional.activation import tanh_forward as tanh_forward
from fastbp.functional.affine import affine_backward as affine_backward
from fastbp.functional.affine import affine_delta as affine_delta
from fastbp.functional.affine import affine_forward as affine_forward
from fastbp.functional.affine import affine_relu_backward as affine_relu_backward
from fastbp.functional.affine import affine_relu_forward as affine_relu_forward
from fastbp.functional.affine import affine_sigmoid_backward as affine_sigmoid_backward
from fastbp.functional.affine import affine_sigmoid_forward as affine_sigmoid_forward
from fastbp.functional.affine import affine_tanh_backward as affine_tanh_backward
from fastbp.functional.affine import affine_tanh_forward as affine_tanh_forward
from fastbp.functional.affine import from_augmented as from_augmented
from fastbp.functional.affine import matmul as matmul
from fastbp.functional.affine import to_augmented as to_augmented
from fastbp.functional.conv import conv1d_backward as conv1d_backward
from fastbp.functional.conv import conv1d_forward as conv1d_forward
from fastbp.functional.conv import conv2d_backward as conv2d_backward
from fastbp.functional.conv import conv2d_forward as conv2d_forward
from fastbp.functional.conv import conv3d_backward as conv3d_backward
from fastbp.functional.conv import conv3d_forward as conv3d_forward
from fastbp.functional.loss import mean_squared_error as mean_squared_error
from fastbp.functional.loss import sigmoid_cross_entropy as sigmoid_cross_entropy
from fastbp.functional.loss import softmax_cross_entropy as softmax_cross_entropy
from fastbp.functional.loss import squared_error as squared_error
from fastbp.functional.optim import sgd_update as sgd_update
from fastbp.functional.pool import avg_pool1d_backward as avg_pool1d_backward
from fastbp.functional.pool import avg_pool1d_forward as avg_pool1d_forward
from fastbp.functional.pool import avg_pool2d_backward as avg_pool2d_backward
from fastbp.functional.pool import avg_pool2d_forward as avg_pool2d_forward
from fastbp.functional.pool import avg_pool3d_backward as avg_pool3d_backward
from fastbp.functional.pool import avg_pool3d_forward as avg_pool3d_forward
from fastbp.functional.pool import global_avg_pool2d_backward as global_avg_pool2d_backward
from fastbp.functional.pool import global_avg_pool2d_forward as global_avg_pool2d_forward
from fastbp.functional.pool import max_pool1d_backward as max_pool1d_backward
from fastbp.functional.pool import max_pool1d_forward as max_pool1d_forward
from fastbp.functional.pool import max_pool2d_backward as max_pool2d_backward
from fastbp.functional.pool import max_pool2d_forward as max_pool2d_forward
from fastbp.functional.pool import max_pool3d_backward as max_pool3d_backward
from fastbp.functional.pool import max_pool3d_forward as max_pool3d_forward
from fastbp.functional.standardize import standardize_backward as standardize_backward
from fastbp.functional.standardize import standardize_forward as standardize_forward
