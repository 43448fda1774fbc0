"""Random attacks on fastbp that go on for as long as they are told; CONTRIBUTING.md says how to start them.

main.py      options, slices of time in turn, the table at the end
child.py     one part in a process of its own, watched: a crash, a hang and lost memory are findings, not the end
worker.py    what runs in that process: case after case, each from a seed of its own
finding.py   what a finding is, and the checks that all parts share
arrays.py    random arrays in every layout, and arguments that no function expects
naive.py     where windows lie, convolutions and pools of float64, straight from their definitions
parts/       what is attacked, one module each: ``case(rng)`` does one case and says what came of it

The other modules hold what a part is made of: ``calls`` of the functional part, the ``arena`` of the kernels, the
``duals`` of graphs, the naive network, ``mutations`` of files, the ``alarm`` of interrupts, ``sparse`` windows.
"""
