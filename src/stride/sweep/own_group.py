"""Takes the fork server, which imports this first, out of the driver's process group.

`scancel`, a time limit or a closed terminal signals every process of the group at once. A server that ended with
the driver would take with it how the trials end.
"""

import os

os.setpgid(0, 0)
