"""Computational graphs: arrays that remember how they were made, and backpropagation node by node.

>>> from fastbp.graph import Variable
>>> price, count, tax = Variable(100.0, "price"), Variable(2.0, "count"), Variable(1.1, "tax")
>>> total = price * count * tax
>>> total.backward()
>>> round(float(total), 2), round(float(price.grad), 2), round(float(count.grad), 2), round(float(tax.grad), 2)
(220.0, 2.2, 110.0, 200.0)
"""

from fastbp.graph.anomaly import detect_anomaly as detect_anomaly
from fastbp.graph.application import apply as apply
from fastbp.graph.application import custom as custom
from fastbp.graph.derivatives import jacobian as jacobian
from fastbp.graph.derivatives import per_sample_gradients as per_sample_gradients
from fastbp.graph.derivatives import undefined as undefined
from fastbp.graph.derivatives import vjp as vjp
from fastbp.graph.functions import abs as abs
from fastbp.graph.functions import add as add
from fastbp.graph.functions import broadcast_to as broadcast_to
from fastbp.graph.functions import clip as clip
from fastbp.graph.functions import concatenate as concatenate
from fastbp.graph.functions import divide as divide
from fastbp.graph.functions import exp as exp
from fastbp.graph.functions import flatten as flatten
from fastbp.graph.functions import log as log
from fastbp.graph.functions import matmul as matmul
from fastbp.graph.functions import max as max
from fastbp.graph.functions import max_with_index as max_with_index
from fastbp.graph.functions import maximum as maximum
from fastbp.graph.functions import mean as mean
from fastbp.graph.functions import min as min
from fastbp.graph.functions import min_with_index as min_with_index
from fastbp.graph.functions import minimum as minimum
from fastbp.graph.functions import moments as moments
from fastbp.graph.functions import multiply as multiply
from fastbp.graph.functions import power as power
from fastbp.graph.functions import reshape as reshape
from fastbp.graph.functions import split as split
from fastbp.graph.functions import sqrt as sqrt
from fastbp.graph.functions import stack as stack
from fastbp.graph.functions import subtract as subtract
from fastbp.graph.functions import sum as sum
from fastbp.graph.functions import transpose as transpose
from fastbp.graph.functions import where as where
from fastbp.graph.kinks import Undefined as Undefined
from fastbp.graph.kinks import UndefinedGradientError as UndefinedGradientError
from fastbp.graph.kinks import UndefinedGradientWarning as UndefinedGradientWarning
from fastbp.graph.kinks import UndefinedReport as UndefinedReport
from fastbp.graph.networks import affine as affine
from fastbp.graph.networks import avg_pool as avg_pool
from fastbp.graph.networks import conv as conv
from fastbp.graph.networks import global_avg_pool as global_avg_pool
from fastbp.graph.networks import leaky_relu as leaky_relu
from fastbp.graph.networks import log_softmax as log_softmax
from fastbp.graph.networks import max_pool as max_pool
from fastbp.graph.networks import mean_squared_error as mean_squared_error
from fastbp.graph.networks import relu as relu
from fastbp.graph.networks import sigmoid as sigmoid
from fastbp.graph.networks import sigmoid_cross_entropy as sigmoid_cross_entropy
from fastbp.graph.networks import softmax as softmax
from fastbp.graph.networks import softmax_cross_entropy as softmax_cross_entropy
from fastbp.graph.networks import squared_error as squared_error
from fastbp.graph.networks import tanh as tanh
from fastbp.graph.picture import to_dot as to_dot
from fastbp.graph.picture import to_mermaid as to_mermaid
from fastbp.graph.trace import Trace as Trace
from fastbp.graph.trace import trace as trace
from fastbp.graph.variable import Variable as Variable
from fastbp.op import Context as Context
from fastbp.op import Op as Op
