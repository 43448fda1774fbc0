"""The compiled core of fastbp: functions of arrays, compiled by Numba, no classes and no state to handle.

Every kernel writes into arrays that the caller allocated. `fastbp.functional` has the same operations with checked
inputs and allocated results.
"""

from fastbp.kernels import _environment as _environment  # before the others, which import Numba
from fastbp.kernels.activation import activation_backward as activation_backward
from fastbp.kernels.activation import activation_forward as activation_forward
from fastbp.kernels.activation import identity_backward as identity_backward
from fastbp.kernels.activation import identity_forward as identity_forward
from fastbp.kernels.activation import leaky_relu_backward as leaky_relu_backward
from fastbp.kernels.activation import leaky_relu_forward as leaky_relu_forward
from fastbp.kernels.activation import relu_backward as relu_backward
from fastbp.kernels.activation import relu_forward as relu_forward
from fastbp.kernels.activation import sigmoid_backward as sigmoid_backward
from fastbp.kernels.activation import sigmoid_forward as sigmoid_forward
from fastbp.kernels.activation import tanh_backward as tanh_backward
from fastbp.kernels.activation import tanh_forward as tanh_forward
from fastbp.kernels.affine import affine_activation_forward as affine_activation_forward
from fastbp.kernels.affine import affine_backward as affine_backward
from fastbp.kernels.affine import affine_bias_gradient as affine_bias_gradient
from fastbp.kernels.affine import affine_delta as affine_delta
from fastbp.kernels.affine import affine_forward as affine_forward
from fastbp.kernels.affine import affine_relu_backward as affine_relu_backward
from fastbp.kernels.affine import affine_relu_forward as affine_relu_forward
from fastbp.kernels.affine import affine_sgd_update as affine_sgd_update
from fastbp.kernels.affine import affine_sigmoid_backward as affine_sigmoid_backward
from fastbp.kernels.affine import affine_sigmoid_forward as affine_sigmoid_forward
from fastbp.kernels.affine import affine_tanh_backward as affine_tanh_backward
from fastbp.kernels.affine import affine_tanh_forward as affine_tanh_forward
from fastbp.kernels.affine import affine_weight_gradient as affine_weight_gradient
from fastbp.kernels.avg_pool import avg_pool_backward as avg_pool_backward
from fastbp.kernels.avg_pool import avg_pool_forward as avg_pool_forward
from fastbp.kernels.avg_pool import global_avg_pool_backward as global_avg_pool_backward
from fastbp.kernels.avg_pool import global_avg_pool_forward as global_avg_pool_forward
from fastbp.kernels.conv import conv_activation_forward as conv_activation_forward
from fastbp.kernels.conv import conv_backward as conv_backward
from fastbp.kernels.conv import conv_delta as conv_delta
from fastbp.kernels.conv import conv_forward as conv_forward
from fastbp.kernels.conv import conv_gradient as conv_gradient
from fastbp.kernels.conv import conv_sgd_update as conv_sgd_update
from fastbp.kernels.gemm import matmul as matmul
from fastbp.kernels.im2col import col2im as col2im
from fastbp.kernels.im2col import im2col as im2col
from fastbp.kernels.loss import sigmoid_cross_entropy as sigmoid_cross_entropy
from fastbp.kernels.loss import softmax_cross_entropy as softmax_cross_entropy
from fastbp.kernels.loss import squared_error as squared_error
from fastbp.kernels.max_pool import index_dtype as index_dtype
from fastbp.kernels.max_pool import max_pool_backward as max_pool_backward
from fastbp.kernels.max_pool import max_pool_delta as max_pool_delta
from fastbp.kernels.max_pool import max_pool_forward as max_pool_forward
from fastbp.kernels.optim import sgd_update as sgd_update
from fastbp.kernels.pooled import Pooled as Pooled
from fastbp.kernels.softmax import log_softmax_backward as log_softmax_backward
from fastbp.kernels.softmax import log_softmax_forward as log_softmax_forward
from fastbp.kernels.softmax import softmax_backward as softmax_backward
from fastbp.kernels.softmax import softmax_forward as softmax_forward
from fastbp.kernels.standardize import standardize_backward as standardize_backward
from fastbp.kernels.standardize import standardize_forward as standardize_forward
