"""Train, find the learning rate, test, sweep.   python train.py --help"""

import sys

try:
    from stride.cli import main
except ModuleNotFoundError as error:
    print(f"error: {error.name}: is not installed here; try: uv run train.py", file=sys.stderr)
    sys.exit(2)

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
