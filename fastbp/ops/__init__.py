"""The operations of layers and graphs: one class each, forward directly above backward.

Each is defined once, for `fastbp.Sequential` and for `fastbp.graph`.
"""

from fastbp.op import Op as Op
from fastbp.ops.activated import Activated as Activated
from fastbp.ops.activation import Activation as Activation
from fastbp.ops.activation import Identity as Identity
from fastbp.ops.activation import LeakyReLU as LeakyReLU
from fastbp.ops.activation import ReLU as ReLU
from fastbp.ops.activation import Sigmoid as Sigmoid
from fastbp.ops.activation import Tanh as Tanh
from fastbp.ops.affine import Affine as Affine
from fastbp.ops.arithmetic import Add as Add
from fastbp.ops.arithmetic import Divide as Divide
from fastbp.ops.arithmetic import Multiply as Multiply
from fastbp.ops.arithmetic import Negative as Negative
from fastbp.ops.arithmetic import Power as Power
from fastbp.ops.arithmetic import Subtract as Subtract
from fastbp.ops.broadcasting import BroadcastTo as BroadcastTo
from fastbp.ops.conv import Conv as Conv
from fastbp.ops.elementary import Abs as Abs
from fastbp.ops.elementary import Clip as Clip
from fastbp.ops.elementary import Compare as Compare
from fastbp.ops.elementary import Exp as Exp
from fastbp.ops.elementary import Log as Log
from fastbp.ops.elementary import Maximum as Maximum
from fastbp.ops.elementary import Minimum as Minimum
from fastbp.ops.elementary import Sqrt as Sqrt
from fastbp.ops.elementary import Where as Where
from fastbp.ops.matmul import MatMul as MatMul
from fastbp.ops.pool import AvgPool as AvgPool
from fastbp.ops.pool import GlobalAvgPool as GlobalAvgPool
from fastbp.ops.pool import MaxPool as MaxPool
from fastbp.ops.pool import Pool as Pool
from fastbp.ops.reductions import Max as Max
from fastbp.ops.reductions import Mean as Mean
from fastbp.ops.reductions import Min as Min
from fastbp.ops.reductions import Moments as Moments
from fastbp.ops.reductions import Sum as Sum
from fastbp.ops.shapes import Concatenate as Concatenate
from fastbp.ops.shapes import Flatten as Flatten
from fastbp.ops.shapes import Index as Index
from fastbp.ops.shapes import Reshape as Reshape
from fastbp.ops.shapes import Split as Split
from fastbp.ops.shapes import Stack as Stack
from fastbp.ops.shapes import Transpose as Transpose
from fastbp.ops.softmax import LogSoftmax as LogSoftmax
from fastbp.ops.softmax import Softmax as Softmax
from fastbp.ops.standardize import Standardize as Standardize
