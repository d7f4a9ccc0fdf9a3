"""The parts of benchmarks/lr_regret.py."""
