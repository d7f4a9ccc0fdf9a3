"""Train, find the learning rate, test, sweep.   python train.py --help"""

import sys

from stride.cli import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
