"""Data: the embedded digits, splitting, and readers of .npz and IDX files."""

from fastbp.datasets.digits import load_digits as load_digits
from fastbp.datasets.files import read as read
from fastbp.datasets.idx import read_idx as read_idx
from fastbp.datasets.npz import read_npz as read_npz
from fastbp.datasets.splitting import split as split
