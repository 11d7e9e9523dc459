"""The evaluation: every rule at its defaults and tuned, on several workloads at three loads, with spread.

Everything here is simulated (16 instances of Qwen2-7B on H20); what was measured on engines stands elsewhere, in
columns of its own. ``make evaluation`` fills ``benchmarks/results/evaluation/`` and goes on where it was stopped.

    scene.py       workloads, loads, seeds
    rows.py        one simulated run as one row, kept in a file, run once
    tuning.py      the best setting of each rule on each workload and load, on seeds of its own
    comparing.py   ratios seed by seed, with bootstrap intervals
    questions.py   what is asked, as lists of runs
"""
